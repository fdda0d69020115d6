"""The metadata audit on folders, archives and sets with a known leak, and on honest ones."""

import csv
import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemae.errors import DataError
from facemae.faces.codec import encode_jpeg, encode_png
from facemae.faces.metadata import MetadataAudit, audit_metadata
from facemae.faces.traces import Collection, linked_records, open_collection
from folders import noise, originals, plant, png

NAMES = ["Ann_Lee", "Bo_Karl", "Cleo_May", "Dan_Roe", "Eve_Fox", "Finn_Ash", "Gus_Orr", "Hal_Ives"]
PHOTOS = 3
STAMP = 10**18


def photo(i: int) -> np.ndarray:
    """Structure that survives JPEG, and detail of its own."""
    coarse = Image.fromarray(noise(i, 6)).resize((48, 48), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(coarse).astype(int) + noise(1000 + i, 48) // 5 - 25, 0, 255).astype(np.uint8)


def file_of(i: int) -> str:
    name = NAMES[i // PHOTOS]
    return f"{name}/{name}_{i % PHOTOS + 1:04d}.png"


COUNT = len(NAMES) * PHOTOS


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = plant(tmp_path_factory.mktemp("o") / "set", {file_of(i): encode_png(photo(i)) for i in range(COUNT)})
    for i in range(COUNT):
        os.utime(folder / file_of(i), ns=(STAMP + i * 10**9, STAMP + i * 10**9))
    return folder


def honest_names(seed: int = 5) -> list[str]:
    """The released file of every original: random people, random order, meaningless names."""
    random = np.random.default_rng(seed)
    people, order = random.permutation(len(NAMES)), random.permutation(COUNT)
    return [f"{people[i // PHOTOS]:04d}/{hashlib.sha256(b'%d' % order[i]).hexdigest()[:20]}.png" for i in range(COUNT)]


def release(folder: Path, names: list[str], files: list[bytes], stamps: list[int] | None = None) -> Path:
    plant(folder, dict(zip(names, files, strict=True)))
    for i, name in enumerate(names):
        stamp = stamps[i] if stamps else STAMP
        os.utime(folder / name, ns=(stamp, stamp))
    return folder


def strangers() -> list[bytes]:
    return [encode_png(photo(500 + i)) for i in range(COUNT)]


def audited(known: Path, released: Path, names: list[str] | None, **more: object) -> MetadataAudit:
    with open_collection(known) as original, open_collection(released) as given:
        linked = None
        if names is not None:
            place = {name: i for i, name in enumerate(names)}
            linked = np.array([place[name] for name in given.names], np.int64)
        return audit_metadata(original, given, linked=linked, permutations=499, **more)  # type: ignore[arg-type]


def kinds(found: MetadataAudit) -> set[tuple[str, str]]:
    return {(one.instrument, one.kind) for one in found.alarms}


def test_an_honest_folder_raises_nothing(known: Path, tmp_path: Path) -> None:
    names = honest_names()
    found = audited(known, release(tmp_path / "r", names, strangers()), names)
    assert found.findings == ()
    assert all(check.ran for check in found.checks if check.instrument not in ("archive",))
    assert found.copies_alarm.hits == 0
    assert found.copies_alarm.trials == COUNT
    assert found.to_dict()["files"] == COUNT


def test_without_linkage_it_says_what_was_not_asked(known: Path, tmp_path: Path) -> None:
    found = audited(known, release(tmp_path / "r", honest_names(), strangers()), None)
    assert {check.instrument for check in found.checks if not check.ran} == {"archive", "order", "times", "label_order"}


def test_copies_of_each_kind_are_counted_once(known: Path, tmp_path: Path) -> None:
    names, files = honest_names(), strangers()
    files[0] = (known / file_of(0)).read_bytes()
    with io.BytesIO() as stream:
        Image.fromarray(photo(1)).save(stream, "PNG", compress_level=1)
        files[1] = stream.getvalue()
    files[2] = encode_jpeg(photo(2), 70)
    files[3] = encode_png(np.ascontiguousarray(photo(3)[:, ::-1]))
    found = audited(known, release(tmp_path / "r", names, files), names)
    counts = {one.kind: (one.count, one.examples) for one in found.findings if one.instrument == "duplicates"}
    assert counts["identical file"] == (1, (names[0],))
    assert counts["identical pixels"] == (1, (names[1],))
    assert counts["near copy"] == (2, tuple(sorted(names[2:4])))


def test_exif_of_originals(known: Path, tmp_path: Path) -> None:
    files = strangers()
    for i in range(4):
        exif = Image.Exif()
        exif[0x013B] = NAMES[0]
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
        stream = io.BytesIO()
        Image.fromarray(photo(700 + i)).save(stream, "JPEG", exif=exif)
        files[i] = stream.getvalue()
    names = honest_names()
    found = audited(known, release(tmp_path / "r", names, files), names)
    assert kinds(found) == {("carried", "exif.person"), ("carried", "exif.gps"), ("carried", "name")}
    assert all(one.count == 4 and set(one.examples) == set(names[:4]) for one in found.alarms)


def test_what_is_alike_in_every_file_is_a_note(known: Path, tmp_path: Path) -> None:
    jpeg = [encode_jpeg(photo(700 + i)) for i in range(COUNT)]
    files = [data[:2] + b"\xff\xfe\x00\x07hello" + data[2:] for data in jpeg]
    names = honest_names()
    found = audited(known, release(tmp_path / "r", names, files), names)
    assert [(one.kind, one.severity) for one in found.findings] == [("comment", "note")]
    files[0] = jpeg[0][:2] + b"\xff\xfe\x00\x07other" + jpeg[0][2:]
    found = audited(known, release(tmp_path / "r2", names, files), names)
    assert kinds(found) == {("carried", "comment")}


def test_a_thumbnail_of_the_original_behind_another_picture(known: Path, tmp_path: Path) -> None:
    files = strangers()
    files[6] += encode_jpeg(photo(6), 90)
    names = honest_names()
    found = audited(known, release(tmp_path / "r", names, files), names)
    assert kinds(found) == {("carried", "trailing"), ("duplicates", "picture inside")}


@pytest.mark.parametrize(
    ("rename", "kind"),
    [
        (lambda i, name: f"{name[:5]}{file_of(i).split('/')[1]}", "known name"),
        (lambda i, name: f"{name[:5]}x-{NAMES[i // PHOTOS].lower().replace('_', '')}-{i}.png", "known name"),
        (lambda i, name: f"{name[:5]}{hashlib.md5(file_of(i).encode()).hexdigest()}.png", "hash of an original"),
        (lambda i, name: f"{name[:5]}{hashlib.sha1(png_of(i)).hexdigest()[:16]}.png", "hash of an original"),
        (lambda i, name: f"{hashlib.sha256(NAMES[i // PHOTOS].encode()).hexdigest()}/{i}.png", "hash of an original"),
    ],
)
def test_names(known: Path, tmp_path: Path, rename: object, kind: str) -> None:
    names = [rename(i, name) for i, name in enumerate(honest_names())]  # type: ignore[operator]
    found = audited(known, release(tmp_path / "r", names, strangers()), None)
    assert ("names", kind) in kinds(found)


def png_of(i: int) -> bytes:
    return encode_png(photo(i))


def test_mere_numbers_need_the_linkage(tmp_path: Path) -> None:
    old = [f"{i // PHOTOS:03d}/{i:05d}.png" for i in range(COUNT)]
    random = np.random.default_rng(3).permutation(len(NAMES))
    names = [f"{random[i // PHOTOS] + 50}/{i:05d}.png" for i in range(COUNT)]
    folder = plant(tmp_path / "o", {name: png_of(i) for i, name in enumerate(old)})
    released = release(tmp_path / "r", names, strangers())
    assert kinds(audited(folder, released, None)) == set()
    assert ("names", "own file name") in kinds(audited(folder, released, names))


def test_order_of_files_people_and_times(known: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(4).permutation(len(NAMES))
    inside = [f"{random[i // PHOTOS]:03d}/{i % PHOTOS}.png" for i in range(COUNT)]
    found = kinds(audited(known, release(tmp_path / "a", inside, strangers()), inside))
    assert ("order", "listing by listing: photos") in found
    assert not any("people" in kind for _, kind in found)
    people = [f"{i // PHOTOS:03d}/{name[5:]}" for i, name in enumerate(honest_names())]
    found = kinds(audited(known, release(tmp_path / "b", people, strangers()), people))
    assert {("label_order", "person numbers by names: people"), ("order", "listing by listing: people")} <= found
    stamps = [2 * STAMP + i for i in range(COUNT)]
    found = kinds(audited(known, release(tmp_path / "c", honest_names(), strangers(), stamps), honest_names()))
    assert {instrument for instrument, _ in found} == {"times"}


def test_times_that_came_along(known: Path, tmp_path: Path) -> None:
    stamps = [STAMP + 7 * 10**18] * (COUNT - 2) + [STAMP + i * 10**9 for i in (COUNT - 2, COUNT - 1)]
    names = honest_names()
    found = audited(known, release(tmp_path / "r", names, strangers(), stamps), names)
    (kept,) = [one for one in found.findings if one.kind == "time kept"]
    assert (kept.count, kept.examples) == (2, tuple(sorted(names[-2:])))


def test_an_archive_tells_owners_and_its_own_order(known: Path, tmp_path: Path) -> None:
    names = honest_names()
    with tarfile.open(tmp_path / "r.tar", "w") as archive:
        for name, data in zip(names, strangers(), strict=True):
            info = tarfile.TarInfo("pack/" + name)
            info.size, info.uname = len(data), "ann"
            archive.addfile(info, io.BytesIO(data))
    found = audited(known, tmp_path / "r.tar", names)
    assert ("archive", "owner") in kinds(found)
    assert ("order", "archive by listing: photos") in kinds(found)
    assert ("order", "listing by listing: photos") not in kinds(found)


def test_shards_of_a_folder_are_read_as_archives(known: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    with tarfile.open(tmp_path / "r" / "00000.tar", "w") as archive:
        for i, data in enumerate(strangers()):
            for name, content in ((f"{i:04d}.png", data), (f"{i:04d}.cls", b"%d" % (i // PHOTOS))):
                info = tarfile.TarInfo(name)
                info.size, info.uname = len(content), "ann"
                archive.addfile(info, io.BytesIO(content))
    assert kinds(audited(known, tmp_path / "r", None)) == {("archive", "owner")}


def test_files_beside_and_unique_sizes(known: Path, tmp_path: Path) -> None:
    names = honest_names()
    folder = release(tmp_path / "r", names, strangers())
    plant(folder, {"Thumbs.db": b"x", "README.txt": b"x"})
    found = audited(known, folder, names)
    assert {(one.kind, one.severity, one.examples) for one in found.findings} == {
        ("telling file", "critical", ("Thumbs.db",)),
        ("file", "note", ("README.txt",)),
    }
    more = plant(shutil.copytree(known, tmp_path / "o"), {"Ann_Lee/Ann_Lee_0009.png": png(77)})
    folder = release(tmp_path / "r2", [*names, f"{names[0][:5]}zz.png"], [*strangers(), png(88)])
    sizes = [one for one in audited(more, folder, None).findings if one.instrument == "group_sizes"]
    assert [(one.count, one.severity) for one in sizes] == [(4, "note")]


def test_sets_of_our_own_and_what_their_records_tell(tmp_path: Path) -> None:
    images = [photo(i) for i in range(COUNT)]
    faces = originals(tmp_path / "o", images, [i // PHOTOS for i in range(COUNT)])
    with open_collection(faces.directory) as original, open_collection(faces.directory) as same:
        found = audit_metadata(original, same, linked=np.arange(COUNT), permutations=199)
    assert {"duplicates", "order", "label_order", "names", "beside"} <= {one.instrument for one in found.alarms}


def test_one_percent_among_a_thousand_is_found_with_certainty(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [photo(i) for i in range(2000)]

    def given(files: list[bytes]) -> Collection:
        names = [f"{i:05d}" for i in range(len(files))]
        return Collection(
            names, np.arange(len(files)) // 4, [str(i) for i in range(len(files) // 4)], lambda i: files[i]
        )

    ours = given([encode_jpeg(one) for one in pictures[:1000]])
    mixed = [encode_jpeg(one) for one in pictures[1000:]]
    planted = random.permutation(1000)[:10]
    for place, i in zip(planted, random.permutation(1000)[:10], strict=True):
        mixed[place] = encode_jpeg(pictures[i], 75)
    (found,) = audit_metadata(ours, given(mixed), permutations=99).alarms
    assert (found.instrument, found.kind, found.count) == ("duplicates", "near copy", 10)
    assert found.p_value is not None
    assert found.p_value < 1e-5


@pytest.mark.slow
def test_honest_releases_are_accused_no_more_often_than_stated() -> None:
    people, photos, runs = 8, 3, 200
    count = people * photos
    person = np.repeat(np.arange(people), photos)
    files = [png(i, 8) for i in range(2 * count)]
    named = [f"Person_{p}/Person_{p}_{i % photos:03d}.png" for i, p in enumerate(person)]
    ours = Collection(named, person, [f"Person_{p}" for p in range(people)], lambda i: files[i])
    ours.times = np.arange(count, dtype=np.int64) + 10
    accused = 0
    for run in range(runs):
        random = np.random.default_rng(run)
        # Numbered people, photos counted within each in random order, files written one after another.
        number, inside = random.permutation(people), np.argsort(random.random((people, photos)), axis=1).reshape(-1)
        place = np.argsort(number[person] * photos + inside)
        names = [f"Person_{number[person[i]]}/Person_{number[person[i]]}_{inside[i]:03d}.png" for i in place]
        theirs = Collection(
            names, number[person[place]], [f"Person_{p}" for p in range(people)], lambda i: files[count + i]
        )
        theirs.times = random.permutation(count).astype(np.int64) + 10**6
        found = audit_metadata(ours, theirs, linked=place.astype(np.int64), permutations=199, seed=run)
        accused += bool(found.alarms)
    assert accused <= 16  # 5 % of 200 are 10; more than 16 have probability 0.02


def test_linkage_and_its_mistakes(known: Path, tmp_path: Path) -> None:
    names = honest_names()
    folder = release(tmp_path / "r", names, strangers())
    table = tmp_path / "l.csv"
    rows = [("original_path", "released_path"), *((file_of(i), name) for i, name in enumerate(names))]

    def written(lines: list[tuple[str, str]]) -> Path:
        with table.open("w", newline="") as stream:
            csv.writer(stream).writerows(lines)
        return table

    with open_collection(known) as original, open_collection(folder) as released:
        linked = linked_records(written(rows), original, released)
        assert [names[i] for i in linked] == released.names
        for bad, message in (
            (rows[:-1], "does not fit"),
            ([*rows, rows[-1]], "does not fit"),
            ([*rows[:-1], ("x.png", names[-1])], "not there"),
            ([("a", "b"), *rows[1:]], "not a linkage file"),
        ):
            with pytest.raises(DataError, match=message):
                linked_records(written(bad), original, released)
        with pytest.raises(DataError, match="does not fit"):
            audit_metadata(original, released, linked=linked[:-1])
