"""Directories and tars of several layouts into records: who is who, which bytes, and every way it can fail."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemae.errors import (
    Damaged,
    DataError,
    EmptyIdentity,
    MixedSizes,
    TooManyUnreadable,
    UnreadableImage,
)
from facemae.faces.align import ARCFACE_TEMPLATE
from facemae.faces.codec import decode, encode_jpeg, encode_png
from facemae.faces.importers import ImportReport, import_photos, open_source, read_landmarks, storage
from facemae.faces.writer import FaceSetWriter
from facemae.spec.execution import Execution, Silent


def picture(seed: int = 0, height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def jpeg(seed: int = 0, **size: int) -> bytes:
    return encode_jpeg(picture(seed, **size))


def plant(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


class Sink(FaceSetWriter):
    """Keeps what a writer is handed."""

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, int, dict | None]] = []
        self.noted: list[str] = []

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.noted)

    def add(self, image: bytes, identity: int, *, extras: dict | None = None) -> str:
        self.rows.append((image, identity, extras))
        return f"{len(self.rows) - 1:08d}"


def run(*paths: Path, **options: object) -> tuple[ImportReport, Sink]:
    sink = Sink()
    return import_photos([open_source(path) for path in paths], sink, note=sink.noted.append, **options), sink


PLAIN = {"lfw/Bo/Bo_0001.jpg": jpeg(1), "lfw/Ann/Ann_0002.jpg": jpeg(2), "lfw/Ann/Ann_0001.jpg": jpeg(3)}


def test_directory_tar_and_gzipped_tar_give_the_same_records(tmp_path: Path) -> None:
    sources = (
        plant(tmp_path / "d", PLAIN),
        pack(tmp_path / "a.tar", {f"./{name}": data for name, data in PLAIN.items()}),
        pack(tmp_path / "b.tar.gz", PLAIN, "w:gz"),
    )
    for path in sources:
        report, sink = run(path)
        assert report.identities == ("Ann", "Bo")
        assert sink.files == ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bo/Bo_0001.jpg")
        assert [identity for _, identity, _ in sink.rows] == [0, 0, 1]
        assert [image for image, _, _ in sink.rows] == [jpeg(3), jpeg(2), jpeg(1)]
        assert report.records == 3
        assert report.skipped == ()


def test_a_single_person_keeps_the_folder_name(tmp_path: Path) -> None:
    report, _ = run(plant(tmp_path, {"Ann/1.jpg": jpeg(1), "Ann/2.jpg": jpeg(2)}))
    assert report.identities == ("Ann",)


def test_everything_left_out_is_named(tmp_path: Path) -> None:
    files = {
        **PLAIN,
        "lfw/stray.jpg": jpeg(),
        "lfw/notes.txt": b"x",
        "lfw/Ann/.hidden.jpg": b"x",
        "__MACOSX/a.jpg": b"x",
    }
    report, _ = run(plant(tmp_path, files))
    assert {skip.path: skip.reason for skip in report.skipped} == {
        "lfw/stray.jpg": "lies beside the people's folders",
        "lfw/notes.txt": "not an image by its suffix",
        "lfw/Ann/.hidden.jpg": "hidden file",
        "__MACOSX/a.jpg": "hidden file",
    }
    assert report.records == 3
    assert report.unreadable == 0


def test_deeper_folders_are_not_guessed(tmp_path: Path) -> None:
    root = plant(tmp_path, {"Ann/day1/a.jpg": jpeg(1), "Bo/day1/a.jpg": jpeg(2), "Bo/day2/a.jpg": jpeg(3)})
    with pytest.raises(DataError, match="unclear which directory is the person"):
        open_source(root)
    source = open_source(root, layout="folder")
    assert [(entry.person, entry.path) for entry in source.entries] == [
        ("Ann", "Ann/day1/a.jpg"),
        ("Bo", "Bo/day1/a.jpg"),
        ("Bo", "Bo/day2/a.jpg"),
    ]


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (("Ann_Lee_01", "Ann_Lee_02", "Bo-7"), ["Ann_Lee", "Ann_Lee", "Bo"]),
        (("IMG_0001", "IMG_0002"), ["IMG_0001.jpg", "IMG_0002.jpg"]),
        (("000001", "000002"), ["000001.jpg", "000002.jpg"]),
        (("Ann_1", "Bo_1"), ["Ann_1.jpg", "Bo_1.jpg"]),
        (("a_1", "a_2", "b"), ["a_1.jpg", "a_2.jpg", "b.jpg"]),
        (("a", "b"), ["a.jpg", "b.jpg"]),
    ],
)
def test_a_flat_folder_groups_only_what_is_clear(tmp_path: Path, names: tuple[str, ...], people: list[str]) -> None:
    root = plant(tmp_path, {f"{name}.jpg": jpeg() for name in names})
    assert [entry.person for entry in open_source(root).entries] == people


def test_identities_csv_decides(tmp_path: Path) -> None:
    files = {"x_1.jpg": jpeg(1), "x_2.jpg": jpeg(2), "x_3.jpg": jpeg(3)}
    root = plant(tmp_path, {**files, "identities.csv": b"path,identity\nx_2.jpg,Bo\nx_1.jpg,Ann\n"})
    report, sink = run(root)
    assert (report.identities, sink.files) == (("Ann", "Bo"), ("x_1.jpg", "x_2.jpg"))
    assert [image for image, _, _ in sink.rows] == [jpeg(1), jpeg(2)]
    assert report.skipped == (("x_3.jpg", "not in identities.csv"),)
    plant(tmp_path, {"identities.csv": b"path,identity\nx_1.jpg,Ann\nx_9.jpg,Bo\n"})
    with pytest.raises(DataError, match=r"got 1, first x_9\.jpg"):
        open_source(root)
    plant(tmp_path, {"identities.csv": b"path,identity\nx_1.jpg\n"})
    with pytest.raises(DataError, match="line 2"):
        open_source(root)


def test_cfp_and_agedb_names_carry_extras(tmp_path: Path) -> None:
    cfp = plant(
        tmp_path / "cfp", {"Data/Images/002/profile/01.jpg": jpeg(1), "Data/Images/001/frontal/03.jpg": jpeg(2)}
    )
    report, sink = run(cfp)
    assert (report.identities, sink.files) == (("001", "002"), ("001/frontal/03.jpg", "002/profile/01.jpg"))
    assert [extras for _, _, extras in sink.rows] == [{"view": "frontal"}, {"view": "profile"}]
    agedb = plant(tmp_path / "agedb", {"A/10_BoLi_70_m.jpg": jpeg(1), "A/9_AnnLee_35_f.jpg": jpeg(2)})
    report, sink = run(agedb)
    assert (report.identities, sink.files) == (("AnnLee", "BoLi"), ("9_AnnLee_35_f.jpg", "10_BoLi_70_m.jpg"))
    assert [extras for _, _, extras in sink.rows] == [{"age": 35, "gender": "f"}, {"age": 70, "gender": "m"}]
    protocol = plant(tmp_path / "p", {"03_Protocol_Images/AnnLee_9_x_1_2.jpg": jpeg(1)})
    assert run(protocol)[0].identities == ("AnnLee",)


@pytest.mark.parametrize("name", ["/etc/a.jpg", "../a.jpg", "Ann/../../a.jpg", "Ann\\..\\a.jpg"])
def test_tar_members_never_leave_their_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leave its directory"):
        open_source(pack(tmp_path / "a.tar", {**PLAIN, name: jpeg()}))


def test_links_and_devices_in_a_tar_are_left_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", PLAIN)
    with tarfile.open(path, "a") as archive:
        for name, kind in (("s.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(f"lfw/Ann/{name}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    report, _ = run(path)
    assert [(skip.path[-5:], skip.reason) for skip in report.skipped] == [
        ("d.jpg", "not a regular file"),
        ("h.jpg", "link"),
        ("s.jpg", "link"),
    ]
    assert report.records == 3


def test_directory_links_are_left_out(tmp_path: Path) -> None:
    root = plant(tmp_path / "d", PLAIN)
    (root / "lfw" / "Loop").symlink_to(root)
    assert run(root)[0].skipped == (("lfw/Loop", "link to a directory"),)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-11000],
        lambda data: data[: 1024 * 7],
        lambda data: b"no tar at all",
        lambda data: data[:1024] + b"\x7f" * 512 + data[1536:],
        lambda data: gzip.compress(data)[:-200],
    ],
    ids=["cut", "cut between members", "text", "corrupt header", "cut gzip"],
)
def test_a_damaged_tar_is_never_half_imported(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = pack(tmp_path / "a.tar", {f"Ann/{i}.jpg": jpeg(i)[:400] for i in range(30)})
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(Damaged, match="cannot be read as a tar"):
        open_source(path)


@pytest.mark.parametrize("size", [-512, -1024])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_members_of_negative_size_are_one_line(tmp_path: Path, size: int, kind: bytes) -> None:
    header = bytearray(tarfile.TarInfo("Ann/1.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (size % (1 << 88)).to_bytes(11, "big")
    header[148:157] = b" " * 8 + kind
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10240))
    with pytest.raises(Damaged, match=r"a\.tar cannot be read as a tar: got .*fetch or pack it again"):
        open_source(tmp_path / "a.tar")


@pytest.mark.parametrize("size", [10**30, 2**63 - 1024, 2**63, 10**7])
@pytest.mark.parametrize("told", ["pax", "base-256"])
def test_members_larger_than_their_tar_are_one_line(tmp_path: Path, size: int, told: str) -> None:
    member = tarfile.TarInfo("Ann/1.jpg")
    if told == "pax":
        member.pax_headers = {"size": str(size)}
        data = member.tobuf(tarfile.PAX_FORMAT)
    else:
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = b"\x80" + min(size, (1 << 88) - 1).to_bytes(11, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        data = bytes(header)
    (tmp_path / "a.tar").write_bytes(data + bytes(10240))
    with pytest.raises(Damaged, match=r"a\.tar cannot be read as a tar: got .*fetch or pack it again"):
        open_source(tmp_path / "a.tar")


def test_a_gzipped_tar_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 1 << 20)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(Damaged, match="more than 100 times its size when unpacked"):
        open_source(tmp_path / "a.tar.gz")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing that can be opened"):
        open_source(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no photos"):
        open_source(tmp_path)


def test_huge_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 100)
    for path in (plant(tmp_path / "d", PLAIN), pack(tmp_path / "a.tar", PLAIN)):
        source = open_source(path)
        with pytest.raises(UnreadableImage, match="too large"):
            source.read(next(iter(source.entries)))


def test_sources_merge_by_person(tmp_path: Path) -> None:
    one = pack(tmp_path / "one.tar", {"Ann/1.jpg": jpeg(1), "Cy/1.jpg": jpeg(2)})
    two = plant(tmp_path / "two", {"Ann/1.jpg": jpeg(3), "Bo/1.jpg": jpeg(4)})
    again = plant(tmp_path / "x" / "two", {"Bo/1.jpg": jpeg(5), "notes.md": b""})
    report, sink = run(two, one, again)
    assert report.identities == ("Ann", "Bo", "Cy")
    assert sink.files == ("one/Ann/1.jpg", "two/Ann/1.jpg", "two-2/Bo/1.jpg", "two/Bo/1.jpg", "one/Cy/1.jpg")
    assert [identity for _, identity, _ in sink.rows] == [0, 0, 1, 1, 2]
    assert [skip.path for skip in report.skipped] == ["two-2/notes.md"]


def test_keep_chooses_people(tmp_path: Path) -> None:
    plant(tmp_path, PLAIN)
    (tmp_path / "lfw" / "Zoe").mkdir()
    report, _ = run(tmp_path, keep=lambda name: name == "Bo")
    assert (report.identities, report.records) == (("Bo",), 1)
    with pytest.raises(DataError, match="nothing to import"):
        run(tmp_path, keep=lambda name: name == "Nobody")


def test_empty_identities_end_in_one_line(tmp_path: Path) -> None:
    plant(tmp_path / "a", PLAIN)
    (tmp_path / "a" / "lfw" / "Zoe").mkdir()
    with pytest.raises(EmptyIdentity, match=r"Zoe.*the folder holds no image") as caught:
        run(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_people_without_a_readable_photo_are_left_out_and_named(tmp_path: Path) -> None:
    """Under the limit: whoever comes later moves up, so that numbers still follow the sorted names."""
    files = {f"{name}/{i}.jpg": jpeg(i) for name in ("Ann", "Cy") for i in range(3)}
    bad = {"Ann/9.jpg": b"", "Bo/1.jpg": jpeg()[:200], "Bo/2.png": b"no image", "Dee/1.jpg": b"x"}
    report, sink = run(plant(tmp_path, files | bad), limit=0.4)
    assert report.identities == ("Ann", "Cy")
    assert [identity for _, identity, _ in sink.rows] == [0, 0, 0, 1, 1, 1]
    assert sink.files == tuple(sorted(files))
    assert (report.records, report.unreadable) == (6, 4)
    reasons = {skip.path: skip.reason for skip in report.skipped}
    assert reasons.keys() == bad.keys()
    for path, person in (("Bo/1.jpg", "Bo"), ("Bo/2.png", "Bo"), ("Dee/1.jpg", "Dee")):
        assert reasons[path].endswith(f"; {person} has no readable photo and is left out")
    assert "left out" not in reasons["Ann/9.jpg"]


def test_one_bad_file_of_a_flat_folder_stays_within_the_limit(tmp_path: Path) -> None:
    root = plant(tmp_path, {f"{i:06d}.png": encode_png(picture(i, 4, 4)) for i in range(149)} | {"000070x.png": b"bad"})
    report, sink = run(root)
    assert len(report.identities) == report.records == 149
    assert [identity for _, identity, _ in sink.rows] == list(range(149))
    assert [(skip.path, skip.reason.split("; ")[-1]) for skip in report.skipped] == [
        ("000070x.png", "000070x.png has no readable photo and is left out")
    ]


def test_a_set_without_any_readable_photo_is_none_whatever_the_limit(tmp_path: Path) -> None:
    with pytest.raises(TooManyUnreadable, match="2 of 2"):
        run(plant(tmp_path, {"Ann/1.jpg": b"x", "Bo/1.jpg": b"x"}), limit=1.0)


def test_a_file_that_cannot_be_opened_counts_as_unreadable(tmp_path: Path) -> None:
    source = open_source(plant(tmp_path, PLAIN))
    (tmp_path / "lfw/Ann/Ann_0002.jpg").unlink()
    report = import_photos([source], Sink(), limit=0.4)
    assert (report.records, report.unreadable) == (2, 1)
    assert report.skipped == (("Ann/Ann_0002.jpg", "the file cannot be opened: got No such file or directory"),)


def test_progress_counts_every_photo(tmp_path: Path) -> None:
    @dataclass
    class Watch(Silent):
        opened: list[tuple[str, int]] = field(default_factory=list)
        done: int = 0

        @contextmanager
        def task(self, name: str, total: int, unit: str, done: int = 0) -> Iterator["Watch"]:
            self.opened.append((name, total))
            yield self

        def advance(self, amount: int = 1, note: str = "") -> None:
            self.done += amount

    watch = Watch()
    run(plant(tmp_path, {**PLAIN, "lfw/Ann/x.jpg": b""}), limit=0.3, execution=Execution(progress=watch))
    assert (watch.opened, watch.done) == ([("import", 4)], 4)


def test_unreadable_photos_are_counted_up_to_the_limit(tmp_path: Path) -> None:
    files = {f"Ann/{i:03d}.jpg": jpeg(i) for i in range(198)}
    root = plant(tmp_path, {**files, "Ann/a.jpg": jpeg()[:-50], "Ann/b.png": b"no image"})
    report, sink = run(root)
    assert (report.records, report.unreadable, len(sink.rows)) == (198, 2, 198)
    assert [skip.path for skip in report.skipped] == ["Ann/a.jpg", "Ann/b.png"]
    assert "a.jpg" not in "".join(sink.files)
    plant(tmp_path, {"Ann/c.jpg": b""})
    with pytest.raises(TooManyUnreadable, match=r"3 of 201, first Ann/a\.jpg .*at most 1\.0%"):
        run(root)


def test_sizes(tmp_path: Path) -> None:
    wide = jpeg(1, height=20, width=40)
    root = plant(tmp_path, {"Ann/1.jpg": jpeg(), "Ann/2.jpg": wide})
    with pytest.raises(MixedSizes, match=r"16×16 \(Ann/1.jpg\) and 40×20 \(Ann/2.jpg\).*--set size=112"):
        run(root)
    _, sink = run(root, size=16)
    assert sink.rows[0][0] == jpeg()
    central = Image.fromarray(decode(wide)[:, 10:30]).resize((16, 16), Image.Resampling.BICUBIC)
    assert sink.rows[1][0] == encode_jpeg(np.asarray(central))


def test_other_formats_become_png_without_loss(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(5)).save(buffer, "BMP")
    png = encode_png(picture(6))
    _, sink = run(plant(tmp_path, {"Ann/1.bmp": buffer.getvalue(), "Ann/2.jpg": png}))
    assert sink.rows[0][0].startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(sink.rows[0][0]), picture(5))
    assert sink.rows[1][0] == png


def landmark_csv(path: Path, rows: dict[str, np.ndarray]) -> Path:
    header = "path," + ",".join(f"{axis}{i}" for i in range(1, 6) for axis in "xy")
    lines = [f"{name}," + ",".join(map(str, points.ravel())) for name, points in rows.items()]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_landmarks_align(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:150, :160]
    photo = np.stack([rows, columns, (rows + columns) // 2], axis=-1).astype(np.uint8)
    root = plant(tmp_path / "d", {"lfw/Ann/1.png": encode_png(photo)})
    path = landmark_csv(tmp_path / "l.csv", {"Ann/1.png": ARCFACE_TEMPLATE + np.array([20, 10])})
    report, sink = run(root, landmarks=read_landmarks(path))
    face = decode(sink.rows[0][0])
    np.testing.assert_allclose(face.astype(int), photo[10:122, 20:132], atol=4)
    np.testing.assert_allclose(sink.rows[0][2]["landmarks"], ARCFACE_TEMPLATE, atol=0.01)
    assert report.records == 1
    _, sink = run(root, landmarks=read_landmarks(path), size=56)
    assert decode(sink.rows[0][0]).shape == (56, 56, 3)


def test_missing_or_degenerate_landmarks_are_named(tmp_path: Path) -> None:
    root = plant(tmp_path / "d", PLAIN)
    path = landmark_csv(tmp_path / "l.csv", {"Ann/Ann_0001.jpg": ARCFACE_TEMPLATE})
    with pytest.raises(DataError, match=r"got 2, first Ann/Ann_0002\.jpg, Bo/Bo_0001\.jpg"):
        run(root, landmarks=read_landmarks(path))
    path = landmark_csv(path, {name[4:]: np.zeros((5, 2)) for name in PLAIN})
    with pytest.raises(DataError, match=r"Ann/Ann_0001\.jpg cannot be aligned"):
        run(root, landmarks=read_landmarks(path))


def test_landmarks_from_json_equal_those_from_csv(tmp_path: Path) -> None:
    from_csv = read_landmarks(landmark_csv(tmp_path / "l.csv", {"a.jpg": ARCFACE_TEMPLATE}))
    (tmp_path / "l.json").write_text(json.dumps({"a.jpg": ARCFACE_TEMPLATE.tolist()}))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "l.json")["a.jpg"], from_csv["a.jpg"])
    np.testing.assert_array_equal(from_csv["a.jpg"], ARCFACE_TEMPLATE)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "", "empty file"),
        ("l.csv", "idx,ldmk_0\n0,1\n", "header that begins with 'idx'"),
        ("l.csv", "path,x1\na.jpg,1,2,3\n", "a.jpg has"),
        ("l.csv", "path,x1\na.jpg,1,2,3,4,5,6,7,8,9,ten\n", "a.jpg has .*ten"),
        ("l.csv", "path,x1\na.jpg,1,2,3,4,5,6,7,8,9,nan\n", "a.jpg has .*nan"),
        ("l.csv", "path,x1\na.jpg,1,2,3,4,5,6,7,8,9,0\na.jpg,1,2,3,4,5,6,7,8,9,0\n", "a.jpg occurs twice"),
        ("l.json", "[1, 2]", "no object"),
        ("l.json", "{", "cannot be used"),
        ("l.json", '{"a.jpg": [[1, 2], [3]]}', "a.jpg has"),
    ],
)
def test_bad_landmarks(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_landmarks(tmp_path / name)


def test_records_reach_a_real_writer(tmp_path: Path) -> None:
    writer = FaceSetWriter(tmp_path / "out")
    import_photos([open_source(pack(tmp_path / "a.tar", PLAIN))], writer)
    assert writer.finish() == 3
    rows = np.load(tmp_path / "out" / "index.npy")
    np.testing.assert_array_equal(rows["identity"], [0, 0, 1])
