"""`mask`: what leaves the house holds true visible pixels and nothing else; the way back stays at home."""

import csv
import errno
import io
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemae.errors import Damaged, DiskFull, OutputExists, RecipeError
from facemae.faces.codec import decode
from facemae.faces.distort import add_noise, blur, keep_windows, pixelate, sharpness
from facemae.faces.faceset import GREY, FaceSet
from facemae.faces.masks import record_secret, seed_bytes
from facemae.faces.record import key_of
from facemae.faces.regions import region_cells
from facemae.spec.execution import Execution
from facemae.spec.manifest import read_manifest
from facemae.spec.recipe import ImportSpec, MaskSpec
from facemae.stages.import_ import import_faces
from facemae.stages.linkage import read_linkage
from facemae.stages.mask import mask, private_of
from folders import demand_one_line, facemae, noise, originals, plant, tree

PEOPLE, PHOTOS, SIZE = 6, 4, 32
IMAGES = [noise(i, SIZE) for i in range(PEOPLE * PHOTOS)]
LABELS = [i // PHOTOS for i in range(PEOPLE * PHOTOS)]
GRID = SIZE // 8
EVERY = range(len(IMAGES))


@pytest.fixture
def faces(tmp_path: Path) -> FaceSet:
    return originals(tmp_path / "originals", IMAGES, LABELS)


def run(faces: FaceSet, out: Path, *, like: Path | None = None, **spec: object) -> FaceSet:
    return FaceSet.open(mask(faces.directory, out, MaskSpec(**spec), Execution(), like=like))  # type: ignore[arg-type]


def rows(out: Path) -> list[dict[str, str]]:
    with (private_of(out) / "map.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def cells_of(images: np.ndarray) -> np.ndarray:
    """b x (grid * grid) x 8 x 8 x 3."""
    parts = images.reshape(len(images), GRID, 8, GRID, 8, 3).transpose(0, 1, 3, 2, 4, 5)
    return parts.reshape(len(images), GRID * GRID, 8, 8, 3)


def request_of(out: Path) -> dict[str, str]:
    return json.loads((private_of(out) / "request.json").read_text())


# ---- what leaves ---------------------------------------------------------------------------------------------------


def test_visible_pixels_are_the_true_ones(faces: FaceSet, tmp_path: Path) -> None:
    masked = run(faces, tmp_path / "out", seed=1)
    assert masked.kind == "masked"
    assert masked.cells == (GRID, 8, 4)
    back = read_linkage(private_of(tmp_path / "out"), faces, masked)
    patches, positions = masked.visible(EVERY)
    true = cells_of(faces.images(back.tolist()))
    assert np.array_equal(patches, np.take_along_axis(true, positions[:, :, None, None, None], axis=1))
    painted = cells_of(masked.images(EVERY))
    hidden = np.ones((len(IMAGES), GRID * GRID), bool)
    np.put_along_axis(hidden, positions, False, axis=1)
    assert (painted[hidden] == GREY).all()
    assert len({tuple(row) for row in positions.tolist()}) > len(IMAGES) // 2


@pytest.mark.parametrize(("ratio", "cell", "kept"), [(0.5, 8, 8), (0.9, 4, 6), (0.75, 16, 1)])
def test_ratio_and_cell(faces: FaceSet, tmp_path: Path, ratio: float, cell: int, kept: int) -> None:
    assert run(faces, tmp_path / "out", ratio=ratio, cell=cell).cells == (SIZE // cell, cell, kept)


def test_no_masked_pixel_changes_a_byte(faces: FaceSet, tmp_path: Path) -> None:
    masked = run(faces, tmp_path / "out", seed=1)
    back = read_linkage(private_of(tmp_path / "out"), faces, masked).tolist()
    _, positions = masked.visible(EVERY)
    seen = np.zeros((len(IMAGES), GRID * GRID), bool)
    np.put_along_axis(seen, positions, True, axis=1)
    pixels = seen.reshape(-1, GRID, GRID).repeat(8, axis=1).repeat(8, axis=2)[..., None]
    images = faces.images(back)
    changed = np.where(pixels, images, 255 - images)
    assert (changed != images).mean() > 0.7
    in_order = [changed[back.index(i)] for i in EVERY]
    others = originals(tmp_path / "others", in_order, LABELS)
    assert others.digest != faces.digest
    run(others, tmp_path / "again", seed=1)
    assert tree(tmp_path / "again") == tree(tmp_path / "out")


def test_one_visible_pixel_does(faces: FaceSet, tmp_path: Path) -> None:
    run(faces, tmp_path / "out", seed=1)
    images = [image.copy() for image in IMAGES]
    images[5][...] ^= 1
    run(originals(tmp_path / "others", images, LABELS), tmp_path / "again", seed=1)
    assert read_manifest(tmp_path / "again").digest != read_manifest(tmp_path / "out").digest


def test_records_and_people_are_shuffled_and_linked_in_private_only(faces: FaceSet, tmp_path: Path) -> None:
    masked = run(faces, tmp_path / "out", seed=1)
    listed = rows(tmp_path / "out")
    assert [row["released_key"] for row in listed] == [f"{i:08d}" for i in EVERY]
    back = [int(row["original_key"]) for row in listed]
    assert sorted(back) == list(EVERY)
    assert sum(i == j for i, j in enumerate(back)) < len(back) // 3
    people = {int(row["original_identity"]): int(row["released_identity"]) for row in listed}
    assert sorted(people.values()) == list(range(PEOPLE))
    assert people != {i: i for i in range(PEOPLE)}
    for i, row in zip(back, listed, strict=True):
        assert row["original_path"] == faces.people.files[i]  # type: ignore[union-attr]
        assert int(row["original_identity"]) == LABELS[i]
    assert masked.identities.tolist() == [people[LABELS[i]] for i in back]
    assert masked.people is None
    assert sorted(path.name for path in private_of(tmp_path / "out").iterdir()) == ["map.csv", "request.json"]


def test_the_public_folder_holds_no_trace_of_the_originals(tmp_path: Path) -> None:
    def photo(i: int) -> bytes:
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x010E], exif[0x013B] = "Described-Scene", "Pia Photographer"
        Image.fromarray(IMAGES[i]).save(buffer, "JPEG", exif=exif)
        assert b"Pia Photographer" in buffer.getvalue()
        return buffer.getvalue()

    files = {f"Zebulon_Quux{i // 2}/portrait_{i}_xyz.jpg": photo(i) for i in range(6)}
    plant(tmp_path / "holiday-album", files)
    seed = 987654321
    import_faces([str(tmp_path / "holiday-album")], tmp_path / "family", ImportSpec(), Execution())
    out = mask(tmp_path / "family", tmp_path / "out", MaskSpec(seed=seed), Execution())
    public = tree(out)
    assert list(public) == ["index.npy", "manifest.json", "shards/00000.tar"]
    parent, request = read_manifest(tmp_path / "family"), request_of(out)
    secret = seed_bytes(seed)
    needles: Sequence[str] = [
        "Zebulon", "Quux", "portrait", "xyz", "holiday", "album", "family", "private", "Photographer", "Described",
        str(seed), "seed", secret.hex(), parent.digest, parent.parents["source0"], request["request"], str(tmp_path),
    ]  # fmt: skip
    assert request["secret"] == secret.hex()
    for name, data in public.items():
        assert not [needle for needle in needles if needle.encode() in data], name
        assert secret not in data
        assert b"Exif" not in data
    manifest = read_manifest(out)
    assert (manifest.parents, manifest.spec) == (
        {},
        {"method": "cells", "ratio": 0.75, "cell": 8, "sigma": None},
    )
    assert set(manifest.facts) == {"records", "identities", "size", "mask"}


def test_the_private_folder_is_the_owners_alone(faces: FaceSet, tmp_path: Path) -> None:
    private = private_of(tmp_path / "out")
    private.mkdir(mode=0o755)
    run(faces, tmp_path / "out")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "request.json").stat().st_mode) == 0o600


