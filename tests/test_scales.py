"""The paper's tables on every scale: all of them fit, and share what they say they share."""

from pathlib import Path

import pytest

from facemae.errors import FaceMAEError, RecipeError
from facemae.plan import costs, find_data, read_table, scaled_tables, scales
from facemae.spec.table import Table

NAMES = [*(f"table{i}" for i in range(1, 9)), *(f"figure{i}" for i in (3, 4, 5))]


def test_the_paper_has_eight_tables_and_three_figures_that_can_be_run() -> None:
    assert scaled_tables() == NAMES
    assert scales() == ["paper", "small", "synthetic"]


@pytest.mark.parametrize("scale", ["paper", "small", "synthetic"])
@pytest.mark.parametrize("name", NAMES)
def test_every_table_fits_every_scale(name: str, scale: str) -> None:
    table = read_table(name, scale)
    assert table.scale == scale
    assert table.title.endswith(f", {scale} scale")
    order = table.order()
    place = {stage: i for i, stage in enumerate(order)}
    for stage in order:
        assert all(place[needed] < place[stage] for needed in table.stages[stage].needs() if needed in place)
    assert all(row.train in place for row in table.rows)
    assert all(table.audit_of(a) != table.audit_of(b) or a.train == b.train for a in table.rows for b in table.rows)


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_one_scale_give_one_name_to_one_thing(name: str) -> None:
    """One folder of runs serves all tables: a directory must not mean two things."""
    for scale in scales():
        own, first = read_table(name, scale), read_table("table2", scale)
        common = set(own.stages) & set(first.stages)
        assert all(own.stages[stage] == first.stages[stage] for stage in common)
        assert own.recognize == first.recognize
        assert own.recognisers == first.recognisers


def test_the_small_scale_takes_over_the_stages_of_real_small() -> None:
    old, new = read_table("real-small"), read_table("table1", "small")
    common = set(old.stages) & set(new.stages)
    assert {"mae-start", "facemae", "mae", "din", "masked", "judge-mbf", "blurred", "show-by-facemae"} <= common
    assert all(old.stages[name] == new.stages[name] for name in common)
    assert (old.recognize, old.protocols, old.judges) == (new.recognize, new.protocols, new.judges)


def test_a_scale_is_chosen_by_the_table_unless_it_is_asked_for() -> None:
    assert read_table("table6").scale == "synthetic"
    with pytest.raises(RecipeError, match="--scale: got huge; needed one of paper, small, synthetic"):
        read_table("table6", "huge")
    with pytest.raises(RecipeError, match="--scale for demo: got small; needed a table that has scales"):
        read_table("demo", "small")


def test_a_stage_made_as_another_changes_only_what_it_says() -> None:
    table = read_table("table2", "paper")
    whole, part = table.stages["facemae"], table.stages["facemae-instance"]
    assert part.settings == {**whole.settings, "loss": {"pixel": 0.0, "instance": 1.0, "relation": 0.0}}
    assert (part.phi, part.inputs, part.init) == (whole.phi, whole.inputs, whole.init)


def test_a_stage_made_as_nothing_or_as_itself_is_named(tmp_path: Path) -> None:
    for other in ("nobody", "facemae-x"):
        file = tmp_path / "mine.toml"
        file.write_text(f'scale = "synthetic"\n[stages.facemae-x]\nas = "{other}"\n')
        with pytest.raises(RecipeError, match=rf"stages\.facemae-x\.as: got '{other}'; needed another stage"):
            read_table(str(file))


def test_missing_public_sets_are_named_with_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(FaceMAEError) as raised:
        find_data(read_table("table1", "paper"), tmp_path, "table1")
    said = str(raised.value)
    assert "got no agedb_30.bin, casia, cfp_fp.bin, judge.pth, lfw.bin, phi.pth, webface4m in" in said
    assert "webface4m: the folder with train.rec" in said


def cost(table: Table, job: str) -> tuple[int | None, float | None]:
    return next((found.images, found.operations) for found in costs(table) if found.job == job)


def test_the_papers_training_costs_what_its_layers_multiply() -> None:
    """docs/scaling.md: 29.08 + 12.62 = 41.70 thousand million multiply-adds a step, 4,235,242 photos, 200 epochs."""
    table = read_table("table2", "paper")
    images, operations = cost(table, "facemae")
    assert images == 4_235_242 * 200
    assert operations == pytest.approx(images * 83.4e9, rel=2e-3)
    assert cost(table, "mae")[1] == pytest.approx(images * 2 * 29.08e9, rel=2e-3)
    assert cost(table, "by-facemae") == (490_623, pytest.approx(490_623 * 2 * 9.694e9, rel=1e-3))
    images, operations = cost(table, "recognize-by-facemae-s0")
    assert images == 32_572 * 512
    assert operations == pytest.approx(images * 3 * 2 * 6.309e9, rel=2e-3)


def test_shared_runs_are_reckoned_once() -> None:
    jobs = [found.job for found in costs(read_table("table1", "synthetic"))]
    assert len(jobs) == len(set(jobs))
    assert "recognize-by-facemae-s0" in jobs
    assert not any("r18" in job for job in jobs)
