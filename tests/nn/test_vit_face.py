"""InsightFace's ViT: its arithmetic against torch's own attention, what training leaves out, and loading by shapes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facemae.errors import RecipeError, WrongKeys, WrongShapes
from facemae.nn.backbones import build_backbone, own_width
from facemae.nn.embedder import Embedder, load_embedder, save_recogniser
from facemae.nn.vit_face import VitFace

SMALL = {"width": 16, "depth": 3, "input_size": 30, "embedding": 6}


def settled(net: VitFace) -> VitFace:
    """Every weight and statistic away from its start."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "running_var" in name else torch.randn_like(tensor) / 4)
    return net.eval()


def by_torchs_attention(net: VitFace, images: Tensor, heads: int = 8) -> Tensor:
    """The definition in other words: unfold for patches, nn.MultiheadAttention, batch normalisation written out."""
    state = net.state_dict()
    width = state["pos_embed"].shape[2]
    rows = F.unfold(images[:, :, :27, :27], 9, stride=9).transpose(1, 2)
    x = rows @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"] + state["pos_embed"]
    for i in range(len(net.blocks)):
        own = {
            key.removeprefix(f"blocks.{i}."): value for key, value in state.items() if key.startswith(f"blocks.{i}.")
        }
        attention = nn.MultiheadAttention(width, heads, batch_first=True)
        attention.load_state_dict(
            {
                "in_proj_weight": own["attn.qkv.weight"],
                "in_proj_bias": torch.zeros(3 * width),
                "out_proj.weight": own["attn.proj.weight"],
                "out_proj.bias": own["attn.proj.bias"],
            }
        )
        y = F.layer_norm(x, (width,), own["norm1.weight"], own["norm1.bias"], 1e-5)
        x = x + attention(y, y, y, need_weights=False)[0]
        y = F.layer_norm(x, (width,), own["norm2.weight"], own["norm2.bias"], 1e-5)
        y = (y @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"]).clamp(0, 6)
        x = x + y @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"]
    x = F.layer_norm(x, (width,), state["norm.weight"], state["norm.bias"], 1e-5).flatten(1)
    for linear, norm in ((0, 1), (2, 3)):
        x = x @ state[f"feature.{linear}.weight"].T
        mean, var, gamma, beta = (
            state[f"feature.{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 2e-5).sqrt() * gamma + beta
    return x


def test_the_arithmetic_is_that_of_torchs_attention() -> None:
    net, images = settled(VitFace(**SMALL)), torch.randn(2, 3, 30, 30)
    expected = by_torchs_attention(net, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)
    # Thirty pixels are three patches and a rest that nothing looks at.
    images[:, :, 27:], images[:, :, :, 27:] = 7.0, 7.0
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_close_and_the_head_in_float32() -> None:
    net, images = settled(VitFace(**SMALL)), torch.randn(4, 3, 30, 30)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(images)
    assert half.dtype == torch.float32
    assert F.cosine_similarity(half, net(images)).min() > 0.999


def test_training_hides_a_tenth_of_the_tokens_and_puts_the_mask_token_in_their_places() -> None:
    net = VitFace(width=16, depth=1, input_size=90, embedding=6, drop_path=0.0).train()
    seen: dict[str, Tensor] = {}
    net.blocks[0].register_forward_pre_hook(lambda _, given: seen.update(inside=given[0].detach()))
    net.norm.register_forward_hook(lambda *given: seen.update(kept=given[2].detach()))
    net.feature.register_forward_pre_hook(lambda _, given: seen.update(head=given[0].detach()))
    net(torch.randn(5, 3, 90, 90))
    assert seen["inside"].shape == seen["kept"].shape == (5, 90, 16)
    tokens = seen["head"].view(5, 100, 16)
    masked = (tokens == net.mask_token).all(dim=2)
    assert masked.sum(dim=1).tolist() == [10] * 5
    assert len({tuple(row.tolist()) for row in masked}) == 5
    for i in range(5):
        assert {tuple(row.tolist()) for row in tokens[i][~masked[i]]} == {
            tuple(row.tolist()) for row in seen["kept"][i]
        }
    net.eval()(torch.randn(1, 3, 90, 90))
    assert seen["inside"].shape[1] == 100


def test_tokens_come_back_to_their_own_places() -> None:
    # With blocks that do nothing a token that was kept reaches the head as in evaluation.
    net = settled(VitFace(width=16, depth=2, input_size=90, embedding=6, drop_path=0.0))
    for block in net.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    heads: list[Tensor] = []
    net.feature.register_forward_pre_hook(lambda _, given: heads.append(given[0].detach().view(2, 100, 16)))
    images = torch.randn(2, 3, 90, 90)
    net.train()(images)
    net.eval()(images)
    kept = ~(heads[0] == net.mask_token).all(dim=2)
    assert kept.sum() == 180
    torch.testing.assert_close(heads[0][kept], heads[1][kept])


def test_branches_are_left_out_for_a_share_of_the_images_and_scaled_up_for_the_others() -> None:
    net = VitFace(**SMALL, drop_path=0.4)
    assert [round(block._drop_path, 6) for block in net.blocks] == [0.0, 0.2, 0.4]
    torch.manual_seed(0)
    block = net.blocks[2].train()
    branch = torch.ones(4000, 1, 16)
    dropped = block._drop(branch)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert (dropped == 0).float().mean() == pytest.approx(0.4, abs=0.03)
    assert block.eval()._drop(branch) is branch


@pytest.mark.parametrize(("name", "width"), [("vit_t", 256), ("vit_s", 512), ("vit_b", 512), ("vit_l", 768)])
def test_widths(name: str, width: int) -> None:
    assert own_width(name) == width
    with pytest.raises(RecipeError, match=rf"backbone {name} has a fixed width: got 64; needed {width}"):
        build_backbone(name, width=64)
    with pytest.raises(RecipeError, match="input_size: got 8 pixels; needed 9 or more"):
        build_backbone(name, input_size=8)


@pytest.mark.slow
def test_a_public_state_dict_is_known_by_its_shapes(tmp_path: Path) -> None:
    net = settled(build_backbone("vit_t", embedding=24))  # type: ignore[arg-type]
    torch.save(
        {"state_dict_backbone": {f"module.{key}": value for key, value in net.state_dict().items()}},
        tmp_path / "model.pt",
    )
    images = torch.rand(1, 3, 112, 112)
    embedder = load_embedder(tmp_path / "model.pt")
    assert (embedder.input_size, embedder.embedding) == (112, 24)
    torch.testing.assert_close(embedder(images), net(images * 2 - 1))
    config = {"backbone": "vit_t", "width": 256, "input_size": 112, "embedding": 24, "normalize": "insightface"}
    save_recogniser(tmp_path / "own", net, config)
    torch.testing.assert_close(load_embedder(tmp_path / "own")(images), net(images * 2 - 1))


def test_a_head_of_another_image_size_is_refused(tmp_path: Path) -> None:
    state = VitFace(**SMALL).state_dict()
    torch.save(state | {"pos_embed": torch.zeros(1, 16, 16)}, tmp_path / "a.pth")
    with pytest.raises(WrongShapes, match=r"a\.pth does not fit VitFace at feature\.0\.weight"):
        load_embedder(tmp_path / "a.pth")
    torch.save({key: value for key, value in state.items() if key != "pos_embed"}, tmp_path / "a.pth")
    with pytest.raises(WrongKeys, match="damaged or unfamiliar recogniser"):
        load_embedder(tmp_path / "a.pth")


def test_gradients_reach_the_images_of_a_frozen_one() -> None:
    embedder = Embedder(settled(VitFace(**SMALL)), input_size=30, embedding=6).frozen()
    images = torch.rand(2, 3, 30, 30, requires_grad=True)
    embedder(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad[:, :, :27, :27].abs().min() > 0
    assert not any(parameter.requires_grad for parameter in embedder.parameters())
