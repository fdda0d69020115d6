"""One verb for a data owner: what leaves, what stays, and that nothing leaves where the gate says no."""

import csv
import errno
import hashlib
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import DiskFull, OutputExists, RecipeError
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.metadata import MetadataAudit
from facemae.faces.record import People
from facemae.faces.traces import Finding
from facemae.faces.traces.copies import FalseAlarms
from facemae.spec.recipe import AuditSpec, ExportSpec, ImportSpec, MaskSpec, ProtectSpec, ReconstructSpec
from facemae.stages import release
from facemae.stages.audit import read_audit
from facemae.stages.drop import drop
from facemae.stages.export import export_faces
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from facemae.stages.pretrain import save_model
from facemae.stages.protect import Protection, Specs, protect
from facemae.stages.release import NotReleased
from facemae.stages.stage import open_stage
from folders import facemae
from helpers import contents, plain, tiny_mae, write_model, write_people_set, write_recogniser

PEOPLE, PHOTOS = 16, 4
AUDIT = AuditSpec(k=(1, 2), replicates=50)
# Half of the true pixels stay in the release: an attacker finds people in it without a trained model.
SPECS = Specs(
    ImportSpec(),
    MaskSpec(ratio=0.5),
    ReconstructSpec(paste_visible=True),
    AUDIT,
    ProtectSpec(license="cc-by-4.0", consent="all of them agreed"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("protect")
    write_people_set(place / "faces", PEOPLE, PHOTOS)
    write_model(place / "model", tiny_mae())
    write_recogniser(place / "net")
    write_recogniser(place / "other", seed=1)
    return place


@pytest.fixture(autouse=True)
def _secrets_of_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """One honest release in a hundred is refused for its order: with true secrets a test would fail now and then."""
    drawn = itertools.count()
    monkeypatch.setattr(os, "urandom", lambda size: hashlib.shake_256(b"%d" % next(drawn)).digest(size))


def asked(place: Path, *limits: str) -> Protection:
    return Protection(str(place / "faces"), place / "model", {"net": place / "net"}, limits=limits)


def test_a_release_holds_data_card_and_audit_and_nobody(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    told = protect(asked(place, "top1:1"), out, SPECS, plain())
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "audit", "croissant.json", "data"]
    assert {"audit.json", "audit.html"} <= {path.name for path in (out / "audit").iterdir()}
    assert (told["records"], told["identities"]) == (PEOPLE * PHOTOS, PEOPLE)
    card = (out / "README.md").read_text()
    assert "cc-by-4.0" in card
    assert "all of them agreed" in card
    assert "top1:1" in card
    assert "Not measured for this card" not in card
    originals = FaceSet.open(place / "faces")
    pictures = {originals.record(i).image for i in range(len(originals))}
    secret = json.loads((private_of(out) / "request.json").read_bytes())["secret"]
    for name, data in contents(out).items():
        assert data not in pictures
        assert b"Person_" not in data
        assert "Person_" not in name
        assert originals.digest.encode() not in data
        assert secret.encode() not in data
        assert str(place).encode() not in data


def test_the_way_back_is_beside_it(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    protect(asked(place), out, SPECS, plain())
    assert private_of(out).stat().st_mode & 0o077 == 0
    originals = FaceSet.open(place / "faces")
    assert originals.people is not None
    with (private_of(out) / "linkage.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["original_path"] for row in rows} == set(originals.people.files)
    assert all((out / "data" / row["released_path"]).is_file() for row in rows)
    numbers = {(row["original_path"].split("/")[0], row["released_path"].split("/")[0]) for row in rows}
    assert len(numbers) == len({old for old, _ in numbers}) == len({new for _, new in numbers}) == PEOPLE


def test_the_same_request_is_taken_as_it_is_and_another_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    told = protect(asked(place), out, SPECS, plain())
    before = contents(tmp_path)
    assert protect(asked(place), out, SPECS, plain()) == told
    assert contents(tmp_path) == before
    with pytest.raises(OutputExists):
        protect(asked(place), out, replace(SPECS, mask=MaskSpec(ratio=0.6)), plain())
    assert contents(out) == {name[8:]: data for name, data in before.items() if name.startswith("release/")}


def test_the_gate_names_the_attack_and_the_next_try_goes_on(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    with pytest.raises(NotReleased, match=r"top1 at most 0.*under net .*reaches 0\.") as refused:
        protect(asked(place, "top1:0"), out, SPECS, plain())
    assert refused.value.exit_code == 1
    assert not out.exists()
    assert not private_of(out).exists()
    kept = {name: data for name, data in contents(tmp_path / "release.work").items() if not name.endswith(".lock")}
    protect(asked(place, "top1:1"), out, SPECS, plain())
    after = contents(tmp_path / "release.work")
    assert {name: after[name] for name in kept} == kept
    assert after.keys() == kept.keys()  # nothing was made twice


def test_a_release_that_stands_is_held_to_new_limits(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    told = protect(asked(place), out, SPECS, plain())
    with pytest.raises(NotReleased, match=r"release stands already, made without this limit: top1 at most 0"):
        protect(asked(place, "top1:0"), out, SPECS, plain())
    assert protect(asked(place, "top1:1"), out, SPECS, plain()) == told
    (out / "audit" / "audit.json").unlink()
    with pytest.raises(OutputExists, match="is not as it was made"):
        protect(asked(place, "top1:1"), out, SPECS, plain())


@pytest.mark.parametrize("ends", ["_beside", "write_pairs", "write_json"])
def test_an_interrupted_release_leaves_nothing_in_the_way(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    out = tmp_path / "release"
    locked = []

    def full(*given: object) -> None:
        locked.append((tmp_path / ".release.lock").is_file())
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(release, ends, full)
        with pytest.raises(DiskFull):
            protect(asked(place), out, SPECS, plain())
    assert locked == [True]  # nobody else writes there at the same time
    assert [path.name for path in tmp_path.iterdir()] == ["release.work"]
    (tmp_path / ".release.partial" / "data").mkdir(parents=True)  # as a killed run leaves it
    with pytest.raises(NotReleased):
        protect(asked(place, "top1:0"), out, SPECS, plain())
    assert [path.name for path in tmp_path.iterdir()] == ["release.work"]
    protect(asked(place), out, SPECS, plain())
    assert (private_of(out) / "linkage.csv").is_file()


def test_the_way_back_of_a_release_that_left_is_not_written_over(place: Path, tmp_path: Path) -> None:
    out, kept = tmp_path / "release", private_of(tmp_path / "release")
    protect(asked(place), out, SPECS, plain())
    before = contents(kept)
    out.rename(tmp_path / "published")
    other = replace(SPECS, protect=ProtectSpec(format="parquet"))
    with pytest.raises(OutputExists, match="is the way back of another release"):
        protect(asked(place), out, other, plain())
    with pytest.raises(OutputExists, match="is the way back of a release with other masks"):
        protect(asked(place), out, SPECS, plain(), work=tmp_path / "new")
    assert not out.exists()
    assert contents(kept) == before
    protect(asked(place), out, SPECS, plain())  # the same masks, the same way back
    assert (contents(kept), contents(out)) == (before, contents(tmp_path / "published"))


def test_who_is_refused_for_an_order_is_told_how_to_draw_another(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Finding("order", "listing: people", "rank correlation +0.70", 64, 64, (), "critical", 0.04)
    found = MetadataAudit(64, 64, 0, (order,), (), (), FalseAlarms(0, 1, 0.0, "people outside"))
    monkeypatch.setattr(release, "_beside", lambda *given: found)
    with pytest.raises(NotReleased, match=r"order gives the originals away.*another --work"):
        protect(asked(place), tmp_path / "release", SPECS, plain())
    assert [path.name for path in tmp_path.iterdir()] == ["release.work"]


@pytest.mark.parametrize("below", ["out", "work"])
def test_nothing_is_made_among_the_photos(place: Path, tmp_path: Path, below: str) -> None:
    photos = tmp_path / "photos"
    places = {"out": tmp_path / "release", "work": tmp_path / "work"} | {below: photos / below}
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for faces in ("photos", "link"):
        with pytest.raises(RecipeError, match="apart"):
            protect(
                replace(asked(place), faces=str(tmp_path / faces)), places["out"], SPECS, plain(), work=places["work"]
            )
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "photos"]


def test_photos_of_people_need_an_embedder_and_drawn_ones_have_one(place: Path, tmp_path: Path) -> None:
    alone = replace(asked(place), embedders={})
    with pytest.raises(RecipeError, match="--embedder: got none; needed a face recognition network"):
        protect(alone, tmp_path / "release", SPECS, plain())
    assert not list(tmp_path.iterdir())
    drawn = {"size": 32, "synthetic": {"identities": 8, "photos": 2}}
    specs = replace(SPECS, imports=ImportSpec.model_validate(drawn))
    told = protect(replace(alone, faces="synthetic"), tmp_path / "release", specs, plain())
    assert told["records"] == 16
    assert "Nobody real is shown" in (tmp_path / "release" / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask": MaskSpec(seed=1)}, "whoever knows it undoes every mask"),
        ({"mask": MaskSpec(method="blur", sigma=1.0)}, "the others are no protection"),
    ],
)
def test_what_is_no_release_is_refused_at_once(
    place: Path, tmp_path: Path, change: dict[str, MaskSpec], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        protect(asked(place), tmp_path / "release", replace(SPECS, **change), plain())  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="apart"):
        protect(asked(place), tmp_path / "release", SPECS, plain(), work=tmp_path / "release" / "work")
    assert not list(tmp_path.iterdir())


def test_a_model_of_these_very_people_is_refused(place: Path, tmp_path: Path) -> None:
    with open_stage(
        "test-model", tmp_path / "own", spec={}, parents={"faces": FaceSet.open(place / "faces").digest}
    ) as s:
        save_model(s.directory, tiny_mae())
        s.publish("model", {})
    with pytest.raises(RecipeError, match="trained on these very photos"):
        protect(replace(asked(place), model=tmp_path / "own"), tmp_path / "release", SPECS, plain())


def test_a_folder_of_photos_is_imported_and_parquet_released(place: Path, tmp_path: Path) -> None:
    export_faces(place / "faces", tmp_path / "photos", ExportSpec(keep_names=True))
    specs = replace(SPECS, protect=ProtectSpec(format="parquet"))
    out = tmp_path / "release"
    pytest.importorskip("pyarrow")
    protect(replace(asked(place), faces=str(tmp_path / "photos")), out, specs, plain())
    assert [path.name for path in (out / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert b"Person_" not in b"".join(contents(out).values())


@pytest.mark.parametrize("how", ["remask", "remove"])
def test_only_the_chosen_records_change(place: Path, tmp_path: Path, how: str) -> None:
    masked = mask(place / "faces", tmp_path / "masked", MaskSpec(), plain())
    rows = [0, 5, 17]
    out = drop(place / "faces", masked, tmp_path / "again", rows, plain(), how=how)  # type: ignore[arg-type]
    originals, before, after = (FaceSet.open(path) for path in (place / "faces", masked, out))
    linked, again = (read_linkage(private_of(path), originals, FaceSet.open(path)) for path in (masked, out))
    kept = np.setdiff1d(np.arange(len(before)), rows) if how == "remove" else np.arange(len(before))
    assert np.array_equal(again, linked[kept])
    assert np.array_equal(after.identities, before.identities[kept])
    same = [before.record(int(i)).image == after.record(place).image for place, i in enumerate(kept)]
    assert [int(kept[place]) for place, alike in enumerate(same) if not alike] == ([] if how == "remove" else rows)
    assert originals.digest not in (out / "manifest.json").read_text()
    assert after.manifest.spec == before.manifest.spec  # an imitator repeats the process by it
    assert after.manifest.facts["again"] == {"how": how, "records": 3}
    assert drop(place / "faces", masked, out, rows, plain(), how=how) == out  # type: ignore[arg-type]


def test_dropping_the_worst_is_told_apart_from_what_chose(place: Path, tmp_path: Path) -> None:
    judges = {"net": place / "net", "other": place / "other"}
    specs = replace(SPECS, protect=ProtectSpec(drop_worst=0.25, drop="remove"))
    told = protect(replace(asked(place), embedders=judges), tmp_path / "release", specs, plain())
    assert told["records"] == 48
    assert told["dropped"]["records"] == 16
    parts = {(row["embedder_had"], row["photos_had"]) for row in told["dropped"]["bought"]}
    assert len(parts) == 4
    card = (tmp_path / "release" / "README.md").read_text()
    assert "16 of 64 records" in card
    assert "table above" not in card  # a card has none
    assert "left out after a first audit" in card


def test_who_trained_the_model_is_asked_where_it_is_known(place: Path, tmp_path: Path) -> None:
    trained, outsiders = tmp_path / "trained", tmp_path / "outsiders"
    for seed, (people, faces) in enumerate({20: trained, 60: outsiders}.items(), start=5):
        write_people_set(faces, people, 2, seed=seed)
        names = [f"{faces.name}{i:03d}" for i in range(people)]
        write_people(faces, People(tuple(names), tuple(f"{name}/{i}.png" for name in names for i in range(2))))
    specs = replace(SPECS, audit=AuditSpec(suite="full", attackers=("membership",), k=(1,), replicates=50, masks=1))
    plainly, known = asked(place), replace(asked(place, "auc:1"), trained=trained, outsiders=outsiders)
    without = read_audit(protect_into(tmp_path / "without", plainly, specs) / "audit")
    assert [row["attacker"] for row in without["not_run"]] == ["open set", "membership"]
    told = read_audit(protect_into(tmp_path / "with", known, specs) / "audit")
    assert [row["score"] for row in told["membership"]] == ["loss"]
    with pytest.raises(NotReleased, match=r"auc at most 0, but membership by loss"):
        protect_into(tmp_path / "refused", replace(known, limits=("auc:0",)), specs)


def protect_into(out: Path, asked: Protection, specs: Specs) -> Path:
    protect(asked, out, specs, plain())
    return out


def test_the_command_line_ends_with_1(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["protect", place / "faces", tmp_path / "release", "--model", place / "model", "--embedder", place / "net"]
    words += ["--set", "audit.suite=retrieval", "--set", "audit.replicates=50", "--set", "license=cc0-1.0"]
    words += ["--set", "mask.ratio=0.5", "--set", "reconstruct.paste_visible=true"]
    ended = facemae(capsys, *map(str, [*words, "--max", "top1:0"]))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("facemae: nothing is released: top1 at most 0, but ")
    ended = facemae(capsys, *map(str, words))
    assert (ended.code, ended.err) == (0, "")
    assert "release of 64 images of 16 people" in ended.out
    assert "license: cc0-1.0" in (tmp_path / "release" / "README.md").read_text()
