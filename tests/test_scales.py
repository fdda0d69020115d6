"""The paper's tables on every scale: all of them fit, and share what they say they share."""

from pathlib import Path

import pytest
import torch

from facemae.errors import FaceMAEError, RecipeError
from facemae.nn.backbones import build_backbone
from facemae.plan import costs, find_data, missing_data, read_table, scaled_tables, scales
from facemae.spec.reading import merge, read_toml
from facemae.spec.recipe import PretrainSpec, RecognizeSpec
from facemae.spec.table import Table
from facemae.spec.validation import build
from facemae.train.schedule import Schedule
from folders import facemae

NAMES = [*(f"table{i}" for i in range(1, 9)), *(f"figure{i}" for i in (3, 4, 5))]
AUDIT = "audit"
"""Has scales as the paper's tables have, but is none of them."""

FACEMAE = (99.23, 90.80, 90.25)
PAPER: dict[str, list[tuple[float, ...]]] = {
    "table1": [
        (99.35, 94.38, 94.73),
        (88.98, 76.23, 72.17),
        (83.58,),
        (95.23, 79.02, 74.13),
        (97.62, 87.14, 85.68),
        (98.56, 89.31, 89.13),
        FACEMAE,
    ],
    "table2": [
        (97.62, 86.14, 85.68),
        (98.93, 89.69, 89.78),
        (98.92, 87.10, 86.68),
        FACEMAE,
        (99.13, 90.51, 90.19),
    ],
    "table3": [(99.41, 93.03, 92.87), (99.33, 91.98, 91.56), FACEMAE, (67.33, 57.38, 54.01)],
    "table4": [FACEMAE, (99.37, 93.87, 94.14), (99.65, 94.00, 94.36), (99.47, 94.12, 94.51)],
    "table5": [(98.56, 89.31, 89.13), (99.53, 91.91, 90.51), (98.40, 88.94, 88.56), (98.45, 90.12, 90.18)],
    "table6": [(98.94, 88.21, 87.13), (99.02, 89.01, 88.96), FACEMAE, (98.97, 87.65, 86.96)],
    "table7": [FACEMAE, (99.10, 90.67, 90.21), (98.45, 89.98, 89.76), (98.77, 90.14, 89.93)],
    "table8": [
        (99.28, 93.92, 92.88),
        (99.25, 92.78, 91.83),
        FACEMAE,
        (98.66, 83.38, 84.55),
        (88.66, 69.20, 66.50),
    ],
}


def test_the_paper_has_eight_tables_and_three_figures_that_can_be_run() -> None:
    assert scaled_tables() == NAMES
    assert scales() == ["paper", "small", "synthetic"]


@pytest.mark.parametrize("scale", ["paper", "small", "synthetic"])
@pytest.mark.parametrize("name", [*NAMES, AUDIT])
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
    shared = ("recognize", "recognisers", "protocols", "judges", "verify", "audit", "imitations", "nonmembers")
    for scale in scales():
        own = read_table(name, scale)
        full = read_table(AUDIT, scale)
        assert all(own.stages[stage] == full.stages[stage] for stage in set(own.stages) & set(full.stages))
        assert not {own.audit_of(row) for row in own.rows} & {full.audit_of(row) for row in full.rows}
        for other in (read_table(other, scale) for other in NAMES if other != name):
            common = set(own.stages) & set(other.stages)
            assert all(own.stages[stage] == other.stages[stage] for stage in common)
            assert all(getattr(own, key) == getattr(other, key) for key in shared)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", ["small", "synthetic"])
def test_generators_of_one_table_see_as_many_pictures(name: str, scale: str) -> None:
    """design: equal generator budget, legs that a model starts from included."""
    table = read_table(name, scale)

    def seen(model: str) -> int:
        call = table.stages[model]
        return call.settings["image_steps"] + (seen(call.init) if call.init else 0)

    rebuilt = [table.stages[stage] for stage in table.order() if table.stages[stage].verb == "reconstruct"]
    assert len({seen(call.inputs[0]) for call in rebuilt}) == 1


