"""Evidence: arrays in, frozen results out. No models, no files."""

from facemae.measure.claims import Verdict, verdict
from facemae.measure.intervals import (
    Difference,
    PeopleTally,
    bootstrap_weights,
    cluster_bootstrap,
    mean_over_seeds,
    paired_difference,
    wilson,
)
from facemae.measure.leakage import (
    Control,
    CurvePoint,
    Leakage,
    LeakageAtK,
    chance,
    leakage,
    max_statistic,
)
from facemae.measure.openset import OpenSet, OpenSetPoint, nonmember_control
from facemae.measure.rates import Rate, measurable, smallest_measurable
from facemae.measure.retrieval import best_mates, count_ahead, topk
from facemae.measure.verification import TarAtFar, Verification, accuracy_replicates, flip_sum, ten_fold, xnorm

__all__ = [
    "Control",
    "CurvePoint",
    "Difference",
    "Leakage",
    "LeakageAtK",
    "OpenSet",
    "OpenSetPoint",
    "PeopleTally",
    "Rate",
    "TarAtFar",
    "Verdict",
    "Verification",
    "accuracy_replicates",
    "best_mates",
    "bootstrap_weights",
    "chance",
    "cluster_bootstrap",
    "count_ahead",
    "flip_sum",
    "leakage",
    "max_statistic",
    "mean_over_seeds",
    "measurable",
    "nonmember_control",
    "paired_difference",
    "smallest_measurable",
    "ten_fold",
    "topk",
    "verdict",
    "wilson",
    "xnorm",
]
