"""The figures that the project set itself, and whether a run reached them. Computed from the laps, never by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from facemae.bench.networks import AUTOCAST, EAGER, RUNTIME, VINO_BF16
from facemae.bench.pairs import Basis, Lap, Spread, ahead
from facemae.bench.peers import FAISS
from facemae.bench.result import Peak, Reached, Row
from facemae.bench.stages import END_TO_END, FORWARD, FULL_PRODUCT, embedded


@dataclass(frozen=True)
class Found:
    """What a run measured: laps by group and contender, the rows made of them, and the peaks."""

    basis: Basis
    laps: Mapping[str, Mapping[str, Sequence[Lap]]]
    rows: Sequence[Row]
    memory: Sequence[Peak]


@dataclass(frozen=True)
class Target:
    """One figure: what is wanted at least (or at most), and where to find it."""

    goal: str
    wanted: float
    find: Callable[[Found], Spread | None]
    at_most: bool = False

    def judge(self, found: Found) -> Reached:
        """Met or not by the median; None where it was not measured."""
        measured = self.find(found)
        met = None
        if measured is not None:
            met = measured.median <= self.wanted if self.at_most else measured.median >= self.wanted
        return Reached(self.goal, self.wanted, self.at_most, measured, met)


def ratio(group: str, ours: str, peer: str) -> Callable[[Found], Spread | None]:
    """How many times as fast as ``peer`` the contender ``ours`` is."""

    def find(found: Found) -> Spread | None:
        laps = found.laps.get(group, {})
        return ahead(laps[ours], laps[peer], found.basis) if {ours, peer} <= laps.keys() else None

    return find


def share_of(group: str, name: str, dtype: str | None = None) -> Callable[[Found], Spread | None]:
    """The share of the matrix rate; only where the contender computed in ``dtype``, if one is named."""

    def find(found: Found) -> Spread | None:
        rows = (row for row in found.rows if (row.group, row.name) == (group, name) and dtype in (None, row.dtype))
        row = next(rows, None)
        return row.of_matrix_rate if row else None

    return find


def growth(stage: str) -> Callable[[Found], Spread | None]:
    """The peak at the larger number of records over that at the smaller."""

    def find(found: Found) -> Spread | None:
        peak = next((peak for peak in found.memory if peak.stage == stage), None)
        return Spread.of([peak.growth]) if peak else None

    return find


def processor_targets() -> list[Target]:
    """What is wanted on a processor."""
    base, bf16 = "reconstruct base", "bf16"
    targets = [
        Target("reconstruct base end to end / transformers' fp32 forward", 4.5, ratio(base, END_TO_END, EAGER)),
        Target("reconstruct base end to end / transformers' bf16 forward", 1.8, ratio(base, END_TO_END, AUTOCAST)),
        Target("reconstruct base end to end / our own forward alone", 0.9, ratio(base, END_TO_END, FORWARD)),
        Target("pretrain base, pixels / transformers' fp32 step", 4.0, ratio("pretrain base", END_TO_END, EAGER)),
        Target("pretrain base, pixels / transformers' bf16 step", 1.5, ratio("pretrain base", END_TO_END, AUTOCAST)),
    ]
    for size in ("small", "tiny"):
        goal = f"of the bf16 matrix rate: {size}"
        targets += [
            Target(f"{goal}, forward", 0.4, share_of(f"reconstruct {size}", FORWARD, bf16)),
            Target(f"{goal}, training step", 0.3, share_of(f"pretrain {size}", END_TO_END, bf16)),
        ]
    large, mbf = "embed iresnet50", "embed mbf"
    half, full = embedded(bf16), embedded("fp32")
    return [
        *targets,
        Target(
            "of the bf16 matrix rate: FaceMAE step, base under IResNet-50",
            0.45,
            share_of("pretrain base with iresnet50", END_TO_END, bf16),
        ),
        Target("embed IResNet-50 in bf16 / onnxruntime fp32", 4.0, ratio(large, half, RUNTIME)),
        Target("embed IResNet-50 in bf16 / OpenVINO bf16", round(1 / 1.3, 3), ratio(large, half, VINO_BF16)),
        Target("embed MobileFaceNet in fp32 / onnxruntime fp32", 1.0, ratio(mbf, full, RUNTIME)),
        Target("embed MobileFaceNet in bf16 / onnxruntime fp32", 1.0, ratio(mbf, half, RUNTIME)),
        Target("of the fp32 matrix rate: exact top-4 by float32 products", 0.6, share_of("exact top-4", FULL_PRODUCT)),
        Target("exact top-4 / faiss IndexFlatIP", 1.5, ratio("exact top-4", END_TO_END, FAISS)),
    ]


def accelerator_targets() -> list[Target]:
    """What is wanted on an H200, with the input pipeline running."""
    return [
        Target(
            "of the bf16 matrix rate: FaceMAE step, base under IResNet-50, batch 256",
            0.4,
            share_of("pretrain base with iresnet50", END_TO_END, "bf16"),
        ),
        Target("of the bf16 matrix rate: reconstruct base", 0.5, share_of("reconstruct base", END_TO_END, "bf16")),
    ]


def memory_targets(stages: Sequence[str], *, allowed: float = 1.1) -> list[Target]:
    """Peaks that do not follow the number of records; a tenth more is what allocators and page caches vary by."""
    return [
        Target(f"peak memory at the larger number of records / at the smaller: {stage}", allowed, growth(stage), True)
        for stage in stages
    ]
