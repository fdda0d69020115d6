"""Audits of releases whose leakage is known because it was planted."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemae.errors import DataError, FaceMAEError, RecipeError
from facemae.faces.codec import encode_png
from facemae.faces.faceset import FaceSet, write_people
from facemae.faces.record import People, key_of
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import AuditSpec, ImportSpec, MaskSpec
from facemae.stages import audit as stage
from facemae.stages.audit import REPLICATES, Inputs, audit, read_audit, replicates_of
from facemae.stages.import_ import import_faces
from facemae.stages.mask import mask, private_of
from helpers import images_of, plain, smooth_photos, write_people_set, write_recogniser, write_set

PEOPLE, PHOTOS = 20, 3
LABELS = np.arange(PEOPLE).repeat(PHOTOS)
SPEC = AuditSpec(k=(1, 2), replicates=100)
ORDER = np.random.default_rng(1).permutation(PEOPLE * PHOTOS)


def release(place: Path, images: np.ndarray, *, order: np.ndarray = ORDER, linked: bool = True) -> tuple[Path, Path]:
    """A shuffled release in which record r was made from original ``order[r]``, and the folder of its linkage."""
    directory = write_set(place / "released", images[order], LABELS[order], kind="reconstructed")
    private = place / "released.private"
    private.mkdir()
    (private / "request.json").write_text(json.dumps({"released": read_manifest(directory).digest}))
    with (private / "map.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["released_key", "original_key"])
        rows.writerows((key_of(r), key_of(int(i))) for r, i in enumerate(order))
    return directory, private


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("audit")
    # Photos of one person differ so much that the network below takes some of them for others'.
    write_set(place / "original", smooth_photos(PEOPLE, PHOTOS, noise=30.0), LABELS)
    write_recogniser(place / "net")
    write_recogniser(place / "other", seed=1)
    return place


@pytest.fixture(scope="module")
def photos(place: Path) -> np.ndarray:
    return images_of(place / "original")


def run(
    place: Path,
    out: Path,
    released: Path,
    linkage: Path | None,
    *,
    spec: AuditSpec = SPEC,
    judges: tuple[str, ...] = ("net",),
    **more: Any,
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Attacks by name, judge and same-photo setting, of everybody."""
    inputs = Inputs(
        original=place / "original",
        released=released,
        linkage=linkage,
        embedders={name: place / name for name in judges},
        **more,
    )
    found = audit(inputs, out, spec, plain(), cache=place / "cache")["attacks"]
    assert found == read_audit(out)["attacks"]
    return {(a["attack"], a["embedder"], a["same_photo"]): a for a in found if a["subset"] == "all"}


OWN = ("Org. to Org.", "net", "exclude")
ATTACK = ("Org. to released", "net", "exclude")
SAME_PHOTO = ("Org. to released", "net", "include")
IMITATION = ("released-by-same-process to released", "net", "exclude")


def rates(attack: dict[str, Any]) -> list[tuple[int, int, float]]:
    return [(at["hits"], at["trials"], at["value"]) for at in attack["at"]]