@pytest.mark.parametrize("name", [f"table{i}" for i in range(1, 9)])
def test_rows_carry_the_figures_of_the_paper_in_its_order(name: str) -> None:
    """Typed from the paper; rows that its table does not have, cited from another one, come last."""
    figures = [tuple(row.paper.values()) for row in read_table(name).rows if row.paper]
    assert figures[: len(PAPER[name])] == PAPER[name]
    assert set(figures[len(PAPER[name]) :]) <= {row for rows in PAPER.values() for row in rows}


def test_the_papers_scale_is_the_papers_setting() -> None:
    table, base = read_table("table5", "paper"), read_toml("base")
    assert build(PretrainSpec, table.stages["facemae"].settings, "") == build(PretrainSpec, base["pretrain"], "")
    own = build(RecognizeSpec, table.recognize, "")
    assert own == build(RecognizeSpec, base["recognize"], "")
    epochs = Schedule(build(RecognizeSpec, read_toml("webface-2021")["recognize"], ""), 490_623)
    assert Schedule(own, 490_623).total == epochs.total == 32_572
    assert Schedule(own, 490_623).warmup == epochs.warmup == 958
    apart = [abs(a - b) for a, b in zip(Schedule(own, 490_623).points, epochs.points, strict=True)]
    assert max(apart) <= 7  # an epoch is 958.25 batches to the decay and 958 to the total, there
    assert own.model_dump(exclude={"warmup", "decay"}) == {
        **epochs.spec.model_dump(exclude={"epochs", "warmup_epochs", "decay_epochs", "warmup", "decay"})
    }


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
    assert "got no agedb_30.bin, casia, cfp_fp.bin, judge.pth, judge2.pth, lfw.bin, phi.pth, webface4m in" in said
    origins = missing_data(read_table("table4", "paper"), tmp_path)
    assert origins["webface4m"].startswith("the folder with train.rec")
    assert "webface42m" in origins
    assert all(origins.values())


def cost(table: Table, job: str) -> tuple[int | None, float | None]:
    return next((found.images, found.operations) for found in costs(table) if found.job == job)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_set_costs_by_its_own_ratio_whatever_the_model_was_trained_at() -> None:
    table, others = read_table("table8", "paper"), read_table("table3", "paper")
    spent = {ratio: cost(table, f"by-facemae-{ratio}")[1] for ratio in (30, 50, 90)}
    assert spent[30] > spent[50] > spent[90]  # type: ignore[operator]
    assert spent == {ratio: cost(others, f"matched-{ratio}")[1] for ratio in (30, 50, 90)}


@pytest.mark.slow
def test_a_recogniser_in_epochs_costs_the_photos_of_its_set() -> None:
    table = read_table("table5", "paper")
    table = table.model_copy(update={"recognisers": {**table.recognisers, "R18": {"epochs": 2, "backbone": "mbf"}}})
    assert cost(table, "recognize-by-facemae-r18-s0")[0] == 490_623 // 512 * 2 * 512
    unknown = table.model_copy(update={"photos": {}})
    assert cost(unknown, "recognize-by-facemae-r18-s0") == (None, None)
    assert cost(unknown, "recognize-by-facemae-r100-s0")[0] == 32_572 * 512


@pytest.mark.parametrize("scale", ["paper", "synthetic"])
@pytest.mark.slow
def test_nothing_is_left_out_of_an_estimate(scale: str) -> None:
    for name in NAMES:
        found = costs(read_table(name, scale))
        assert all(job.operations for job in found), [job.job for job in found if not job.operations]


@pytest.mark.parametrize("scale", ["paper", "small", "synthetic"])
def test_every_recogniser_of_a_scale_can_be_built(scale: str) -> None:
    """A variant lies over the scale's own recogniser, of which not everything fits every backbone."""
    table = read_table("table5", scale)
    for variant in table.recognisers.values():
        spec = build(RecognizeSpec, merge(table.recognize, variant), "")
        with torch.device("meta"):
            build_backbone(spec.backbone, width=spec.width, input_size=spec.input_size, embedding=spec.embedding)


