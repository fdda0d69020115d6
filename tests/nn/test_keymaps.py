import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from facemae.errors import UnsafeFile, WeightsError, WrongKeys, WrongShapes
from facemae.nn import keymaps as K
from facemae.nn.mae import FaceMAE, build_mae

SMALL = {"image_size": 16, "patch_size": 4, "width": 24, "depth": 11, "heads": 2}
SMALL |= {"decoder_width": 16, "decoder_depth": 2, "decoder_heads": 4}
HEADS = {"heads": 2, "decoder_heads": 4}


@pytest.fixture
def model() -> FaceMAE:
    torch.manual_seed(5)
    model = FaceMAE(**SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


@pytest.fixture
def peer() -> Any:
    """A ViTMAE of the same sizes, from the installed transformers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=24,
        num_hidden_layers=11,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=16,
        patch_size=4,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=64,
    )
    return transformers.ViTMAEForPreTraining(config)


def _same(a: FaceMAE, b: FaceMAE) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert a.size == b.size
    assert not b.pos_embed.requires_grad


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("names", ["facebook", "transformers4", "transformers5"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_round_trip_is_exact(model: FaceMAE, tmp_path: Path, names: K.Names, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    K.save_mae(model, path, names=names)
    _same(model, K.load_mae(path, **HEADS))


def test_safetensors_note_the_heads_that_shapes_do_not_tell(model: FaceMAE, tmp_path: Path) -> None:
    K.save_mae(model, tmp_path / "a.safetensors")
    _same(model, K.load_mae(str(tmp_path / "a.safetensors")))
    K.save_mae(model, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"number of attention heads: got width 24, depth 11, .*pass heads"):
        K.load_mae(tmp_path / "a.pth")


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_heads_of_the_known_sizes_are_inferred(size: str, tmp_path: Path) -> None:
    model = build_mae(size, image_size=64)
    K.save_mae(model, tmp_path / "a.pth")
    _same(model, K.load_mae(tmp_path / "a.pth"))


@pytest.mark.parametrize("size", ["base", "large", "huge"])
def test_sizes_of_the_original_are_inferred(size: str) -> None:
    with torch.device("meta"):
        model = build_mae(size)
    state = model.state_dict()
    assert K.infer_size(state) == model.size
    assert K.infer_size({k: v for k, v in state.items() if not k.startswith(K.DECODER)}) == model.size


def test_original_checkpoint_with_namespace_and_optimizer(model: FaceMAE, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-199.pth"
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    extra = {"optimizer": optimizer.state_dict(), "epoch": 199, "scaler": {"scale": 65536.0, "_growth_tracker": 0}}
    args = argparse.Namespace(model="mae_vit_base_patch16", blr=1e-3, norm_pix_loss=False, dist_url="env://")
    torch.save({"model": model.state_dict(), "args": args, **extra}, path)
    _same(model, K.load_mae(path, **HEADS))
    with pytest.raises(pickle.UnpicklingError):  # the allowance ends with the call
        torch.load(path, weights_only=True)


@pytest.mark.slow
def test_encoder_only(model: FaceMAE, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pth"
    K.save_mae(model, path, encoder_only=True)
    state = torch.load(path, weights_only=True)["model"]
    assert len(state) == 4 + 12 * 11 + 2
    sizes = HEADS | {"heads": 2}
    with pytest.raises(WrongKeys, match=r"encoder.pth holds an encoder only: needed the decoder too; use a full"):
        K.load_mae(path, **sizes)
    loaded = K.load_mae(path, **(sizes | {"decoder_heads": 16}), fresh_decoder=True)
    assert (loaded.size.decoder_width, loaded.size.decoder_depth) == (512, 8)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in state.items())
    assert loaded.decoder_pred.weight.any()


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.slow
def test_files_transformers_writes(peer: Any, tmp_path: Path, prefixed: bool) -> None:
    (peer if prefixed else peer.vit).save_pretrained(tmp_path)
    loaded = K.load_mae(tmp_path / "model.safetensors", **HEADS, fresh_decoder=not prefixed)
    theirs = K.from_transformers(peer.state_dict())
    kept = {k: v for k, v in loaded.state_dict().items() if prefixed or not k.startswith(K.DECODER)}
    assert len(kept) == (14 + 13 * 12 if prefixed else 6 + 11 * 12)
    assert all(torch.equal(value, theirs[key]) for key, value in kept.items())


@pytest.mark.parametrize("names", ["transformers4", "transformers5"])
@pytest.mark.slow
def test_transformers_reads_what_we_write(model: FaceMAE, peer: Any, tmp_path: Path, names: K.Names) -> None:
    peer.config.save_pretrained(tmp_path)
    K.save_mae(model, tmp_path / "model.safetensors", names=names)
    loaded, report = type(peer).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    read, ours = K.from_transformers(loaded.state_dict()), model.state_dict()
    assert read.keys() == ours.keys()
    assert all(torch.equal(read[key], ours[key]) for key in ours)


def test_names_of_transformers_4(model: FaceMAE) -> None:
    state = K.to_transformers(model.state_dict(), names="transformers4")
    qkv = model.blocks[10].attn.qkv.weight
    assert torch.equal(state["vit.encoder.layer.10.attention.attention.key.weight"], qkv[24:48])
    assert torch.equal(state["decoder.decoder_layers.1.output.dense.bias"], model.decoder_blocks[1].mlp.fc2.bias)
    for name in (
        "vit.embeddings.patch_embeddings.projection.weight",
        "vit.encoder.layer.0.layernorm_before.bias",
        "vit.encoder.layer.0.attention.output.dense.weight",
        "vit.encoder.layer.0.intermediate.dense.weight",
        "vit.layernorm.weight",
        "decoder.mask_token",
        "decoder.decoder_pos_embed",
        "decoder.decoder_pred.bias",
    ):
        assert name in state
    assert len(state) == 254 - 12 * 1 - 12 * 6 + 4 * 11 + 4 * 2


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "state_dict_backbone"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "_orig_mod."])
def test_load_state_unwraps(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = {f"{prefix}a.weight": torch.ones(2), f"{prefix}b": torch.zeros(1)}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "a.pt")
    assert set(K.load_state(tmp_path / "a.pt")) == {"a.weight", "b"}


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_bomb_is_refused_and_does_not_go_off(tmp_path: Path, how: str) -> None:
    path, crater = tmp_path / "a.pth", tmp_path / "crater"
    bomb = {"model": {"a": torch.zeros(1)}, "args": _Bomb(crater)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(UnsafeFile, match=r"a\.pth is not a plain checkpoint and was not opened: got \S.*needed") as e:
        K.load_mae(path)
    assert "\n" not in str(e.value)
    assert not crater.exists()


def test_damaged_files_are_told_in_one_line(model: FaceMAE, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(model.state_dict(), path)
    whole = path.read_bytes()
    safetensors.torch.save_file({"a": torch.zeros(9)}, tmp_path / "b.safetensors")
    tensors = (tmp_path / "b.safetensors").read_bytes()
    for content in (b"", b"hello", whole[:700], whole[: len(whole) // 2], tensors[:30], tensors[:-4], b"\x80\x02"):
        path.write_bytes(content)
        with pytest.raises(WeightsError) as e:
            K.load_state(path)
        assert "\n" not in str(e.value)
    with pytest.raises(WeightsError, match="no weights at"):
        K.load_state(tmp_path / "absent.pth")
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="holds no named tensors: got list"):
        K.load_state(path)


def test_wrong_keys_and_shapes_are_named(model: FaceMAE) -> None:
    state = model.state_dict()
    K.check_state(model, state)
    lacking = {key: value for key, value in state.items() if not key.startswith("norm.")} | {"head.x": torch.ones(1)}
    message = r"^x.pth does not fit FaceMAE: got 1 unexpected names \(head.x\); needed 2 missing names \(norm.weight, "
    with pytest.raises(WrongKeys, match=message):
        K.check_state(model, lacking, "x.pth")
    with pytest.raises(WrongKeys, match=r"norm.weight, norm.bias"):
        K.load_mae(lacking, **HEADS)
    wrong = state | {"norm.weight": torch.ones(25)}
    message = r"the state dict does not fit FaceMAE at norm.weight: got \(25,\); needed \(24,\)"
    with pytest.raises(WrongShapes, match=message):
        K.load_mae(wrong, **HEADS)
    with pytest.raises(WrongKeys, match=r"no masked autoencoder: got fc; needed pos_embed, patch_embed.proj.weight"):
        K.load_mae({"fc": torch.ones(1)})
    with pytest.raises(WrongShapes, match="square"):
        K.load_mae(state | {"pos_embed": torch.zeros(1, 16, 24)}, **HEADS)


def test_unknown_suffix_is_refused(model: FaceMAE, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"got weights.npz; needed .safetensors"):
        K.save_mae(model, tmp_path / "weights.npz")


def test_heads_of_thousands_of_digits_are_none(model: FaceMAE, tmp_path: Path) -> None:
    noted = {"heads": "9" * 5000, "decoder_heads": "4"}
    safetensors.torch.save_file(model.state_dict(), tmp_path / "a.safetensors", metadata=noted)
    with pytest.raises(WeightsError, match="does not tell its number of attention heads"):
        K.load_mae(tmp_path / "a.safetensors")
