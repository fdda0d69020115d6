"""Pair lists of four forms come down to the same record numbers; what is absent or unclear is named."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from facemae.errors import DataError, MissingPairs
from facemae.faces.importers import open_source
from facemae.faces.pairs import read_pairs, write_pairs_csv
from facemae.faces.record import People

FILES = ("Ann/Ann_0001.jpg", "Ann/Ann_0002.png", "Bo/Bo_0001.jpg", "Bo/Bo_0010.jpg")
PEOPLE = People(("Ann", "Bo"), FILES)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_lfw_list_with_two_folds(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.txt", "2\t1\nAnn\t1\t2\nAnn\t1\tBo\t10\nBo\t1\t10\nBo\t1\tAnn\t2\n")
    pairs = read_pairs(path, PEOPLE)
    np.testing.assert_array_equal(pairs.left, [0, 0, 2, 2])
    np.testing.assert_array_equal(pairs.right, [1, 3, 3, 1])
    np.testing.assert_array_equal(pairs.same, [True, False, True, False])
    np.testing.assert_array_equal(pairs.fold, [0, 0, 1, 1])


@pytest.mark.parametrize("header", ["20", "1 20"])
def test_an_lfw_list_of_one_fold_is_cut_into_ten(tmp_path: Path, header: str) -> None:
    lines = [header, *["Ann 1 2"] * 20, *["Bo 1 Ann 1"] * 20]
    pairs = read_pairs(write(tmp_path / "pairsDevTest.txt", "\n".join(lines)), PEOPLE)
    np.testing.assert_array_equal(pairs.fold, [*np.arange(20) // 2, *np.arange(20) // 2])
    np.testing.assert_array_equal(pairs.same, [True] * 20 + [False] * 20)


@pytest.mark.parametrize(
    "files",
    [
        ("set/Ann/Ann_0001.png", "set/Ann/Ann_0002.png"),  # several sources: prefixed
        ("Ann_0001.jpg", "Ann_0002.jpg"),  # a flat folder
        ("Ann/0001.webp", "Ann/0002.webp"),  # named by number alone
    ],
)
def test_lfw_names_are_found_in_other_layouts(tmp_path: Path, files: tuple[str, ...]) -> None:
    path = write(tmp_path / "pairs.txt", "1 1\nAnn 1 2\nAnn 2 Ann 1\n")
    np.testing.assert_array_equal(read_pairs(path, People(("Ann",), files)).left, [0, 1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no pair list"),
        ("ten 300\n", "no pair list"),
        ("2 1\nAnn 1 2\n", "incomplete.*got 1 pairs.*needed 4"),
        ("1 1\nAnn 1 2\nAnn 1\n", "pair 2 is malformed"),
        ("1 1\nAnn 1 x\nAnn 1 Bo 1\n", "pair 1 is malformed"),
    ],
)
def test_malformed_lfw_lists(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_pairs(write(tmp_path / "pairs.txt", text), PEOPLE)


def test_missing_photos_are_counted_and_named(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.txt", "1 2\nAnn 1 2\nAnn 1 7\nAnn 1 Cy 3\nAnn 1 Bo 1\n")
    with pytest.raises(MissingPairs, match=r"2 of 4 pairs incomplete, first Ann/Ann_0007, Cy/Cy_0003"):
        read_pairs(path, PEOPLE)
    with pytest.raises(MissingPairs, match="without names"):
        read_pairs(path, None)


def test_csv_goes_round(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.csv",
        "left,right,same,fold\nAnn/Ann_0001.jpg,Bo/Bo_0001.jpg,0,3\nBo/Bo_0010.jpg,Ann/Ann_0002.jpg,true,4\n",
    )
    pairs = read_pairs(path, PEOPLE)
    write_pairs_csv(tmp_path / "q.csv", pairs, PEOPLE)
    again = read_pairs(tmp_path / "q.csv", PEOPLE)
    for name in ("left", "right", "same", "fold"):
        np.testing.assert_array_equal(getattr(pairs, name), getattr(again, name))
    np.testing.assert_array_equal(again.same, [False, True])
    np.testing.assert_array_equal(again.fold, [3, 4])


def test_csv_without_folds_cuts_each_class_into_ten(tmp_path: Path) -> None:
    rows = ["Ann/Ann_0001,Ann/Ann_0002,1"] * 20 + ["Ann/Ann_0001,Bo/Bo_0001,0"] * 40
    pairs = read_pairs(write(tmp_path / "p.csv", "left,right,same\n" + "\n".join(rows)), PEOPLE)
    np.testing.assert_array_equal(np.bincount(pairs.fold[pairs.same]), [2] * 10)
    np.testing.assert_array_equal(np.bincount(pairs.fold[~pairs.same]), [4] * 10)


@pytest.mark.parametrize("row", ["a,b,maybe", "a,b", "a"])
def test_malformed_csv_names_the_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="line 2 is malformed"):
        read_pairs(write(tmp_path / "p.csv", f"left,right,same\n{row}\n"), PEOPLE)


def test_a_name_that_fits_two_photos_is_no_guess(tmp_path: Path) -> None:
    people = People(("Ann",), ("x/Ann/1.jpg", "y/Ann/1.jpg", "Ann/2.jpg", "y/Ann/2.jpg"))
    path = write(tmp_path / "p.csv", "left,right,same\nAnn/1.jpg,Ann/2.jpg,1\n")
    with pytest.raises(DataError, match="fits several photos"):
        read_pairs(path, people)
    exact = write(tmp_path / "q.csv", "left,right,same\nx/Ann/1.jpg,Ann/2.jpg,1\n")
    assert read_pairs(exact, people).right[0] == 2


def cfp_tree(root: Path) -> Path:
    for person in ("001", "002"):
        for view, count in (("frontal", 2), ("profile", 2)):
            for k in range(1, count + 1):
                write(root / f"Data/Images/{person}/{view}/{k:02d}.jpg", "")
    for letter, view in (("F", "frontal"), ("P", "profile")):
        names = [f"../Data/Images/{p}/{view}/{k:02d}.jpg" for p in ("001", "002") for k in (1, 2)]
        write(root / f"Protocol/Pair_list_{letter}.txt", "".join(f"{i} {n}\n" for i, n in enumerate(names, 1)))
    for fold, same, diff in (("01", "1,2\n", "1,3\n"), ("02", "3,4\n", "4,1\n")):
        write(root / f"Protocol/Split/FP/{fold}/same.txt", same)
        write(root / f"Protocol/Split/FP/{fold}/diff.txt", diff)
    return root


def test_cfp_protocol(tmp_path: Path) -> None:
    root = cfp_tree(tmp_path / "cfp-dataset")
    source = open_source(root)
    people = People(("001", "002"), tuple(entry.path for entry in source.entries))
    pairs = read_pairs(root / "Protocol", people)
    named = [(people.files[i], people.files[j]) for i, j in zip(pairs.left, pairs.right, strict=True)]
    assert named == [
        ("001/frontal/01.jpg", "001/profile/02.jpg"),
        ("001/frontal/01.jpg", "002/profile/01.jpg"),
        ("002/frontal/01.jpg", "002/profile/02.jpg"),
        ("002/frontal/02.jpg", "001/profile/01.jpg"),
    ]
    np.testing.assert_array_equal(pairs.same, [True, False, True, False])
    np.testing.assert_array_equal(pairs.fold, [0, 0, 1, 1])
    write(root / "Protocol/Split/FP/02/diff.txt", "4,99\n")
    with pytest.raises(DataError, match=r"diff\.txt, line 1"):
        read_pairs(root / "Protocol", people)


def cells(*rows: list[object]) -> np.ndarray:
    array = np.empty((len(rows), len(rows[0])), dtype=object)
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            array[r, c] = value
    return array


def test_agedb_protocol(tmp_path: Path) -> None:
    names = ["0_Ann_35_f", "1_Ann_65_f", "2_Bo_20_m"]
    person = [{"name": name, "age": int(name.split("_")[2])} for name in names]
    fold = {"photos": cells([person[0], person[0]], [person[1], person[2]]), "labels": np.array([[1, -1]])}
    savemat(tmp_path / "04.mat", {"splits": cells([fold], [fold])})
    pairs = read_pairs(tmp_path / "04.mat", People(("Ann", "Bo"), tuple(f"{name}.jpg" for name in names)))
    np.testing.assert_array_equal(pairs.left, [0, 0, 0, 0])
    np.testing.assert_array_equal(pairs.right, [1, 2, 1, 2])
    np.testing.assert_array_equal(pairs.same, [True, False, True, False])
    np.testing.assert_array_equal(pairs.fold, [0, 0, 1, 1])
    with pytest.raises(DataError, match="no protocol of AgeDB"):
        read_pairs(write(tmp_path / "bad.mat", "nothing"), PEOPLE)


@pytest.mark.real
def test_every_lfw_pair_resolves(shared: Path) -> None:
    with open_source(shared / "data" / "lfw112.tar") as source:
        people = People((), tuple(entry.path for entry in source.entries))
        names = [entry.person for entry in source.entries]
    assert len(names) == 7701
    assert len(set(names)) == 4281
    pairs = read_pairs(shared / "data" / "lfw_pairs.txt", people)
    np.testing.assert_array_equal(np.bincount(pairs.fold), [600] * 10)
    same = [names[i] == names[j] for i, j in zip(pairs.left, pairs.right, strict=True)]
    np.testing.assert_array_equal(pairs.same, same)
    assert pairs.same.sum() == 3000
