"""InsightFace's verification files: every way in which they were ever written is read, and nothing in them is run."""

import contextlib
import csv
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.errors import Damaged, DataError, FaceMAEError, MissingPairs, UnsafeFile
from facemae.faces.exporters import export_bin
from facemae.faces.faceset import FaceSet
from facemae.faces.importers import open_source
from facemae.faces.importers.insightface_bin import read_bin
from facemae.faces.importers.safe_pickle import Array, _Budget, _instructions, _Type, read_pickle
from facemae.faces.pairs import read_pairs
from facemae.spec.execution import Execution
from facemae.spec.recipe import ImportSpec
from facemae.stages.import_ import import_faces
from folders import jpeg, originals, png, tree

IMAGES = [jpeg(0, 8), png(1, 8), jpeg(2, 8), jpeg(3, 8)]
SAME = [True, False]

PICTURES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "column": lambda data: np.frombuffer(data, np.uint8).reshape(-1, 1),
    "row": lambda data: np.frombuffer(data, np.uint8),
    "copied": lambda data: np.frombuffer(data, np.uint8).copy(),
    "signed": lambda data: np.frombuffer(data, np.int8),
    "Fortran": lambda data: np.asfortranarray(np.frombuffer(data, np.uint8).reshape(1, -1)),
}
FLAGS: dict[str, Callable[[list[bool]], Any]] = {
    "bool": list,
    "int": lambda same: [int(flag) for flag in same],
    "numpy bools": lambda same: [np.bool_(flag) for flag in same],
    "numpy ints": lambda same: [np.int64(flag) for flag in same],
    "big-endian ints": lambda same: [np.array([int(flag)], ">i4")[0] for flag in same],
    "array": np.array,
    "array of ints": lambda same: np.array(same, np.int32),
    "tuple": tuple,
}


def old_names(data: bytes) -> bytes:
    """As NumPy 1 wrote it: the package was called numpy.core."""
    short, long = b"numpy._core", b"numpy.core"
    for code in (b"\x8c", b"X"):  # names on the stack are counted
        for tail in (b".multiarray", b".numeric"):
            name, other = short + tail, long + tail
            count = (lambda n: bytes([n])) if code == b"\x8c" else (lambda n: struct.pack("<I", n))
            data = data.replace(code + count(len(name)) + name, code + count(len(other)) + other)
    return data.replace(b"cnumpy._core.", b"cnumpy.core.")


def unframed(data: bytes) -> bytes:
    """Without the frames of protocol 4, whose lengths the older names would no longer fit."""
    kept, start = b"", 0
    places = [(position, code) for code, _, position in pickletools.genops(data)]
    for position, code in places:
        if code.name == "FRAME":
            kept, start = kept + data[start:position], position + 9
    return kept + data[start:]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("rename", [False, True], ids=["numpy._core", "numpy.core"])
def test_pictures_of_every_kind_and_protocol(tmp_path: Path, protocol: int, kind: str, rename: bool) -> None:
    data = pickle.dumps(([PICTURES[kind](image) for image in IMAGES], SAME), protocol)
    (tmp_path / "a.bin").write_bytes(old_names(unframed(data)) if rename else data)
    images, same = read_bin(tmp_path / "a.bin")
    assert images == IMAGES
    assert same.tolist() == SAME


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", FLAGS)
def test_flags_of_every_kind_and_protocol(tmp_path: Path, protocol: int, kind: str) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps((IMAGES, FLAGS[kind](SAME)), protocol))
    assert read_bin(tmp_path / "a.bin")[1].tolist() == SAME


def text(data: bytes) -> bytes:
    """A `str` as Python 2 pickles it."""
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<I", len(data)) + data