def test_phi_is_reckoned_as_it_is() -> None:
    """The package's is a narrow IResNet-18 at 48 px; a step with an IResNet-50 at 112 would be mostly phi."""
    table = read_table("table2", "synthetic")
    pixels, features = cost(table, "mae")[1], cost(table, "facemae")[1]
    assert pixels is not None
    assert features is not None
    assert pixels < features < 2 * pixels


TINY = """
seeds = [0, 1]
protocols = [{ name = "LFW-like", faces = "exam", pairs = "exam/pairs/lfw.csv" }]
recognize = { iterations = 2, batch = 8 }
audit = { identities = [4, 6], replicates = 20 }
verify = { replicates = 20 }
[recognisers]
Domain = { mixup = "identity", domain_mix = 1.0 }
[stages]
p1 = { settings = { synthetic = { identities = 6, photos = 3 } } }
p2 = { settings = { synthetic = { identities = 6, photos = 3 } } }
din = { settings = { synthetic = { identities = 6, photos = 3 } } }
dout = { settings = { synthetic = { identities = 3, photos = 2 } } }
exam = { settings = { synthetic = { identities = 20, photos = 4 } } }
mixed = { settings = { synthetic = { identities = 6, photos = 3, mixed = 2 } } }
show = { settings = { synthetic = { identities = 3, photos = 3 } } }
mae-start = { settings = { image_steps = 32, batch = 16 } }
mae = { settings = { image_steps = 16 } }
[[rows]]
label = "Original"
train = "din"
[[rows]]
label = "SynFace"
train = "mixed"
real = "p2"
recogniser = "Domain"
audit = false
paper = { LFW = 88.98 }
[[rows]]
label = "MAE"
train = "by-mae"
[[rows]]
label = "FaceMAE"
train = "by-facemae"
[[claims]]
claim = "half of the error"
a = "FaceMAE"
b = "SynFace"
metric = "half-error"
"""


@pytest.mark.slow
def test_a_table_of_ones_own_and_two_figures_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user does: a small file over the package's own, then what shares its stages, from the same folder."""
    monkeypatch.chdir(tmp_path)
    settings = TINY.split("[[rows]]")[0].replace("[0, 1]", "[]")
    (tmp_path / "mine.toml").write_text(f'scale = "synthetic"\ntitle = "Mine"\n{TINY}')
    (tmp_path / "five.toml").write_text(f'extends = "figure5"\n{settings}')
    (tmp_path / "four.toml").write_text(f'extends = "figure4"\n{settings}')
    runs = ("out", "--device", "cpu", "--runs", "runs")
    ended = facemae(capsys, "reproduce", "mine.toml", *runs)
    assert ended.code == 0, ended.err
    assert "half of the error (accuracy on LFW-like, B with half its error): " in " ".join(ended.out.split())
    told = (tmp_path / "out/mine-synthetic.md").read_text()
    assert "| SynFace |" in told
    assert "half of the error" in told
    assert (tmp_path / "runs/recognize-mixed-with-p2-domain-s1/manifest.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/manifest.json")}
    ended = facemae(capsys, "reproduce", "five.toml", *runs)
    assert ended.code == 0, ended.err
    page = (tmp_path / "out/five-synthetic.html").read_text()
    assert "person among the 3 nearest, %" in page
    assert "person among the 4 nearest, %" in page
    assert "person among the 2 nearest, %" not in page
    ended = facemae(capsys, "reproduce", "four.toml", *runs)
    assert ended.code == 0, ended.err
    assert (tmp_path / "out/four-synthetic.html").read_text().count('<span class="box"') == 8 * 4 * 3
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())


def test_shared_runs_are_reckoned_once() -> None:
    jobs = [found.job for found in costs(read_table("table1", "synthetic"))]
    assert len(jobs) == len(set(jobs))
    assert "recognize-by-facemae-s0" in jobs
    assert not any("r18" in job for job in jobs)
