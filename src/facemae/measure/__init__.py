"""Evidence: arrays in, frozen results out. No models, no files."""

from facemae.measure.claims import Verdict, verdict
from facemae.measure.control import Control, chance, max_statistic
from facemae.measure.intervals import (
    Difference,
    PeopleTally,
    Ratio,
    bootstrap_weights,
    cluster_bootstrap,
    mean_over_seeds,
    paired_difference,
    paired_ratio,
    wilson,
)
from facemae.measure.leakage import CurvePoint, HalfRate, Leakage, LeakageAtK, first_half, leakage
from facemae.measure.openset import OpenSet, OpenSetPoint, nonmember_control
from facemae.measure.rates import Rate, measurable, smallest_measurable
from facemae.measure.retrieval import FLOAT32, Product, best_mates, count_ahead, topk
from facemae.measure.verification import TarAtFar, Verification, accuracy_replicates, flip_sum, ten_fold, xnorm

__all__ = [
    "FLOAT32",
    "Control",
    "CurvePoint",
    "Difference",
    "HalfRate",
    "Leakage",
    "LeakageAtK",
    "OpenSet",
    "OpenSetPoint",
    "PeopleTally",
    "Product",
    "Rate",
    "Ratio",
    "TarAtFar",
    "Verdict",
    "Verification",
    "accuracy_replicates",
    "best_mates",
    "bootstrap_weights",
    "chance",
    "cluster_bootstrap",
    "count_ahead",
    "first_half",
    "flip_sum",
    "leakage",
    "max_statistic",
    "mean_over_seeds",
    "measurable",
    "nonmember_control",
    "paired_difference",
    "paired_ratio",
    "smallest_measurable",
    "ten_fold",
    "topk",
    "verdict",
    "wilson",
    "xnorm",
]
