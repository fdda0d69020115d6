"""Where the time of the masked autoencoders goes: processor time by kind of operation, forward pass and training step.

    OMP_NUM_THREADS=1 python benchmarks/profile_model.py results

Writes profile-cpu.json and profile-cpu.md. One batch that is in memory, pixel loss, autocast as `pretrain` has it. A
share is self time of one kind of operation over all self time, as torch's profiler counts it; the profiler's own cost,
which falls on small operations most, is in it.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from facemae.cli.reproduce import command_line
from facemae.nn.mae import build_mae, pixel_loss
from facemae.report.markdown import table
from facemae.report.tables import Grid
from facemae.spec.manifest import write_json
from facemae.train.hardware import hardware
from facemae.train.optim import decay_groups
from facemae.train.precision import autocast, resolve

CPU = torch.device("cpu")
SEED, ROUNDS = 0, 5
MODELS = {"tiny": (112, 8, 64), "small": (112, 8, 64), "base": (224, 16, 8)}
"""Pixels, patch and batch of each size."""

KINDS = {
    "matrix products": ("mm", "linear", "matmul", "mkldnn"),
    "softmax": ("softmax",),
    "GELU": ("gelu",),
    "layer normalisation": ("layer_norm",),
    "casts and copies": ("copy", "clone", "cat", "contiguous", "_to_copy", "index", "gather", "scatter", "stack"),
    "sums, products and other element-wise work": ("add", "mul", "div", "sub", "sum", "mean", "pow", "fill", "zero"),
    "AdamW": ("adam",),
}


def kind_of(name: str) -> str:
    """The kind whose words occur in an operation's name; the first that fits."""
    lower = name.lower().removeprefix("aten::")
    order = ("AdamW", "softmax", "GELU", "layer normalisation", "matrix products")
    for kind in (*order, *(kind for kind in KINDS if kind not in order)):
        if any(word in lower for word in KINDS[kind]):
            return kind
    return "everything else"


def shares(run: Any) -> dict[str, float]:
    """Self time by kind over all self time."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(ROUNDS):
            run()
    found: dict[str, float] = dict.fromkeys((*KINDS, "everything else"), 0.0)
    for event in profiler.key_averages():
        found[kind_of(event.key)] += event.self_cpu_time_total
    total = sum(found.values())
    return {kind: value / total for kind, value in found.items() if value > 0}


def measured(name: str) -> dict[str, dict[str, float]]:
    """The forward pass as `reconstruct` runs it, and a step as `pretrain` does."""
    pixels, patch, batch = MODELS[name]
    torch.manual_seed(SEED)
    model = build_mae(name, image_size=pixels, patch_size=patch)
    cells, width = model.grid**2, 3 * patch**2
    ids = torch.stack([torch.randperm(cells)[: cells // 4].sort().values for _ in range(batch)])
    visible, target = torch.rand(batch, cells // 4, width), torch.rand(batch, cells, width)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=1e-4, betas=(0.9, 0.95), fused=True)

    @torch.no_grad()
    def forward() -> None:
        with autocast("auto", CPU):
            model(visible, ids)

    def step() -> None:
        with autocast("auto", CPU):
            prediction = model.decode(model.encode(visible, ids), ids)
        loss = pixel_loss(prediction.float(), target, ids, on="all")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return {"forward": shares(forward), "training step": shares(step)}


def main(out: Path) -> None:
    """Profile every model and write both files."""
    found = {name: measured(name) for name in MODELS}
    columns = [(name, part) for name in found for part in found[name]]
    kinds = [kind for kind in (*KINDS, "everything else") if any(kind in found[n][p] for n, p in columns)]
    rows = tuple((kind, *(f"{found[n][p].get(kind, 0):.0%}" for n, p in columns)) for kind in kinds)
    grid = Grid("Share of processor time", ("Kind", *(f"{n}, {p}" for n, p in columns)), rows)
    content = {
        "schema": 1,
        "command": command_line(sys.argv[1:]).replace("facemae", "python benchmarks/profile_model.py", 1),
        "seed": SEED,
        "dtype": resolve("auto", CPU),
        "threads": torch.get_num_threads(),
        "hardware": hardware(),
        "models": MODELS,
        "shares": found,
    }
    write_json(out / "profile-cpu.json", content)
    text = f"# Where the time of the models goes\n\nPixels, patch and batch: {MODELS}.\n\n{table(grid)}\n"
    (out / "profile-cpu.md").write_text(text + f"\nMade by `{content['command']}`.\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