@pytest.mark.slow
def test_a_copied_release_leaks_what_the_originals_leak(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    found = run(place, tmp_path / "out", *release(tmp_path, photos))
    assert set(found) == {OWN, ATTACK, SAME_PHOTO}
    assert 0.3 < found[OWN]["at"][0]["value"] < 1.0, "neither everybody nor nobody is found among the originals"
    assert rates(found[ATTACK]) == rates(found[OWN])
    assert found[ATTACK]["at"][0]["verdict"] == "distinguishable from chance"
    # A probe that may find its own photo always does.
    assert rates(found[SAME_PHOTO]) == [(60, 60, 1.0), (60, 60, 1.0)]


def test_chance_is_that_of_drawing_blindly(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    found = run(place, tmp_path / "out", *release(tmp_path, photos))
    # 59 photos besides the probe's own, 2 of its person: 1 - C(57, K) / C(59, K). With its own: 3 of 60.
    assert [at["chance"] for at in found[ATTACK]["at"]] == pytest.approx([2 / 59, 1 - 57 * 56 / (59 * 58)])
    assert [at["chance"] for at in found[SAME_PHOTO]["at"]] == pytest.approx([3 / 60, 1 - 57 * 56 / (60 * 59)])


@pytest.mark.slow
def test_shuffled_identities_are_near_chance(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    swapped = photos.reshape(PEOPLE, PHOTOS, *photos.shape[1:])[np.random.default_rng(2).permutation(PEOPLE)]
    strangers = smooth_photos(PEOPLE, PHOTOS, seed=9)
    for name, images in (("swapped", swapped.reshape(photos.shape)), ("strangers", strangers)):
        (tmp_path / name).mkdir()
        found = run(place, tmp_path / name / "out", *release(tmp_path / name, images))
        for at in found[ATTACK]["at"]:
            assert at["control_low"] <= at["value"] <= at["control_high"]
            assert at["p_value"] > 0.05
            assert at["verdict"].startswith("not distinguishable from chance; this attack finds at most")
        assert found[OWN]["at"][0]["verdict"] == "distinguishable from chance"


@pytest.mark.parametrize("same_photo", ["exclude", "include"])
def test_same_photo_is_a_choice(same_photo: str, place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    spec = AuditSpec.model_validate(SPEC.model_dump() | {"same_photo": same_photo})
    found = run(place, tmp_path / "out", *release(tmp_path, photos), spec=spec)
    assert set(found) == {OWN, ("Org. to released", "net", same_photo)}


@pytest.mark.slow
def test_imitating_the_process_is_an_attack_of_its_own(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    """A process that turns faces upside down hides them from a network, but not from somebody who does the same."""
    (tmp_path / "again").mkdir()
    again, again_linkage = release(tmp_path / "again", photos[:, ::-1], order=ORDER[::-1].copy())
    found = run(
        place,
        tmp_path / "out",
        *release(tmp_path, photos[:, ::-1]),
        imitation=again,
        imitation_linkage=again_linkage,
    )
    assert set(found) == {OWN, ATTACK, SAME_PHOTO, IMITATION}
    assert found[ATTACK]["at"][0]["value"] < 0.5 * found[IMITATION]["at"][0]["value"]
    assert found[IMITATION]["at"][0]["verdict"] == "distinguishable from chance"
    # Its own photo's release is excluded for every probe, else it would always be found.
    assert found[IMITATION]["at"][0]["value"] < 1.0
    assert found[IMITATION]["at"][0]["chance"] == pytest.approx(2 / 59)


def test_an_imitation_needs_its_linkage(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    released, linkage = release(tmp_path, photos)
    with pytest.raises(DataError, match="linkage") as raised:
        run(place, tmp_path / "out", released, linkage, imitation=released)
    assert "\n" not in str(raised.value)


def renamed(directory: Path) -> Path:
    """The same set, its people called otherwise."""
    people = FaceSet.open(directory).people
    assert people is not None
    write_people(directory, People(tuple(f"Stranger_{name}" for name in people.identities), people.files))
    return directory


def test_strangers_who_are_members_are_refused(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    strangers = write_people_set(tmp_path / "strangers", 50, 2, seed=77)
    with pytest.raises(DataError, match="shares people with the originals: got 20, first 'Person_000'") as raised:
        run(place, tmp_path / "out", *release(tmp_path, photos), nonmembers=strangers)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_strangers_stay_silent_where_members_are_found(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    strangers = renamed(write_people_set(tmp_path / "strangers", 50, 2, seed=77))
    found = run(place, tmp_path / "out", *release(tmp_path, photos), nonmembers=strangers)
    assert found[SAME_PHOTO]["open_set"] is None
    control = found[ATTACK]["open_set"]
    assert (control["nonmember_trials"], control["nonmember_people"]) == (100, 50)
    tenth, hundredth = control["points"]
    assert tenth["measurable"]
    assert tenth["fpir"] <= 0.1
    assert tenth["low"] <= tenth["value"] <= tenth["high"]
    # 100 non-member trials do not carry a rate of 1 %.
    assert hundredth["target"] == 0.01
    assert not hundredth["measurable"]
    assert control["member_scores"][1] > control["nonmember_scores"][1]


@pytest.mark.slow
def test_curves_over_the_people_end_at_the_whole(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    spec = AuditSpec.model_validate(SPEC.model_dump() | {"identities": (5, 20, 500)})
    found = run(place, tmp_path / "out", *release(tmp_path, photos), spec=spec)
    curve = {(point["k"], point["identities"]): point for point in found[ATTACK]["curve"]}
    assert set(curve) == {(k, n) for k in (1, 2) for n in (5, 20)}, "no curve over more people than there are"
    assert curve[1, 20]["value"] == pytest.approx(found[ATTACK]["at"][0]["value"])
    assert curve[1, 5]["value"] > curve[1, 20]["value"]


@pytest.mark.slow
def test_every_judge_attacks_and_replicates_stand_in_the_order_of_the_attacks(
    place: Path, photos: np.ndarray, tmp_path: Path
) -> None:
    found = run(place, tmp_path / "out", *release(tmp_path, photos), judges=("net", "other"))
    names = ("Org. to Org.", "exclude"), ("Org. to released", "exclude"), ("Org. to released", "include")
    assert list(found) == [(name, judge, same) for judge in ("net", "other") for name, same in names]
    with np.load(tmp_path / "out" / REPLICATES) as stored:
        assert sorted(stored) == sorted(name for i in range(6) for name in replicates_of(i))
        for number, attack in enumerate(found.values()):
            everybody, second = (stored[name] for name in replicates_of(number))
            assert everybody.shape == second.shape == (100, 2)
            for column, at in enumerate(attack["at"]):
                assert everybody[:, column].mean() == pytest.approx(at["value"], abs=0.05)
                assert second[:, column].mean() == pytest.approx(at["halves"][1]["value"], abs=0.05)


@pytest.mark.slow
def test_p_values_are_for_the_whole_family(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    """One judge more can only make a finding less certain."""
    strangers = smooth_photos(PEOPLE, PHOTOS, seed=9)
    made = release(tmp_path, strangers)
    alone = run(place, tmp_path / "alone", *made)
    family = run(place, tmp_path / "family", *made, judges=("net", "other"))
    for key, attack in alone.items():
        for one, many in zip(attack["at"], family[key]["at"], strict=True):
            assert many["p_value"] >= one["p_value"]


def test_the_originals_alone_are_audited_against_themselves(place: Path, tmp_path: Path) -> None:
    found = run(place, tmp_path / "out", place / "original", None)
    assert set(found) == {OWN}


def test_the_masked_set_of_our_own_with_its_private_folder(place: Path, tmp_path: Path) -> None:
    masked = mask(place / "original", tmp_path / "masked", MaskSpec(seed=3), plain())
    found = run(place, tmp_path / "out", masked, private_of(masked))
    assert set(found) == {OWN, ATTACK, SAME_PHOTO}
    # The result names originals, release and judge, and nothing of the private folder.
    manifest = read_manifest(tmp_path / "out")
    assert set(manifest.parents) == {"original", "released", "embedder net"}
    assert manifest.kind == "audit"


def test_another_tools_release_comes_with_a_list_of_paths(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    people = FaceSet.open(place / "original").people
    assert people is not None
    names = [f"anon/{r:04d}.png" for r in range(60)]
    released = write_set(tmp_path / "set", photos[ORDER], LABELS[ORDER], files=names)
    linkage = tmp_path / "linkage.csv"
    lines = [f"{people.files[i]},{names[r]}" for r, i in enumerate(ORDER.tolist())]
    linkage.write_text("\n".join(["original_path,released_path", *lines]) + "\n")
    found = run(place, tmp_path / "out", released, linkage)
    assert rates(found[ATTACK]) == rates(found[OWN])
    assert "linkage" in read_manifest(tmp_path / "out").parents


def test_the_folder_of_another_masked_set_never_becomes_a_result(place: Path, tmp_path: Path) -> None:
    first, other = (mask(place / "original", tmp_path / f"m{seed}", MaskSpec(seed=seed), plain()) for seed in (3, 4))
    for wrong in (private_of(other), private_of(other) / "map.csv"):
        with pytest.raises(DataError, match=r"m4\.private is not the linkage of .*m3") as raised:
            run(place, tmp_path / "out", first, wrong)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_map_given_by_itself_leaves_no_trace(place: Path, tmp_path: Path) -> None:
    masked = mask(place / "original", tmp_path / "masked", MaskSpec(seed=3), plain())
    by_folder = run(place, tmp_path / "a", masked, private_of(masked))
    assert run(place, tmp_path / "b", masked, private_of(masked) / "map.csv") == by_folder
    manifests = [read_manifest(tmp_path / name) for name in "ab"]
    assert manifests[0].parents == manifests[1].parents
    assert "linkage" not in manifests[0].parents


def test_a_photo_released_twice_is_left_out_twice(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    """Each photo stands in the release once upright and once more: neither copy may be found by the photo itself."""
    people = FaceSet.open(place / "original").people
    assert people is not None
    twice = np.concatenate([photos, photos])
    labels = np.concatenate([LABELS, LABELS])
    names = [f"{copy}/{i:04d}.png" for copy in "ab" for i in range(60)]
    released = write_set(tmp_path / "set", twice, labels, files=names)
    linkage = tmp_path / "linkage.csv"
    lines = [f"{people.files[i]},{copy}/{i:04d}.png" for copy in "ab" for i in range(60)]
    linkage.write_text("\n".join(["original_path,released_path", *lines]) + "\n")
    found = run(place, tmp_path / "out", released, linkage, spec=AuditSpec(k=(1,), replicates=100))
    assert found[ATTACK]["at"][0]["value"] == found[OWN]["at"][0]["value"] < 1.0
    # 120 pictures less the two of the probe's own photo; four of its person are left.
    assert found[ATTACK]["at"][0]["chance"] == pytest.approx(4 / 118)


@pytest.mark.slow
def test_halves_are_the_same_people_in_every_attack(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    again, again_linkage = release(tmp_path / "again", photos, order=ORDER[::-1].copy())
    found = run(place, tmp_path / "out", *release(tmp_path, photos), imitation=again, imitation_linkage=again_linkage)
    for attack in found.values():
        for at in attack["at"]:
            first, second = at["halves"]
            assert first["trials"] == second["trials"] == 30
            assert first["hits"] + second["hits"] == at["hits"]
            assert first["low"] <= first["value"] <= first["high"]
            assert first["chance"] == pytest.approx(at["chance"])
    # A copy of the originals is found by the same people, so the halves agree one by one.
    for own, copied in zip(found[OWN]["at"], found[ATTACK]["at"], strict=True):
        assert own["halves"] == copied["halves"]


def test_each_source_of_the_originals_is_told_apart(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    """People 0 … 11 came in one folder, the others in a second one whose pictures are all alike within a person."""
    for person in range(PEOPLE):
        folder = tmp_path / ("sharp" if person < 12 else "soft") / f"P{person:02d}"
        folder.mkdir(parents=True)
        for photo in range(PHOTOS):
            image = photos[person * PHOTOS + (photo if person < 12 else 0)].copy()
            image[0, 0] = photo
            (folder / f"{photo}.png").write_bytes(encode_png(image))
    original = import_faces([str(tmp_path / "sharp"), str(tmp_path / "soft")], tmp_path / "set", ImportSpec(), plain())
    inputs = Inputs(original=original, released=original, linkage=None, embedders={"net": place / "net"})
    spec = AuditSpec(k=(1, 2), replicates=100, identities=(5, 20))
    rows = audit(inputs, tmp_path / "out", spec, plain(), cache=tmp_path / "cache")["attacks"]
    assert [row["subset"] for row in rows] == ["all", "sharp", "soft"]
    whole, sharp, soft = rows
    assert [row["at"][0]["trials"] for row in rows] == [60, 36, 24]
    for i in range(2):
        assert whole["at"][i]["hits"] == sharp["at"][i]["hits"] + soft["at"][i]["hits"]
        # The gallery stays whole: all people, and the chance of drawing among all of their pictures.
        assert {row["at"][i]["identities"] for row in rows} == {PEOPLE}
        assert soft["at"][i]["chance"] == pytest.approx(whole["at"][i]["chance"])
    assert soft["at"][0]["value"] == 1.0 > sharp["at"][0]["value"]
    assert (sharp["curve"], soft["curve"]) == ([], [])
    assert whole["curve"]
    with np.load(tmp_path / "out" / REPLICATES) as stored:
        assert len(stored) == 2 * len(rows)


def test_without_linkage_the_line_says_what_is_needed(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    released, _ = release(tmp_path, photos)
    with pytest.raises(DataError, match=r"cannot be audited without linkage: needed --linkage") as raised:
        run(place, tmp_path / "out", released, None)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FaceMAEError, match="no linkage at"):
        run(place, tmp_path / "out", released, released)


def test_without_a_judge_there_is_no_attack(place: Path, photos: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--embedder: got none"):
        run(place, tmp_path / "out", *release(tmp_path, photos), judges=())


def test_the_same_again_is_read(
    place: Path, photos: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = release(tmp_path, photos)
    first = run(place, tmp_path / "out", *made)
    monkeypatch.setattr(stage, "Suite", None)
    assert run(place, tmp_path / "out", *made) == first
