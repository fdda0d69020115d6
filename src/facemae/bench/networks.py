"""Public tools that compute networks: transformers' ViTMAE, and engines for ONNX graphs. See `peers`."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facemae.bench.counts import embedder_work, mae_work
from facemae.bench.pairs import Contender, Lap
from facemae.bench.peers import Offer, exported, load, offered, onnxruntime_call, openvino_call
from facemae.bench.stages import END_TO_END, embed_lap, loaded, patches, reconstruct_lap, views
from facemae.bench.workspace import Workspace
from facemae.nn.mae import FaceMAE, Size
from facemae.nn.patches import normalize, patchify, unpatchify
from facemae.nn.vitmae_names import Names, to_transformers
from facemae.spec.recipe import EmbedSpec, ReconstructSpec
from facemae.stages.pretrain import load_model
from facemae.train.precision import resolve

EAGER, AUTOCAST, WEIGHTS = (f"transformers, {mode}" for mode in ("fp32 eager", "bf16 autocast", "bf16 weights"))
OWN_VINO = f"{END_TO_END}, OpenVINO engine"
RUNTIME, VINO, VINO_BF16 = "onnxruntime, fp32", "OpenVINO, fp32", "OpenVINO, bf16"


def reconstruct_peers(work: Workspace, size: str) -> list[Offer]:
    """ViTMAE's forward pass, and our own stage on its optional engine."""

    def build() -> list[Contender]:
        lap = reconstruct_lap(work, size, ReconstructSpec(engine="openvino"))
        return [_on_engine(work, lap, mae_work(size).forward)]

    return [*vitmae_forward(work, size), *_own_engine(work, build)]


def embed_peers(work: Workspace, backbone: str) -> list[Offer]:
    """Engines on the graph of our network, and our own stage on its optional engine."""

    def build() -> list[Contender]:
        lap = embed_lap(work, backbone, EmbedSpec(precision="auto", engine="openvino"))
        return [_on_engine(work, lap, embedder_work(backbone).forward)]

    return [*engines(work, backbone), *_own_engine(work, build)]


def vitmae_forward(work: Workspace, size: str) -> list[Offer]:
    """ViTMAE's forward pass with our weights, in eval mode without gradients: eager, under autocast, bf16 weights."""
    names = (EAGER, AUTOCAST, WEIGHTS)

    def build() -> list[Contender]:
        net, operations = load_model(work.model(size)), mae_work(size).forward
        peer, half = (vitmae(net).to(work.device).eval() for _ in range(2))
        models = (peer, peer, half.to(torch.bfloat16))
        pixels, count = _pixels(work, net.size), len(views(work))
        found = []
        for name, model in zip(names, models, strict=True):
            inputs = pixels.to(next(model.parameters()).dtype)
            check = _difference(work, size, model, _context(name, work))

            @torch.no_grad()
            def forward(name: str = name, model: Any = model, inputs: Tensor = inputs) -> Any:
                with _context(name, work):
                    return model(pixel_values=inputs)

            found.append(Contender(name, _dtype(name), work.repeated(forward, count), operations, check))
        return found

    return offered(names, build)