def test_text_and_arrays_of_python_2(tmp_path: Path) -> None:
    """cPickle, protocol 2: strings are `str`, and so are the type, the order and the bytes of an array."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + b"J" + struct.pack("<i", len(IMAGES[1])) + b"K\x01\x86"
    array += b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    array += (
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + b"\x89" + text(IMAGES[1]) + b"tb"
    )
    data = b"\x80\x02](" + text(IMAGES[0]) + array + b"e](\x88e\x86."
    (tmp_path / "a.bin").write_bytes(data)
    images, same = read_bin(tmp_path / "a.bin")
    assert (images, same.tolist()) == (IMAGES[:2], [True])


def line(data: bytes) -> bytes:
    """A `str` as Python 2 writes it in protocol 0: its repr, bytes above 127 included as they are or escaped."""
    return b"S" + repr(data)[1:].encode("latin-1") + b"\n"


@pytest.mark.parametrize("escaped", [True, False])
def test_the_text_protocol_of_python_2(tmp_path: Path, escaped: bool) -> None:
    """pickle.dump of Python 2 without a protocol."""

    def said(data: bytes) -> bytes:
        if escaped:
            return line(data)
        return b"S'" + data.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"'", b"\\'") + b"'\n"

    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + said(b"b") + b"tR"
    array += b"(I1\n(I%d\ntcnumpy\ndtype\n(" % len(IMAGES[1]) + said(b"u1") + b"I0\nI1\ntR"
    array += b"(I3\n" + said(b"|") + b"NNNI-1\nI-1\nI0\ntbI00\n" + said(IMAGES[1]) + b"tb"
    data = b"((lp0\n" + said(IMAGES[0]) + b"a" + array + b"a(lI01\nat."
    (tmp_path / "a.bin").write_bytes(data)
    images, same = read_bin(tmp_path / "a.bin")
    assert (images, same.tolist()) == (IMAGES[:2], [True])


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(), st.lists))
def test_instructions_are_those_of_the_standard_library(value: object) -> None:
    for protocol in range(6):
        data = pickle.dumps(value, protocol)
        theirs = [(code.name, argument) for code, argument, _ in pickletools.genops(data)]
        assert str([(code.name, argument) for code, argument in _instructions(data)]) == str(theirs)


class Reduced:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def named(module: str, name: str, arguments: bytes = b")", *, text_protocol: bool = False) -> bytes:
    if text_protocol:
        return f"c{module}\n{name}\n".encode() + arguments + b"R."
    push = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + push + b"\x93" + arguments + b"R."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", ["alone", "picture", "flag"])
def test_a_pickle_that_would_make_a_file(tmp_path: Path, protocol: int, inside: str) -> None:
    attack: Any = Reduced(os.mkdir, str(tmp_path / "made"))
    content = {"alone": attack, "picture": ([attack, *IMAGES[1:]], SAME), "flag": (IMAGES, [attack, False])}[inside]
    (tmp_path / "a.bin").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(UnsafeFile, match=r"^a\.bin is not read: got a pickle that asks for \w+\.mkdir; ") as raised:
        read_bin(tmp_path / "a.bin")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists()
    pickle.loads(pickle.dumps(content, protocol))
    assert (tmp_path / "made").exists(), "a peer that opens it with pickle.load runs it"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("numpy", "load"),
        ("numpy", "ndarray.dump"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("facemae.faces.importers.safe_pickle", "_Reader"),
        ("_codecs", "lookup"),
        ("copyreg", "_reconstructor"),
    ],
)
@pytest.mark.parametrize("text_protocol", [False, True])
def test_no_other_name_is_looked_up(module: str, name: str, text_protocol: bool) -> None:
    with pytest.raises(UnsafeFile, match=f"asks for {module}.{name}"):
        read_pickle(named(module, name, text_protocol=text_protocol), "a.bin")


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b"\x80\x02(ios\nsystem\n.", "INST"),
        (b"\x80\x02(cnumpy\ndtype\no.", "OBJ"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Pelsewhere\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02}.", "EMPTY_DICT"),
    ],
)
def test_no_other_instruction_is_followed(data: bytes, asked: str) -> None:
    with pytest.raises(UnsafeFile, match=f"asks for the instruction {asked};"):
        read_pickle(data, "a.bin")


DTYPE = b"cnumpy\ndtype\n(%sI0\nI1\ntR"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no pickle that can be read"),
        (b"\x80\x04", "is no pickle that can be read"),
        (pickle.dumps((IMAGES, SAME))[:-20], "is no pickle that can be read"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"x.", "expected 1125899906842624 bytes"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 50) + b"x.", "expected 1125899906842624 bytes"),
        (b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"N.", "is no pickle that can be read"),
        (b"\x80\x02Nr" + struct.pack("<I", 0xFFFFFFFF) + b".", "place 4294967295 of the memo at instruction 2"),
        (b"cnumpy\nndarray\n(tR.", "numpy.ndarray called directly"),
        (b"cnumpy\ndtype\n(I1\nI2\ntb.", "an instruction that would change a function"),
        (DTYPE % b"S'O8'\n" + b".", "an array of type 'O8'"),
        (DTYPE % b"S'V1000000'\n" + b".", "an array of type 'V1000000'"),
        (b"c_codecs\nencode\n(Vabc\nS'rot13'\ntR.", "text in the encoding b'rot13'"),
        (named("numpy._core.numeric", "_frombuffer", b"(C\x01aNK\x01t"), "an array of objects"),
    ],
)
def test_damaged_or_hostile_pickles_are_one_line(data: bytes, said: str) -> None:
    with pytest.raises(Damaged) as raised:
        read_pickle(data, "a.bin")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_arrays_of_objects_and_lying_shapes() -> None:
    with pytest.raises(FaceMAEError, match="an array of"):
        read_pickle(pickle.dumps(np.array([b"a", None], object), 2), "a.bin")
    for lie in (b"M\xe8\x03", b"J\xff\xff\xff\xff"):
        honest = pickle.dumps(np.frombuffer(b"abcd", np.uint8).copy(), 2)
        assert honest.count(b"K\x04\x85") == 1
        with pytest.raises(Damaged, match="an array"):
            read_pickle(honest.replace(b"K\x04\x85", lie + b"\x85"), "a.bin")


@pytest.mark.parametrize("shape", [(1 << 63, 0), (0,) * 65])
def test_shapes_that_no_array_has(shape: tuple[int, ...]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="shape is no shape"):
        Array(_Budget(0)).take(b"", _Type("u1"), shape)


def test_a_small_file_cannot_fill_the_memory() -> None:
    """One block of text, encoded again and again: 20 bytes of file would make a megabyte each."""
    block = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    again = b"c_codecs\nencode\nh\x00\x85R"
    with pytest.raises(Damaged, match="copies its content over and over"):
        read_pickle(b"\x80\x02](" + block + 1000 * again + b"e.", "a.bin")


@given(data=st.binary(max_size=60), at=st.integers(0, 400), value=st.integers(0, 255))
def test_whatever_the_bytes_only_our_errors(data: bytes, at: int, value: int) -> None:
    good = bytearray(pickle.dumps(([np.frombuffer(b"ab", np.uint8)] * 2, [np.bool_(True)]), 2))
    good[at % len(good)] = value
    for hostile in (data, bytes(good)):
        with contextlib.suppress(Damaged, UnsafeFile):
            read_pickle(hostile, "a.bin")


def write(path: Path, images: list[bytes], same: list[bool]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps((images, same), 4))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (7, "a.bin is no verification file: got a pickle of something else"),
        ((b"images", SAME), "got no list of pictures"),
        (([1, 2], [True]), "got picture 0 of another kind than bytes"),
        (([np.zeros(3), b"x"], [True]), "got picture 0 of another kind than bytes"),
        ((IMAGES[:2], ["yes"]), "got flags that are not true or false"),
        ((IMAGES[:3], SAME), "a.bin is incomplete: got 3 pictures for 2 pairs; needed two pictures a pair"),
        (([], []), "a.bin is incomplete"),
    ],
)
def test_other_pickles(tmp_path: Path, content: object, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError) as raised:
        read_bin(tmp_path / "a.bin")
    assert said in str(raised.value)


def run(source: Path, out: Path, **spec: object) -> FaceSet:
    return FaceSet.open(import_faces([str(source)], out, ImportSpec(**spec), Execution()), kind="original")  # type: ignore[arg-type]


A, B, C, D, E, F, G = (jpeg(i, 8) for i in range(7))


def test_people_are_what_pairs_connect(tmp_path: Path) -> None:
    """A is in three pairs: A, B, C are one person, told by A; D and E are another; F and G are nobody else's."""
    faces = run(
        write(tmp_path / "lfw.bin", [A, B, F, D, C, A, D, E, A, G], [True, False, True, True, False]), tmp_path / "out"
    )
    assert faces.people is not None
    assert faces.people.files == (
        "lfw-00000000/00000000",
        "lfw-00000000/00000001",
        "lfw-00000000/00000004",
        "lfw-00000001/00000002",
        "lfw-00000002/00000003",
        "lfw-00000002/00000007",
        "lfw-00000003/00000009",
    )
    assert [faces.record(i).image for i in range(7)] == [A, B, C, F, D, E, G]
    pairs = read_pairs(tmp_path / "out/pairs/lfw.csv", faces.people)
    assert pairs.left.tolist() == [0, 3, 2, 4, 0]
    assert pairs.right.tolist() == [1, 4, 0, 5, 6]
    assert pairs.same.tolist() == [True, False, True, True, False]
    assert faces.manifest.facts["protocols"] == ["lfw"]


