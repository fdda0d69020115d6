"""`export` leaves a whole folder or none, and what a crash left does not stand in the way."""

import errno
import tarfile
from pathlib import Path

import numpy as np
import pytest

from facemae.errors import Damaged, DataError, DiskFull, OutputExists, RecipeError
from facemae.faces import FaceSet
from facemae.faces.codec import decode
from facemae.spec.recipe import ExportSpec
from facemae.stages import export as module
from facemae.stages.export import export_faces
from folders import demand_one_line, facemae, noise, originals, tree

IMAGES = [noise(i, 8) for i in range(4)]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    return originals(tmp_path / "set", IMAGES, [0, 0, 1, 1]).directory


def test_folder(faces: Path, tmp_path: Path) -> None:
    assert export_faces(faces, tmp_path / "new/out", ExportSpec()) == 4
    found = tree(tmp_path / "new")
    assert list(found) == [
        "out/000000/00000000.png",
        "out/000000/00000001.png",
        "out/000001/00000002.png",
        "out/000001/00000003.png",
    ]
    assert np.array_equal(np.stack([decode(data) for data in found.values()]), np.stack(IMAGES))


def test_webdataset(faces: Path, tmp_path: Path) -> None:
    assert export_faces(faces, tmp_path / "out", ExportSpec(format="webdataset")) == 4
    (shard,) = (tmp_path / "out").iterdir()
    with tarfile.open(shard) as archive:
        assert archive.getnames()[:2] == ["00000000.png", "00000000.cls"]


def test_names_are_kept_where_there_are_some(faces: Path, tmp_path: Path) -> None:
    export_faces(faces, tmp_path / "out", ExportSpec(keep_names=True))
    assert list(tree(tmp_path / "out")) == [f"Person_{i // 2}/{i}.png" for i in range(4)]
    with pytest.raises(RecipeError, match=r"export\.keep_names: got format webdataset; needed format folder"):
        export_faces(faces, tmp_path / "shards", ExportSpec(format="webdataset", keep_names=True))
    (faces / "people.json").unlink()
    with pytest.raises(DataError, match="no names to keep"):
        export_faces(faces, tmp_path / "nobody", ExportSpec(keep_names=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


@pytest.mark.parametrize("content", [{}, {"mine.txt": "mine"}])
def test_out_is_never_overwritten(faces: Path, tmp_path: Path, content: dict[str, str]) -> None:
    (tmp_path / "out").mkdir()
    for name, text in content.items():
        (tmp_path / "out" / name).write_text(text)
    before = tree(tmp_path)
    with pytest.raises(OutputExists, match="exists: name another OUT or remove it"):
        export_faces(faces, tmp_path / "out", ExportSpec())
    assert tree(tmp_path) == before


def test_an_out_that_cannot_be(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputExists, match=r"file/out cannot be made: got a file where its folder would be"):
        export_faces(faces, tmp_path / "file" / "out", ExportSpec())
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExists, match="link exists"):
        export_faces(faces, tmp_path / "link", ExportSpec())
    with pytest.raises(RecipeError, match=r"export\.ranks: got format folder; needed format partial_fc"):
        export_faces(faces, tmp_path / "out", ExportSpec(ranks=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "set"]


def test_an_error_leaves_nothing(faces: Path, tmp_path: Path) -> None:
    shard = faces / "shards/00000.tar"
    good = shard.read_bytes()
    shard.write_bytes(good[: len(good) // 2])
    with pytest.raises(Damaged):
        export_faces(faces, tmp_path / "out", ExportSpec())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    shard.write_bytes(good)
    assert export_faces(faces, tmp_path / "out", ExportSpec()) == 4


def test_a_full_disk(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "export_folder", full)
    with pytest.raises(DiskFull, match="no space left while writing"):
        export_faces(faces, tmp_path / "out", ExportSpec())
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_leftovers_of_a_killed_run_are_removed(faces: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/half.png").write_bytes(b"unfinished")
    assert export_faces(faces, tmp_path / "out", ExportSpec()) == 4
    assert "out/half.png" not in tree(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"]


@pytest.mark.parametrize("form", ["folder", "webdataset", "parquet"])
def test_a_set_with_its_card_comes_back(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    for needed in ("pyarrow", "huggingface_hub"):
        pytest.importorskip(needed)
    settings = ("--set", f"format={form}", "--set", "card=true", "--set", "license=cc-by-4.0")
    assert facemae(capsys, "export", faces, tmp_path / "out", *settings).code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "croissant.json", "data"}
    assert facemae(capsys, "import", tmp_path / "out", tmp_path / "again").code == 0
    again = FaceSet.open(tmp_path / "again")
    assert again.identities.tolist() == [0, 0, 1, 1]
    assert np.array_equal(again.images(range(4)), np.stack(IMAGES))


def test_what_a_card_quotes_needs_a_card(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = demand_one_line(facemae(capsys, "export", faces, tmp_path / "out", "--set", "license=mit"))
    assert "license given without card; card=true writes them down" in said
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = facemae(capsys, "export", faces, tmp_path / "out", "--set", "format=webdataset")
    assert (ended.code, ended.out, ended.err) == (0, f"4 images in {tmp_path / 'out'}\n", "")
    assert "exists" in demand_one_line(facemae(capsys, "export", faces, tmp_path / "out"))
    said = demand_one_line(facemae(capsys, "export", faces, tmp_path / "other", "--set", "format=zip"))
    assert "input should be 'folder', 'webdataset', 'parquet'" in said
    assert "(got 'zip')" in said