def vitmae_step(work: Workspace, size: str) -> list[Offer]:
    """A training step of ViTMAE from the same weights on pixels that are in memory: forward, backward, AdamW."""
    names = (EAGER, AUTOCAST)

    def build() -> list[Contender]:
        net, batch = load_model(work.model(size)), work.sizes.step_batch(size)
        model = vitmae(net).to(work.device)
        checks = [_difference(work, size, model.eval(), _context(name, work)) for name in names]
        model.train()
        pixels = _pixels(work, net.size)
        pixels = pixels.repeat(-(-batch // len(pixels)), 1, 1, 1)[:batch]
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05)

        def step(name: str) -> None:
            with _context(name, work):
                loss = model(pixel_values=pixels).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        def contender(name: str, check: str) -> Contender:
            return Contender(name, _dtype(name), work.repeated(lambda: step(name), batch), mae_work(size).step, check)

        return [contender(name, check) for name, check in zip(names, checks, strict=True)]

    return offered(names, build)


def engines(work: Workspace, backbone: str) -> list[Offer]:
    """onnxruntime and OpenVINO on the graph of our network, one chunk and its mirror image; on processors only."""
    if work.device.type != "cpu":
        return []
    threads = torch.get_num_threads()

    def contender(name: str) -> list[Contender]:
        load("onnx")
        pixels, embedder = views(work).cpu().contiguous(), loaded(work, backbone)
        # Normalised outside of the clock and of the graph, as in the public files: ours does it inside of both.
        inputs = ((pixels - embedder.mean) / embedder.deviation).contiguous()
        graph = _graph(work, backbone, inputs)
        if name == RUNTIME:
            call = onnxruntime_call(graph, threads)
        else:
            call = openvino_call(graph, threads, "f32" if name == VINO else "bf16")
        images, mirrored = (np.ascontiguousarray(part.numpy()) for part in (inputs, inputs.flip(3)))
        check = _smallest_cosine(call(images), embedder, pixels)
        lap = work.repeated(lambda: (call(images), call(mirrored)), 2 * len(pixels))
        return [Contender(name, _dtype(name), lap, embedder_work(backbone).forward, check)]

    return [offer for name in (RUNTIME, VINO, VINO_BF16) for offer in offered((name,), partial(contender, name))]


def _own_engine(work: Workspace, build: Callable[[], list[Contender]]) -> list[Offer]:
    return offered((OWN_VINO,), build) if work.device.type == "cpu" else []


def _on_engine(work: Workspace, lap: Callable[[], Lap], operations: int) -> Contender:
    lap()  # what the engine cannot do on this machine shows now, not in the middle of a race
    return Contender(OWN_VINO, resolve("auto", work.device), lap, operations)


def vitmae(net: FaceMAE) -> Any:
    """transformers' ViTMAE with the geometry and the weights of ``net``, 75 % masked."""
    transformers = load("transformers")
    size = net.size
    config = transformers.ViTMAEConfig(
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        image_size=size.image_size,
        patch_size=size.patch_size,
        decoder_hidden_size=size.decoder_width,
        decoder_num_hidden_layers=size.decoder_depth,
        decoder_num_attention_heads=size.decoder_heads,
        decoder_intermediate_size=4 * size.decoder_width,
        layer_norm_eps=1e-6,
        mask_ratio=0.75,
    )
    peer = transformers.ViTMAEForPreTraining(config)
    names: Names = "transformers5" if any(".q_proj." in key for key in peer.state_dict()) else "transformers4"
    peer.load_state_dict(to_transformers(net.state_dict(), names=names), strict=True)
    return peer


def _pixels(work: Workspace, size: Size) -> Tensor:
    """A chunk of photos, as ViTMAE's image processor leaves them."""
    images = torch.nn.functional.interpolate(views(work), (size.image_size, size.image_size), mode="bilinear")
    return unpatchify(normalize(patchify(images, patch_size=size.patch_size)), patch_size=size.patch_size)


@torch.no_grad()
def _difference(work: Workspace, size: str, peer: Any, context: AbstractContextManager[object]) -> str:
    """The peer's prediction beside our own in float32, of the same visible patches, in deviations of the pixels."""
    net, visible, ids = patches(work, size)
    visible, ids = visible[:2], ids[:2]
    cut = torch.zeros(2, net.grid**2, visible.shape[2], device=work.device)
    cut[torch.arange(2)[:, None], ids] = normalize(visible)
    noise = torch.ones(2, net.grid**2, device=work.device)
    # The smallest noise is kept, in ascending order of it: our positions in our order.
    noise[torch.arange(2)[:, None], ids] = torch.linspace(0, 0.5, ids.shape[1], device=work.device)
    pixels = unpatchify(cut, patch_size=net.patch_size).to(next(peer.parameters()).dtype)
    with context:
        theirs = peer(pixel_values=pixels, noise=noise).logits.float()
    ours = normalize(net.decode(net.encode(visible, ids), ids))
    return f"largest difference to ours in fp32 {(theirs - ours).abs().max():.0e}"


def _smallest_cosine(vectors: np.ndarray, embedder: torch.nn.Module, pixels: Tensor) -> str:
    with torch.no_grad():
        ours = embedder(pixels)
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(np.asarray(vectors, np.float32)), ours)
    return f"smallest cosine to ours in fp32 {cosine.min():.5f}"


def _graph(work: Workspace, backbone: str, inputs: Tensor) -> str:
    path = work.root / f"{backbone}.onnx"
    if path.exists():
        return str(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package calls itself old
        return exported(loaded(work, backbone).frozen().body, inputs, path)


def _context(name: str, work: Workspace) -> AbstractContextManager[object]:
    return torch.autocast(work.device.type, dtype=torch.bfloat16) if name == AUTOCAST else nullcontext()


def _dtype(name: str) -> str:
    return "bf16" if "bf16" in name else "fp32"
