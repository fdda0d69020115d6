"""Masked autoencoders to other tools and back: the same bits, the same pictures, the same names."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from facemae.errors import UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.nn.mae import FaceMAE, build_mae
from facemae.nn.mae_files import mae_files, open_mae, timm_config
from facemae.nn.patches import gather_patches, patchify
from facemae.spec.formats import FORMATS_OF

# Sizes and heads of no row of SIZES: nothing but the files can tell them.
SIZES = {"image_size": 32, "patch_size": 8, "width": 24, "depth": 3, "heads": 2}
SIZES |= {"decoder_width": 16, "decoder_depth": 2, "decoder_heads": 4}


@pytest.fixture
def model() -> FaceMAE:
    torch.manual_seed(5)
    model = FaceMAE(**SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 4)
    return model.eval()


def write(directory: Path, model: FaceMAE, form: Any) -> Path:
    directory.mkdir()
    for name, content in mae_files(model, form).items():
        (directory / name).write_bytes(content)
    return directory


def same(a: FaceMAE, b: FaceMAE) -> None:
    assert a.size == b.size
    assert list(a.state_dict()) == list(b.state_dict())
    assert all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


@pytest.mark.parametrize("form", ["transformers", "transformers5", "safetensors"])
def test_directories_come_back_bit_for_bit_and_tell_their_heads(model: FaceMAE, tmp_path: Path, form: str) -> None:
    same(open_mae(write(tmp_path / "out", model, form), heads=8, decoder_heads=8), model)


def test_facebooks_file_is_theirs_name_for_name(tmp_path: Path) -> None:
    model = build_mae("tiny", image_size=64)
    file = write(tmp_path / "out", model, "facebook") / "mae.pth"
    content = torch.load(file, weights_only=True)
    assert list(content) == ["model"]
    # Theirs, as the facts of their base model state them: 4 tensors outside, 12 a block, and norms.
    inner = [
        f"{part}.{kind}"
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    ]
    stacks = [("blocks", 6), ("decoder_blocks", 4)]
    expected = {f"{stack}.{i}.{name}" for stack, depth in stacks for i in range(depth) for name in inner}
    expected |= {"cls_token", "pos_embed", "mask_token", "decoder_pos_embed"}
    modules = ("patch_embed.proj", "norm", "decoder_embed", "decoder_norm", "decoder_pred")
    expected |= {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
    assert set(content["model"]) == expected
    same(open_mae(file), model)


@pytest.mark.parametrize("form", ["transformers", "transformers5"])
def test_transformers_makes_the_same_pictures(model: FaceMAE, tmp_path: Path, form: str) -> None:
    transformers = pytest.importorskip("transformers")
    peer, report = transformers.ViTMAEForPreTraining.from_pretrained(
        write(tmp_path / "out", model, form), output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    images, noise = torch.rand(2, 3, 32, 32), torch.rand(2, 16)
    kept = noise.argsort(dim=1)[:, :4]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        theirs = peer.eval()(pixel_values=pixels, noise=noise).logits
        visible = gather_patches(patchify(images, patch_size=8), kept)
        ours = model.decode(model.encode(visible, kept), kept)
    theirs = (theirs.view(2, 16, 64, 3) * std + mean).flatten(2)
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_transformers_itself_saves_comes_in_and_goes_back(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=96, image_size=32, patch_size=8,
        decoder_hidden_size=16, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
        decoder_intermediate_size=64,
    )  # fmt: skip
    peer = transformers.ViTMAEForPreTraining(config)
    peer.save_pretrained(tmp_path / "theirs")
    ours = open_mae(tmp_path / "theirs")
    assert ours.size._asdict() == SIZES
    back = transformers.ViTMAEForPreTraining.from_pretrained(write(tmp_path / "back", ours, "transformers"))
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in peer.state_dict().items())
    # 4.x before safetensors.
    state = safetensors.torch.load_file(tmp_path / "back/model.safetensors")
    (tmp_path / "back/model.safetensors").unlink()
    torch.save(state, tmp_path / "back/pytorch_model.bin")
    same(open_mae(tmp_path / "back"), ours)


@pytest.mark.parametrize(("size", "architecture"), [("base", "vit_base_patch16_224"), ("huge", "vit_huge_patch14_224")])
def test_timm_is_told_an_architecture_it_has(size: str, architecture: str) -> None:
    with torch.device("meta"):
        sizes = build_mae(size).size
    config = timm_config(sizes)
    assert config["architecture"] == architecture
    assert config["model_args"]["patch_size"] == int(architecture[-6:-4])
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 0


def test_timm_gets_the_encoder_alone(model: FaceMAE, tmp_path: Path) -> None:
    out = write(tmp_path / "out", model, "timm")
    state = safetensors.torch.load_file(out / "model.safetensors")
    inner = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    modules = [f"blocks.{i}.{name}" for i in range(3) for name in inner] + ["patch_embed.proj", "norm"]
    # A mask token would make timm take the file for DINOv2.
    assert set(state) == {"cls_token", "pos_embed"} | {f"{m}.{kind}" for m in modules for kind in ("weight", "bias")}
    told = json.loads((out / "config.json").read_text())
    assert told["model_args"] == {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2}
    with pytest.raises(WrongKeys, match="holds an encoder only: needed the decoder too"):
        open_mae(out, decoder_heads=4)
    again = open_mae(out, decoder_heads=16, fresh_decoder=True)
    assert again.size.heads == 2
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())


def test_every_format_is_made(model: FaceMAE) -> None:
    assert all(mae_files(model, form) for form in FORMATS_OF["model"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "describes another model: got model_type vit; needed vit_mae"),
        ({"hidden_act": "gelu_new"}, "got hidden_act gelu_new; needed gelu"),
        ({"num_attention_heads": "2"}, "is damaged"),
        ({"num_attention_heads": -1}, "is damaged"),
        (None, "is damaged"),
    ],
)
def test_another_configuration_is_one_line(model: FaceMAE, tmp_path: Path, changes: Any, message: str) -> None:
    path = write(tmp_path / "out", model, "transformers") / "config.json"
    told = json.loads(path.read_text())
    path.write_text("[" * 100_000 if changes is None else json.dumps(told | changes))
    with pytest.raises(WeightsError, match=message) as raised:
        open_mae(tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_wrong_folders_and_files_are_one_line(model: FaceMAE, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no masked autoencoder: needed model\.safetensors or pytorch_model"):
        open_mae(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(UnsafeFile, match="was not opened"):
        open_mae(tmp_path)
    # A few bytes that claim a model of many gigabytes: refused by its shapes, before memory is taken.
    state = {"pos_embed": torch.zeros(1, 2, 40_000), "patch_embed.proj.weight": torch.zeros(40_000, 3, 1, 1)}
    state |= {f"blocks.{i}.norm1.weight": torch.zeros(1) for i in range(40)} | {"cls_token": torch.zeros(1)}
    torch.save(state, tmp_path / "big.pth")
    with pytest.raises((WrongKeys, WrongShapes)):
        open_mae(tmp_path / "big.pth", heads=1, fresh_decoder=True)


def test_a_compressed_archive_is_refused(model: FaceMAE, tmp_path: Path) -> None:
    write(tmp_path / "out", model, "facebook")
    with (
        zipfile.ZipFile(tmp_path / "out/mae.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match="got a compressed archive"):
        open_mae(tmp_path / "bomb.pth")