# ---- the same again, or not ----------------------------------------------------------------------------------------


def test_the_secret_decides_everything(faces: FaceSet, tmp_path: Path) -> None:
    names = {"one": {"seed": 5}, "same": {"seed": 5}, "other": {"seed": 6}, "drawn": {}, "drawn again": {}}
    for name, spec in names.items():
        run(faces, tmp_path / name, **spec)
    trees = {name: tree(tmp_path / name) for name in names}
    assert trees["one"] == trees["same"]
    digests = {read_manifest(tmp_path / name).digest for name in names}
    assert len(digests) == 4
    secrets = {name: request_of(tmp_path / name)["secret"] for name in names}
    assert secrets["one"] == secrets["same"] == seed_bytes(5).hex()
    assert len(bytes.fromhex(secrets["drawn"])) == 32
    assert len(set(secrets.values())) == 4


def test_a_finished_set_is_recognised(faces: FaceSet, tmp_path: Path) -> None:
    run(faces, tmp_path / "out")
    made, kept = (tmp_path / "out/manifest.json").stat().st_mtime_ns, tree(private_of(tmp_path / "out"))
    run(faces, tmp_path / "out")
    assert (tmp_path / "out/manifest.json").stat().st_mtime_ns == made
    assert tree(private_of(tmp_path / "out")) == kept


