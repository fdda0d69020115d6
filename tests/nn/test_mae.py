import pytest
import torch

from facemae.bench.networks import vitmae
from facemae.errors import RecipeError
from facemae.nn.mae import SIZES, FaceMAE, build_mae, pixel_loss
from facemae.nn.patches import denormalize, gather_patches, normalize, patchify

SMALL = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 3, "heads": 4}
SMALL |= {"decoder_width": 32, "decoder_depth": 2, "decoder_heads": 2}


@pytest.fixture
def model() -> FaceMAE:
    torch.manual_seed(3)
    return FaceMAE(**SMALL).eval()


def _batch(model: FaceMAE, batch: int = 2, ratio: float = 0.75) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    length = model.grid**2
    images = torch.rand(batch, 3, model.image_size, model.image_size)
    noise = torch.rand(batch, length)
    return images, noise, noise.argsort(dim=1)[:, : int(length * (1 - ratio))]


def _against_transformers(model: FaceMAE, batch: int) -> None:
    pytest.importorskip("transformers")
    with torch.no_grad():
        for parameter in model.parameters():  # zero biases and unit gains would hide a swapped name
            parameter.add_(torch.randn_like(parameter) * 0.02)
    peer = vitmae(model).eval()
    images, noise, ids = _batch(model, batch)
    cut = patchify(images, patch_size=model.patch_size)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    pixels = (images - mean) / std
    with torch.no_grad():
        theirs = peer(pixels, noise=noise)
        ours = model.decode(model.encode(gather_patches(cut, ids), ids), ids)
    # Their logits, in normalised pixels, with the channel last inside a patch.
    assert (normalize(ours) - theirs.logits).abs().max() < 1e-4
    assert pixel_loss(ours, cut, ids).item() == pytest.approx(theirs.loss.item(), abs=1e-5)
    peer.config.norm_pix_loss = True
    with torch.no_grad():
        theirs = peer(pixels, noise=noise)
    assert pixel_loss(ours, cut, ids, norm_pix=True).item() == pytest.approx(theirs.loss.item(), abs=1e-4)


def test_small_agrees_with_transformers(model: FaceMAE) -> None:
    _against_transformers(model, batch=3)


@pytest.mark.slow
def test_base_agrees_with_transformers() -> None:
    _against_transformers(build_mae("base"), batch=1)


@pytest.mark.parametrize(
    ("size", "total", "trainable"),
    [
        ("base", 111_907_840, 111_655_680),
        ("large", 329_541_888, 329_239_296),
        ("huge", 657_074_508, 656_613_964),
    ],
)
def test_parameter_counts_of_the_original(size: str, total: int, trainable: int) -> None:
    with torch.device("meta"):
        model = build_mae(size)
    assert sum(p.numel() for p in model.parameters()) == total
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable


def test_names_and_shapes_of_the_original_base() -> None:
    with torch.device("meta"):
        state = build_mae("base").state_dict()
    decoder = [key for key in state if key.startswith(("mask_token", "decoder_"))]
    assert (len(state), len(state) - len(decoder)) == (254, 150)
    assert sum(v.numel() for k, v in state.items() if k not in decoder) == 85_798_656
    shapes = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 197, 768),
        "mask_token": (1, 1, 512),
        "decoder_pos_embed": (1, 197, 512),
        "patch_embed.proj.weight": (768, 3, 16, 16),
        "blocks.11.attn.qkv.weight": (2304, 768),
        "blocks.0.mlp.fc1.bias": (3072,),
        "decoder_embed.weight": (512, 768),
        "decoder_blocks.7.attn.proj.weight": (512, 512),
        "decoder_norm.weight": (512,),
        "decoder_pred.weight": (768, 512),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


@pytest.mark.parametrize(("size", "limit"), [("tiny", 1.5e6), ("small", 6e6)])
def test_small_sizes_stay_small(size: str, limit: float) -> None:
    with torch.device("meta"):
        model = build_mae(size)
    assert sum(p.numel() for p in model.parameters()) < limit
    assert (model.image_size, model.patch_size, model.grid) == (112, 8, 14)