def test_a_mislabelled_pair_connects_nobody(tmp_path: Path) -> None:
    """A = B, B = C, and yet A and C are said to differ: `verify` could not weigh such people."""
    images, same = [A, B, B, C, A, C, D, E], [True, True, False, True]
    faces = run(write(tmp_path / "lfw.bin", images, same), tmp_path / "out")
    pairs = read_pairs(tmp_path / "out/pairs/lfw.csv", faces.people)
    people = faces.identities
    assert ((people[pairs.left] == people[pairs.right]) == pairs.same).all()
    assert [faces.record(int(i)).image for i in np.stack([pairs.left, pairs.right], 1).ravel()] == images
    assert len(faces) == 8
    assert len(np.unique(people[pairs.left])) == 4


@given(
    images=st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda numbers: len(numbers) % 2 == 0),
    data=st.data(),
)
@pytest.mark.slow
def test_people_never_contradict_the_pairs(
    images: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    same = data.draw(st.lists(st.booleans(), min_size=len(images) // 2, max_size=len(images) // 2))
    bytes_of = [b"image %d" % number for number in images]
    with open_source(write(tmp_path_factory.mktemp("bin") / "a.bin", bytes_of, same)) as source:
        people = {entry.path: entry.person for entry in source.entries}
        found = {entry.path: source.read(entry) for entry in source.entries}
    for i, pair in enumerate(source.pairs):
        assert (people[pair.left[0]] == people[pair.right[0]]) == same[i] == pair.same
        assert [found[pair.left[0]], found[pair.right[0]]] == bytes_of[2 * i : 2 * i + 2]
    sizes = [len(part) for part in np.array_split(np.arange(len(same)), 10)]
    assert [pair.fold for pair in source.pairs] == np.repeat(range(10), sizes).tolist()


def many(count: int = 40) -> tuple[list[bytes], list[bool]]:
    """Pairs of which every picture is used twice."""
    pictures = [png(i, 8) for i in range(count)]
    same = [i % 2 == 0 for i in range(count)]
    images = []
    for i, flag in enumerate(same):
        images += [pictures[i], pictures[i + 1 if flag else (i + 2) % count]]
    return images, same


def test_there_and_back(tmp_path: Path) -> None:
    images, same = many()
    faces = run(write(tmp_path / "agedb_30.bin", images, same), tmp_path / "set")
    assert len(faces) == 40
    (path,) = export_bin(faces, tmp_path / "out")
    # As InsightFace's loader opens it.
    with path.open("rb") as stream:
        bins, flags = pickle.load(stream, encoding="bytes")
    assert (path.name, bins, flags) == ("agedb_30.bin", images, same)
    assert all(type(item) is bytes for item in bins)
    assert all(type(flag) is bool for flag in flags)
    assert run(path, tmp_path / "back").manifest.facts == faces.manifest.facts
    assert tree(tmp_path / "back/pairs") == tree(tmp_path / "set/pairs")
    export_bin(FaceSet.open(tmp_path / "set"), tmp_path / "again", pairs="agedb_30")
    assert tree(tmp_path / "again") == tree(tmp_path / "out")
    assert path.stat().st_size < 1.1 * sum(len(png(i, 8)) for i in range(40)) + 2000, "each picture stands there once"


def test_two_files_make_one_set(tmp_path: Path) -> None:
    images, same = many()
    one, two = write(tmp_path / "lfw.bin", images, same), write(tmp_path / "cfp_fp.bin", images[:20], same[:10])
    out = import_faces([str(one), str(two)], tmp_path / "out", ImportSpec(), Execution())
    faces = FaceSet.open(out)
    assert sorted(tree(out / "pairs")) == ["cfp_fp.csv", "lfw.csv"]
    for name, count in (("lfw", 40), ("cfp_fp", 10)):
        pairs = read_pairs(out / "pairs" / f"{name}.csv", faces.people)
        shown = [faces.record(int(i)).image for i in np.stack([pairs.left, pairs.right], 1).ravel()]
        assert shown == images[: 2 * count]
    exported = export_bin(faces, tmp_path / "bins")
    assert [pickle.loads(path.read_bytes()) for path in exported] == [(images[:20], same[:10]), (images, same)]
    clash = write(tmp_path / "other/lfw.bin", images, same)
    with pytest.raises(DataError, match="two pair lists are called lfw"):
        import_faces([str(one), str(clash)], tmp_path / "no", ImportSpec(), Execution())


def test_every_photo_is_needed(tmp_path: Path) -> None:
    images, same = many()
    with pytest.raises(MissingPairs, match="photos of a verification file are left out"):
        run(write(tmp_path / "a/lfw.bin", images, same), tmp_path / "out", split="D-in")
    broken = write(tmp_path / "b/lfw.bin", [*images[:-1], b"no picture"], same)
    with pytest.raises(MissingPairs, match=r"got 1, first lfw-\d{8}/00000079; needed all of them"):
        run(broken, tmp_path / "out", limit=0.5)
    assert not (tmp_path / "out").exists()


def with_list(directory: Path, rows: list[tuple[int, int, bool, int]]) -> FaceSet:
    faces = originals(directory, [np.full((8, 8, 3), i, np.uint8) for i in range(4)], [0, 0, 1, 1])
    assert faces.people is not None
    (directory / "pairs").mkdir()
    with (directory / "pairs/mine.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["left", "right", "same", "fold"])
        writer.writerows([faces.people.files[a], faces.people.files[b], int(same), fold] for a, b, same, fold in rows)
    return faces


def test_pairs_are_written_by_fold(tmp_path: Path) -> None:
    """Readers cut the list into ten equal runs: whatever the order of the list, those are its folds."""
    rows = [(0, 1, True, fold) for fold in range(10)] + [(1, 2, False, fold) for fold in reversed(range(10))]
    faces = with_list(tmp_path / "set", rows)
    (path,) = export_bin(faces, tmp_path / "out")
    bins, same = pickle.loads(path.read_bytes())
    assert same == [True, False] * 10
    assert bins[:4] == [faces.record(i).image for i in (0, 1, 1, 2)]


@pytest.mark.parametrize("folds", [[0] * 3 + [1] * 7, list(range(5)) * 4, [*range(10), 9, 9]])
def test_other_folds_cannot_be_said(tmp_path: Path, folds: list[int]) -> None:
    faces = with_list(tmp_path / "set", [(0, 1, True, fold) for fold in folds])
    with pytest.raises(DataError, match="the list mine has other folds than its readers would cut"):
        export_bin(faces, tmp_path / "out")


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    faces = with_list(tmp_path / "set", [(0, 1, True, fold) for fold in range(10)])
    with pytest.raises(MissingPairs, match="has no pair list lfw: got mine; needed the name of a list in pairs/"):
        export_bin(faces, tmp_path / "out", pairs="lfw")
    bare = originals(tmp_path / "bare", [np.zeros((8, 8, 3), np.uint8)], [0])
    with pytest.raises(MissingPairs, match="has no pair list: got no list"):
        export_bin(bare, tmp_path / "out")
    with pytest.raises(MissingPairs):
        export_bin(faces, tmp_path / "out", pairs="../../mine")


def test_arrays_are_not_numpys() -> None:
    """Arrays come as plain bytes: their class is ours, whatever the file says."""
    array = read_pickle(pickle.dumps(np.arange(3, dtype=np.uint8)), "a.bin")
    assert type(array).__module__ == "facemae.faces.importers.safe_pickle"
    assert (array.shape, array.data) == ((3,), b"\0\1\2")
