import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facemae.nn.vit import Attention, Block, attend


def _by_hand(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bhnm,bhmd->bhnd", (torch.einsum("bhnd,bhmd->bhnm", q, k) / q.shape[-1] ** 0.5).softmax(-1), v)


def test_attention_of_two_tokens_by_hand() -> None:
    # One head of width 1: scores q·k = [[0, ln 3], [0, 0]], so the rows weigh v by (1/4, 3/4) and (1/2, 1/2).
    q = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1)
    k = torch.tensor([0.0, 3.0]).view(1, 1, 2, 1)
    k[0, 0, 1] = k[0, 0, 1].log()
    v = torch.tensor([4.0, 8.0]).view(1, 1, 2, 1)
    assert torch.allclose(attend(q, k, v).flatten(), torch.tensor([7.0, 6.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_paths_of_attention_agree_with_the_formula(dtype: torch.dtype) -> None:
    tensors = [torch.randn(2, 3, 17, 8).to(dtype).requires_grad_() for _ in range(3)]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    weight = torch.randn(2, 3, 17, 8)
    out, expected = attend(*tensors), _by_hand(*exact)
    assert out.dtype == dtype
    (out.float() * weight).sum().backward()
    (expected * weight).sum().backward()
    tolerance = 1e-5 if dtype == torch.float32 else 0.04
    assert (out - expected).abs().max() < tolerance
    for ours, theirs in zip(tensors, exact, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert (ours.grad - theirs.grad).abs().max() < tolerance


def test_block_agrees_with_torchs_own_encoder_layer() -> None:
    block = Block(32, 4)
    peer = nn.TransformerEncoderLayer(
        32, 4, 128, dropout=0.0, activation=F.gelu, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    names = {"attn.qkv.": "self_attn.in_proj_", "attn.proj.": "self_attn.out_proj."}
    names |= {"mlp.fc1.": "linear1.", "mlp.fc2.": "linear2."}
    state = {}
    for key, value in block.state_dict().items():
        head, _, kind = key.rpartition(".")
        state[names.get(f"{head}.", f"{head}.") + kind] = torch.randn_like(value) * 0.2
        value.copy_(state[names.get(f"{head}.", f"{head}.") + kind])
    peer.load_state_dict(state)
    x = torch.randn(2, 9, 32)
    assert torch.allclose(block(x), peer(x), atol=1e-4)


def test_attention_ignores_the_order_of_tokens() -> None:
    layer, x, order = Attention(24, 3), torch.randn(2, 11, 24), torch.randperm(11)
    assert torch.allclose(layer(x)[:, order], layer(x[:, order]), atol=1e-6)