def test_a_lost_set_is_made_again_with_the_secret_that_was_kept(faces: FaceSet, tmp_path: Path) -> None:
    run(faces, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "sent")
    run(faces, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_another_request_spoils_neither_set_nor_secret(faces: FaceSet, tmp_path: Path) -> None:
    run(faces, tmp_path / "out")
    before = tree(tmp_path)
    with pytest.raises(
        OutputExists, match="keeps the secret of another masked set: name another OUT, or remove OUT and"
    ):
        run(faces, tmp_path / "out", ratio=0.5)
    others = originals(tmp_path / "others", IMAGES[::-1], LABELS)
    with pytest.raises(OutputExists, match="keeps the secret of another masked set"):
        run(others, tmp_path / "out")
    assert {name: data for name, data in tree(tmp_path).items() if not name.startswith("others")} == before


def test_without_its_private_folder_a_set_is_somebody_elses(faces: FaceSet, tmp_path: Path) -> None:
    run(faces, tmp_path / "out", seed=1)
    private_of(tmp_path / "out").rename(tmp_path / "safe")
    with pytest.raises(OutputExists, match="holds another result"):
        run(faces, tmp_path / "out", seed=1)
    assert not private_of(tmp_path / "out").exists()


def test_an_out_of_somebody_else_gets_no_private_folder(faces: FaceSet, tmp_path: Path) -> None:
    plant(tmp_path / "out", {"mine.txt": b"mine"})
    with pytest.raises(OutputExists):
        run(faces, tmp_path / "out")
    assert not private_of(tmp_path / "out").exists()


def test_a_full_disk_leaves_no_set_and_blocks_no_other_request(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facemae.faces.writer.FaceSetWriter.add", full)
    with pytest.raises(DiskFull):
        run(faces, tmp_path / "out")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["originals", "out.private"]
    secret = request_of(tmp_path / "out")["secret"]
    run(faces, tmp_path / "out", ratio=0.5)
    assert request_of(tmp_path / "out")["secret"] != secret


def test_an_interrupted_request_keeps_its_secret(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facemae.faces.writer.FaceSetWriter.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        run(faces, tmp_path / "out")
    monkeypatch.undo()
    secret = request_of(tmp_path / "out")["secret"]
    run(faces, tmp_path / "out")
    assert request_of(tmp_path / "out")["secret"] == secret


# ---- the blurred baseline ------------------------------------------------------------------------------------------


def test_blur_with_a_width(faces: FaceSet, tmp_path: Path) -> None:
    blurred = run(faces, tmp_path / "out", method="blur", sigma=1.5)
    assert blurred.kind == "baseline"
    back = read_linkage(private_of(tmp_path / "out"), faces, blurred)
    for i in (0, 7):
        assert np.array_equal(blurred.image(i), blur(faces.image(int(back[i])), 1.5))
    assert blurred.manifest.facts["sigma"] == 1.5
    assert blurred.manifest.parents == {}
    assert blurred.people is None


def test_blur_to_the_sharpness_of_another_set(faces: FaceSet, tmp_path: Path) -> None:
    soft = originals(tmp_path / "soft", [blur(image, 1.2) for image in IMAGES[:9]], LABELS[:9])
    blurred = run(faces, tmp_path / "out", method="blur", like=soft.directory)
    assert blurred.manifest.facts["sigma"] == pytest.approx(1.2, abs=0.05)
    assert sharpness(blurred.images(EVERY)) == pytest.approx(sharpness(soft.images(range(9))), rel=0.05)


# ---- regions and fill ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["eyes", "mouth"])
def test_a_region_is_hidden_in_every_photo_at_the_same_ratio(faces: FaceSet, tmp_path: Path, region: str) -> None:
    plain, hiding = run(faces, tmp_path / "plain", seed=1), run(faces, tmp_path / "out", seed=1, region=region)
    assert hiding.cells == plain.cells
    _, positions = hiding.visible(EVERY)
    hidden = set(region_cells(region, size=SIZE, cell=8).tolist())  # type: ignore[arg-type]
    assert 1 < len(hidden) < GRID * GRID
    assert not hidden & set(positions.ravel().tolist())
    _, before = plain.visible(EVERY)
    for old, new in zip(before.tolist(), positions.tolist(), strict=True):
        assert set(old) - hidden <= set(new)  # what was visible outside the region still is


def test_without_filling_only_the_region_is_hidden(faces: FaceSet, tmp_path: Path) -> None:
    masked = run(faces, tmp_path / "out", region="eyes", region_fill=False)
    hidden = set(region_cells("eyes", size=SIZE, cell=8).tolist())
    assert masked.cells == (GRID, 8, GRID * GRID - len(hidden))
    _, positions = masked.visible(EVERY)
    assert all(set(range(GRID * GRID)) - set(row) == hidden for row in positions.tolist())


@pytest.mark.parametrize("fill", ["black", "mean"])
def test_a_fill_changes_pictures_and_not_what_is_released(faces: FaceSet, tmp_path: Path, fill: str) -> None:
    grey, other = run(faces, tmp_path / "grey", seed=1), run(faces, tmp_path / "out", seed=1, fill=fill)
    cells, positions = grey.visible(EVERY)
    again, same = other.visible(EVERY)
    assert np.array_equal(cells, again)
    assert np.array_equal(positions, same)
    colour = np.zeros(3) if fill == "black" else cells.reshape(-1, 3).mean(axis=0)
    assert np.abs(np.array(other.fill) - colour).max() <= 0.5
    painted = cells_of(other.images(EVERY))
    hidden = np.ones((len(IMAGES), GRID * GRID), bool)
    np.put_along_axis(hidden, positions, False, axis=1)
    assert (painted[hidden] == other.fill).all()
    assert (cells_of(grey.images(EVERY))[~hidden] == painted[~hidden]).all()
    # Later stages know a set by its digest, and see other pictures.
    assert other.digest != grey.digest


def test_grey_is_no_part_of_a_masked_set(faces: FaceSet, tmp_path: Path) -> None:
    masked = run(faces, tmp_path / "out", seed=1, fill="grey")
    assert masked.manifest.facts["mask"] == {"grid": GRID, "cell": 8, "kept": 4}
    assert masked.fill == (GREY, GREY, GREY)


@pytest.mark.parametrize("colour", [7, [1, 2], [0, 0, 256], [0, 0, 0.5], "black"])
def test_a_fill_that_is_no_colour_is_one_line(faces: FaceSet, tmp_path: Path, colour: object) -> None:
    out = mask(faces.directory, tmp_path / "out", MaskSpec(), Execution())
    content = json.loads((out / "manifest.json").read_text())
    content["facts"]["mask"]["fill"] = colour
    (out / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(Damaged, match=r"the manifest of .*out is damaged: got fill .*; needed red, green, blue"):
        FaceSet.open(out).image(0)


# ---- what was asked before there were these settings ---------------------------------------------------------------


GOLDEN = {
    "cells": (
        "78a4f2026af76c98c77fc8062dbe0518157b1dacc355b7db5a3c5b28c1840027",
        "b5c2eabe106424b971f8b16ced7d7b16df707067ddbcf97f63e4424557a2d515",
    ),
    "blur": (
        "a17e4d977b8cdf24e48ec4d1d83eebf28f88fb4b4611fced0ee83d2b6b0f53b9",
        "b168490bace1b1a110e7dd06b9d181ee52bab6081d97fabc6204c940973ee738",
    ),
}
"""Digest of the released bytes, and of the request, as they were then."""


@pytest.mark.parametrize("method", GOLDEN)
def test_earlier_requests_keep_bytes_and_digests(faces: FaceSet, tmp_path: Path, method: str) -> None:
    made = run(faces, tmp_path / "out", method=method, sigma=1.5 if method == "blur" else None, seed=1)
    assert (made.digest, request_of(tmp_path / "out")["request"]) == GOLDEN[method]


# ---- the other baselines -------------------------------------------------------------------------------------------


BASELINES: dict[str, tuple[str, float]] = {
    "pixelate": ("block", 5),
    "noise": ("deviation", 25.0),
    "windows": ("side", 6),
}


def expected(method: str, image: np.ndarray, i: int) -> np.ndarray:
    if method == "pixelate":
        return pixelate(image, 5)
    if method == "windows":
        return keep_windows(image, 6)
    return add_noise(image, 25.0, record_secret(seed_bytes(1), "noise", key_of(i)))


@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_is_its_distortion(faces: FaceSet, tmp_path: Path, method: str) -> None:
    key, strength = BASELINES[method]
    made = run(faces, tmp_path / "out", method=method, seed=1, **{key: strength})
    assert made.kind == "baseline"
    assert {name: made.manifest.facts[name] for name in (key,)} == {key: strength}
    assert (made.manifest.parents, made.people) == ({}, None)
    back = read_linkage(private_of(tmp_path / "out"), faces, made).tolist()
    for row, i in enumerate(back):
        assert np.array_equal(made.image(row), expected(method, IMAGES[i], i))


def test_noise_belongs_to_secret_and_record(tmp_path: Path) -> None:
    flat = originals(tmp_path / "originals", [np.full((SIZE, SIZE, 3), 128, np.uint8)] * 4, [0, 0, 1, 1])
    sets = [run(flat, tmp_path / name, method="noise", deviation=20.0, seed=seed) for name, seed in
            (("one", 1), ("same", 1), ("other", 2))]  # fmt: skip
    assert len({image.tobytes() for made in sets for image in made.images(range(4))}) == 8
    assert tree(tmp_path / "one") == tree(tmp_path / "same")


# ---- requests that cannot be met -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"cell": 5}, "mask.cell: got 5 over images of 32x32; needed square images whose side is a multiple"),
        ({"ratio": 0.99}, "mask.ratio: got 0.99; needed a ratio that leaves one of 16 cells visible"),
        ({"sigma": 2.0}, "mask.method: got cells and sigma=2.0; needed method=blur, or neither sigma nor --like"),
        ({"method": "blur"}, "mask.sigma: needed for blur either a width in pixels or --like SET"),
        ({"method": "pixelate"}, "mask.block: needed for pixelate a number of pixels"),
        ({"method": "noise"}, "mask.deviation: needed for noise a number of grey levels"),
        ({"method": "windows"}, "mask.side: needed for windows a number of pixels"),
        ({"block": 4}, "mask.method: got cells and block=4; needed method=pixelate, or no block"),
        ({"method": "blur", "sigma": 1.0, "side": 4}, "got blur and side=4; needed method=windows, or no side"),
        ({"method": "noise", "deviation": 9.0, "sigma": 1.0}, "got noise and sigma=1.0; needed method=blur, or neit"),
        ({"method": "windows", "side": 33}, "mask.side: got 33 over images of 32x32; needed windows no larger than"),
        ({"method": "blur", "sigma": 1.0, "region": "eyes"}, "mask.region: got eyes and method=blur; needed method=ce"),
        ({"method": "blur", "sigma": 1.0, "fill": "black"}, "mask.fill: got black and method=blur; needed method=c"),
        ({"region_fill": False}, "mask.region_fill: got false and region=none; needed a region that alone is hidden"),
        ({"region": "eyes", "ratio": 0.1}, "mask.ratio: got 0.1; needed a ratio that hides the 4 of 16 cells of the"),
        ({"region": "eyes", "region_fill": False, "cell": 16}, "mask.cell: got 16; needed cells of which some lie"),
    ],
)  # fmt: skip
def test_wrong_settings(faces: FaceSet, tmp_path: Path, spec: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        run(faces, tmp_path / "out", **spec)
    assert said in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["originals"]


def test_cells_are_like_no_other_set(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mask\.method: got cells and --like .*originals; needed method=blur"):
        run(faces, tmp_path / "out", like=faces.directory)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"request": "x"}', '{"request": 1, "secret": 2, "released": 3}',
                                     '{"request": "x", "secret": "no hex", "released": null}'])  # fmt: skip
def test_a_damaged_private_folder_is_one_line(faces: FaceSet, tmp_path: Path, content: str) -> None:
    run(faces, tmp_path / "out", seed=1)
    (private_of(tmp_path / "out") / "request.json").write_text(content)
    with pytest.raises(
        Damaged, match=r"request\.json is damaged: bring it back from a copy, or remove OUT and"
    ) as raised:
        run(faces, tmp_path / "out", seed=1)
    assert "\n" not in str(raised.value)


def test_blur_takes_one_width_only(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mask\.sigma: got 2\.0"):
        run(faces, tmp_path / "out", method="blur", sigma=2.0, like=faces.directory)


def test_on_the_command_line(faces: FaceSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    ended = facemae(capsys, "mask", faces.directory, out, "--seed", 3)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"masked set in {out}: {len(IMAGES)} images of {PEOPLE} people\n"
    assert "cannot be used here: got kind masked; needed original" in demand_one_line(
        facemae(capsys, "mask", out, tmp_path / "twice")
    )
    assert "keeps the secret of another" in demand_one_line(facemae(capsys, "mask", faces.directory, out, "--seed", 4))


def test_orientation_is_applied_before_the_mark_is_dropped(tmp_path: Path) -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(IMAGES[0]).save(buffer, "JPEG", quality=95, exif=exif)
    plant(tmp_path / "photos", {"a/1.jpg": buffer.getvalue()})
    import_faces([str(tmp_path / "photos")], tmp_path / "set", ImportSpec(), Execution())
    masked = FaceSet.open(mask(tmp_path / "set", tmp_path / "out", MaskSpec(), Execution()))
    patches, positions = masked.visible([0])
    upright = decode(buffer.getvalue())[None]
    assert np.array_equal(patches[0], cells_of(upright)[0, positions[0]])