@pytest.mark.parametrize(("image_size", "patch_size", "grid"), [(224, 16, 14), (112, 8, 14), (64, 8, 8), (56, 4, 14)])
def test_geometries(image_size: int, patch_size: int, grid: int) -> None:
    model = build_mae("tiny", image_size=image_size, patch_size=patch_size)
    _, _, ids = _batch(model, 1)
    out = model(torch.rand(1, ids.shape[1], patch_size**2 * 3), ids)
    assert model.grid == grid
    assert out.shape == (1, 3, image_size, image_size)


def test_order_of_the_visible_rows_does_not_matter(model: FaceMAE) -> None:
    images, _, ids = _batch(model)
    visible = gather_patches(patchify(images, patch_size=8), ids)
    order = torch.randperm(ids.shape[1])
    assert torch.allclose(model(visible, ids), model(visible[:, order], ids[:, order]), atol=1e-6)
    assert not torch.allclose(model(visible, ids), model(visible, ids[:, order.roll(1)]), atol=1e-3)


def test_masked_pixels_change_no_byte(model: FaceMAE) -> None:
    images, _, ids = _batch(model)
    cut = patchify(images, patch_size=8)
    other = torch.rand_like(cut).scatter(1, ids[..., None].expand(-1, -1, 192), gather_patches(cut, ids))
    assert not torch.equal(cut, other)
    assert torch.equal(model(gather_patches(cut, ids), ids), model(gather_patches(other, ids), ids))


def test_every_trainable_parameter_gets_a_gradient_and_positions_none(model: FaceMAE) -> None:
    images, _, ids = _batch(model)
    cut = patchify(images, patch_size=8)
    pixel_loss(patchify(model(gather_patches(cut, ids), ids), patch_size=8), cut, ids).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"pos_embed", "decoder_pos_embed"}


def test_autocast_keeps_pixels_in_fp32_and_close(model: FaceMAE) -> None:
    images, _, ids = _batch(model)
    visible = gather_patches(patchify(images, patch_size=8), ids)
    exact = model(visible, ids)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(visible, ids)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < 0.05


def test_initialisation_of_the_original() -> None:
    torch.manual_seed(0)
    model = build_mae("small")
    weight = model.patch_embed.proj.weight
    bound = (6 / (192 + 192)) ** 0.5
    assert bound * 0.99 < weight.abs().max().item() <= bound
    bound = (6 / (192 + 576)) ** 0.5
    assert bound * 0.99 < model.blocks[0].attn.qkv.weight.abs().max().item() <= bound
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("mlp.fc1.bias"))
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.25)
    assert model.mask_token.std().item() == pytest.approx(0.02, rel=0.25)


def test_pixel_loss_by_hand() -> None:
    # Normalised errors of 1, 2 and 3 in the patches 0, 1 and 2: squares 1, 4 and 9; patch 1 is visible.
    target = torch.full((1, 3, 12), 0.5)
    prediction = denormalize(normalize(target) + torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1))
    ids = torch.tensor([[1]])
    assert pixel_loss(prediction, target, ids, on="all").item() == pytest.approx(14 / 3, rel=1e-5)
    assert pixel_loss(prediction, target, ids, on="masked").item() == pytest.approx(5.0, rel=1e-5)
    assert pixel_loss(prediction, target, torch.tensor([[0, 1, 2]])).item() == 0


def test_norm_pix_by_hand() -> None:
    # A target patch of normalised values 1 and 3, six each: mean 2, unbiased variance 12/11; a zero prediction
    # leaves the squares 1/(12/11 + 1e-6).
    target = denormalize(torch.tensor([1.0, 3.0]).repeat(6).view(1, 1, 12).expand(1, 2, 12))
    prediction = denormalize(torch.zeros(1, 2, 12))
    loss = pixel_loss(prediction, target, torch.tensor([[0]]), norm_pix=True)
    assert loss.item() == pytest.approx(11 / 12, rel=1e-5)


def test_wrong_sizes_are_told_in_one_line() -> None:
    with pytest.raises(RecipeError, match="no such model size: got giant; needed one of tiny, small"):
        build_mae("giant")
    with pytest.raises(RecipeError, match="patches do not tile"):
        build_mae("tiny", image_size=100)
    with pytest.raises(RecipeError, match="decoder's width"):
        FaceMAE(**{**SMALL, "decoder_heads": 5})
    assert set(SIZES) == {"tiny", "small", "base", "large", "huge"}
