import argparse
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
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


def test_files_of_the_older_format_that_are_cut_or_changed_are_one_line(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.pth", tmp_path / "whole.pth"
    content = {"model": {"a": torch.zeros(2), "b": torch.zeros(2)}, "args": argparse.Namespace(x=1)}
    torch.save(content, whole, _use_new_zipfile_serialization=False)
    data, random = whole.read_bytes(), np.random.default_rng(0)
    damaged = [data[:length] for length in range(2, len(data), 11)]
    for place, value in zip(random.integers(2, len(data), 80), random.integers(0, 256, 80), strict=True):
        damaged.append(data[:place] + bytes([value]) + data[place + 1 :])
    said = []
    for content in damaged:
        path.write_bytes(content)
        try:
            K.load_state(path)  # a changed number is no damage that anybody sees
        except WeightsError as error:
            said.append(str(error))
    assert len(said) > len(data) // 11
    assert not any("\n" in line for line in said)


ODD = {
    "a sparse tensor": lambda x: x.to_sparse(),
    "a quantised tensor": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "a tensor without content": lambda x: x.to("meta"),
    "int8; needed floating-point": lambda x: x.to(torch.int8),
    "complex64; needed floating-point": lambda x: x.to(torch.complex64),
    "float8_e4m3fn; needed floating-point": lambda x: x.to(torch.float8_e4m3fn),
    "NaN or infinity": lambda x: x.clone().index_fill_(0, torch.tensor(3), torch.nan),
    "NaN or infinity; use": lambda x: x.double() + 1e300,
}


@pytest.mark.parametrize("said", ODD)
def test_tensors_that_are_no_weights_are_refused(model: FaceMAE, tmp_path: Path, said: str) -> None:
    state = model.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state["norm.weight"] = ODD[said](state["norm.weight"])
        torch.save(state, tmp_path / "a.pth")
        for source in (tmp_path / "a.pth", state):
            with pytest.raises(WeightsError, match=f"does not hold weights at norm.weight: got {said}") as raised:
                K.load_mae(source, **HEADS)
            assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_weights(model: FaceMAE, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in model.state_dict().items()}
    loaded = K.load_mae(state, **HEADS).state_dict()
    assert all(torch.equal(loaded[key], value.float()) for key, value in state.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"patch_embed.proj.weight": (24, 3, 0, 0), "pos_embed": (1, 1, 24)},
            "0x0 patches of 0 pixels; needed at least",
        ),
        ({"patch_embed.proj.weight": (0, 3, 4, 4), "pos_embed": (1, 17, 0)}, "does not fit FaceMAE at decoder_embed"),
        ({"decoder_embed.weight": ()}, r"at decoder_embed.weight: got \(\); needed \(decoder width, 24\)"),
        ({"decoder_embed.weight": (0, 24)}, "decoder 0 and 2, 4x4 patches of 4 pixels; needed at least 1 of each"),
        ({"decoder_embed.weight": (1 << 40, 0)}, r"got \(1099511627776, 0\); needed \(decoder width, 24\)"),
    ],
)
def test_sizes_of_nothing_are_refused(model: FaceMAE, changes: dict[str, tuple[int, ...]], said: str) -> None:
    state = model.state_dict() | {name: torch.zeros(shape) for name, shape in changes.items()}
    with pytest.raises(WrongShapes, match=said):
        K.load_mae(state, **HEADS)
    with pytest.raises(WrongShapes, match=r"no masked autoencoder: got .*depth 0"):
        K.load_mae({k: v for k, v in model.state_dict().items() if not k.startswith("blocks.")}, **HEADS)


def test_parts_of_attention_that_do_not_fit_together_are_one_line(model: FaceMAE) -> None:
    state = K.to_transformers(model.state_dict())
    state["vit.layers.3.attention.k_proj.weight"] = torch.ones(24, 25)
    with pytest.raises(WrongShapes, match=r"q, k and v do not fit together at blocks.3.attn.q.weight: got \(24, 24\)"):
        K.load_mae(state, **HEADS)
