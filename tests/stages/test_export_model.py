"""`export` of what was trained: directories and single files, cards without paths, one line for mistakes."""

import errno
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from facemae.errors import DiskFull, OutputExists, RecipeError, StageError, WeightsError
from facemae.nn.embedder import load_embedder
from facemae.nn.mae import FaceMAE
from facemae.nn.mae_files import open_mae
from facemae.spec.formats import FORMATS_OF
from facemae.spec.recipe import ExportSpec, PretrainSpec
from facemae.stages import export_model as module
from facemae.stages.export import export
from facemae.stages.pretrain import load_model, pretrain
from folders import demand_one_line, facemae
from helpers import plain, tiny_mae, write_model, write_people_set, write_recogniser


@pytest.fixture
def mae(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mae", tiny_mae())


@pytest.fixture
def recogniser(tmp_path: Path) -> Path:
    return write_recogniser(tmp_path / "recogniser")


def run(source: Path, out: Path, form: Any, **settings: Any) -> list[str]:
    return export(source, out, ExportSpec(format=form, **settings))["files"]


def same(a: FaceMAE, b: FaceMAE) -> None:
    assert a.size == b.size
    assert all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


@pytest.mark.parametrize("form", FORMATS_OF["model"])
def test_models_become_directories_with_a_card(mae: Path, tmp_path: Path, form: str) -> None:
    files = run(mae, tmp_path / "new/out", form)
    assert sorted(path.name for path in (tmp_path / "new/out").iterdir()) == files
    card = (tmp_path / "new/out/README.md").read_text()
    demand_card(card, mae)
    assert "masked-autoencoder" in card
    if form not in ("facebook", "timm"):
        same(open_mae(tmp_path / "new/out"), load_model(mae))


@pytest.mark.parametrize("form", FORMATS_OF["recogniser"])
def test_recognisers_become_directories_with_a_card(recogniser: Path, tmp_path: Path, form: str) -> None:
    files = run(recogniser, tmp_path / "out", form)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files
    demand_card((tmp_path / "out/README.md").read_text(), recogniser)
    images = torch.rand(2, 3, 32, 32)
    opened = {"insightface": "backbone.pth", "onnx": "recogniser.onnx"}.get(form, ".")
    again = load_embedder(tmp_path / "out" / opened, normalize="insightface")
    torch.testing.assert_close(again(images), load_embedder(recogniser)(images))


def demand_card(card: str, source: Path) -> None:
    front = re.match(r"---\nlibrary_name: \w+\n(?:.*\n)*?---\n", card)
    assert front
    assert json.loads((source / "manifest.json").read_text())["digest"] in card
    assert str(source.parent) not in card
    assert "{" not in card.replace(re.findall(r"```json\n(.*?)```", card, re.S)[0], "").replace('{"data": images}', "")


@pytest.mark.parametrize(("form", "name"), [("facebook", "a.pth"), ("safetensors", "a.safetensors")])
def test_an_out_with_a_suffix_is_one_file(mae: Path, tmp_path: Path, form: str, name: str) -> None:
    assert run(mae, tmp_path / name, form) == [name]
    same(open_mae(tmp_path / name, heads=2, decoder_heads=2), load_model(mae))


@pytest.mark.slow
def test_one_file_of_a_recogniser(recogniser: Path, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 32, 32)
    for form, name in (("insightface", "a.pth"), ("onnx", "a.onnx"), ("safetensors", "a.safetensors")):
        assert run(recogniser, tmp_path / name, form) == [name]
        again = load_embedder(tmp_path / name, normalize="insightface")
        torch.testing.assert_close(again(images), load_embedder(recogniser)(images))


@pytest.mark.parametrize("form", ["facebook", "transformers", "transformers5", "safetensors"])
def test_pretrain_starts_from_what_was_exported(mae: Path, tmp_path: Path, form: str) -> None:
    faces = write_people_set(tmp_path / "faces", 2, 2)
    run(mae, tmp_path / "out", form)
    source = tmp_path / ("out/mae.pth" if form == "facebook" else "out")
    model = load_model(mae)
    asked: dict[str, Any] = {"image_size": 32, "patch_size": 8, "batch": 2, "image_steps": 2, "base_lr": 1e-12}
    loss = {"pixel": 1.0, "instance": 0.0, "relation": 0.0}
    spec = PretrainSpec.model_validate(asked | {"size": "tiny", "loss": loss, "precision": "fp32"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facemae.stages.pretrain.build_mae", lambda *_, **__: tiny_mae(seed=9))
        made = pretrain(faces, tmp_path / "trained", spec, plain(), init=source)
    for mine, start in zip(load_model(made).parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, start, rtol=0, atol=1e-7)


def test_weights_of_others_are_converted(mae: Path, recogniser: Path, tmp_path: Path) -> None:
    run(mae, tmp_path / "theirs", "transformers")
    run(tmp_path / "theirs", tmp_path / "model.safetensors", "safetensors")
    run(tmp_path / "model.safetensors", tmp_path / "back", "safetensors")
    same(open_mae(tmp_path / "back"), load_model(mae))
    assert "Converted from other weights, sha256 `" in (tmp_path / "back/README.md").read_text()
    run(recogniser, tmp_path / "backbone.pth", "insightface")
    assert run(tmp_path / "backbone.pth", tmp_path / "graph.onnx", "onnx") == ["graph.onnx"]
    run(recogniser, tmp_path / "own", "safetensors")
    assert run(tmp_path / "own", tmp_path / "again.pth", "insightface") == ["again.pth"]
    assert (tmp_path / "again.pth").read_bytes()[:2] == b"PK"


def test_class_centres(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    weight = torch.randn(5, 3)
    for rank, rows in enumerate((weight[:3], weight[3:])):
        torch.save(rows.clone(), tmp_path / f"in/rank_{rank}_softmax_weight.pt")
    assert run(tmp_path / "in", tmp_path / "one", "partial_fc") == ["rank_0_softmax_weight.pt"]
    files = run(tmp_path / "in", tmp_path / "four", "partial_fc", ranks=4)
    assert files == [f"rank_{rank}_softmax_weight.pt" for rank in range(4)]
    run(tmp_path / "four", tmp_path / "centres.safetensors", "safetensors")
    assert torch.equal(safetensors.torch.load_file(tmp_path / "centres.safetensors")["weight"], weight)


def test_formats_that_do_not_fit_are_refused(mae: Path, recogniser: Path, tmp_path: Path) -> None:
    faces = write_people_set(tmp_path / "faces", 2, 1)
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match=r"export\.format: got folder for a model; needed one of facebook, transf"):
        export(mae, out, ExportSpec())
    with pytest.raises(RecipeError, match="got onnx for a model; needed one of facebook"):
        run(mae, out, "onnx")
    with pytest.raises(RecipeError, match="got timm for a recogniser; needed one of insightface, onnx, safetensors"):
        run(recogniser, out, "timm")
    with pytest.raises(StageError, match="holds no weights: got kind original; needed a model or a recogniser"):
        run(faces, out, "onnx")
    with pytest.raises(RecipeError, match=r"OUT: got a\.onnx; needed a directory or a \.pth or a \.pt for format face"):
        run(mae, tmp_path / "a.onnx", "facebook")
    with pytest.raises(RecipeError, match=r"export\.keep_names: got format facebook; needed a format of face sets"):
        run(mae, out, "facebook", keep_names=True)
    run(recogniser, tmp_path / "graph.onnx", "onnx")
    with pytest.raises(WeightsError, match="is an ONNX graph already"):
        run(tmp_path / "graph.onnx", out, "insightface")
    with pytest.raises(OutputExists):
        run(mae, faces, "facebook")
    assert not out.exists()


def test_a_full_disk_leaves_nothing(mae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "model_card", full)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DiskFull):
        run(mae, tmp_path / "out", "transformers")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_command(mae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = facemae(capsys, "export", mae, tmp_path / "out", "--set", "format=timm", "--json")
    assert json.loads(ended.out) == {
        "out": str(tmp_path / "out"),
        "files": ["README.md", "config.json", "model.safetensors"],
    }
    (tmp_path / "bomb.pth").write_bytes(b"\x80\x04cos\nsystem\n.")
    ended = facemae(capsys, "export", tmp_path / "bomb.pth", tmp_path / "b", "--set", "format=onnx")
    assert "was not opened" in demand_one_line(ended)
    torch.save({"a": torch.ones(1)}, buffer := io.BytesIO())
    (tmp_path / "other.pth").write_bytes(buffer.getvalue())
    ended = facemae(capsys, "export", tmp_path / "other.pth", tmp_path / "b", "--set", "format=onnx")
    assert "is no recogniser we know" in demand_one_line(ended)


def test_heads_are_told_where_no_shape_tells_them(
    mae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(mae, tmp_path / "theirs.pth", "facebook")
    words = ["export", tmp_path / "theirs.pth", tmp_path / "out", "--set", "format=transformers"]
    assert "pass heads and decoder_heads; `facemae export` takes them as --set heads=N" in demand_one_line(
        facemae(capsys, *words)
    )
    assert facemae(capsys, *words, "--set", "heads=2", "--set", "decoder_heads=2").code == 0
    same(open_mae(tmp_path / "out"), load_model(mae))
    (tmp_path / "out/config.json").unlink()
    run(tmp_path / "out", tmp_path / "back", "safetensors", heads=2, decoder_heads=2)
    same(open_mae(tmp_path / "back"), load_model(mae))


def test_heads_out_of_place_are_refused(mae: Path, recogniser: Path, tmp_path: Path) -> None:
    for settings in ({"heads": 2}, {"format": "onnx", "decoder_heads": 2}, {"format": "partial_fc", "heads": 2}):
        with pytest.raises(ValidationError, match=r"heads given for format .*, which no masked autoencoder has"):
            ExportSpec.model_validate(settings)
    with pytest.raises(RecipeError, match=r"export\.heads: got recogniser; needed a masked autoencoder"):
        run(recogniser, tmp_path / "out", "safetensors", heads=2)
    with pytest.raises(RecipeError, match=r"export\.decoder_heads: got 4; needed 2, as .*mae tells itself; leave it"):
        run(mae, tmp_path / "out", "facebook", decoder_heads=4)
    run(mae, tmp_path / "theirs.pth", "facebook")
    with pytest.raises(RecipeError, match=r"the encoder's width does not fit: got 16 with 3 heads"):
        run(tmp_path / "theirs.pth", tmp_path / "out", "facebook", heads=3, decoder_heads=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mae", "recogniser", "theirs.pth"]


def test_a_spec_without_heads_is_written_as_before() -> None:
    assert not {"heads", "decoder_heads"} & ExportSpec(format="facebook").model_dump().keys()
    assert ExportSpec(format="facebook", heads=2).model_dump()["heads"] == 2
