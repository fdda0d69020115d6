"""Evidence: arrays in, frozen results out. No models, no files."""

from facemae.measure.claims import Verdict, verdict
from facemae.measure.control import Control, Statistics, chance, max_statistic
from facemae.measure.fall import Curve, fall_difference
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
from facemae.measure.linking import LinkAtFar, Linking, linking
from facemae.measure.membership import Membership, MembershipPoint, calibrated, membership
from facemae.measure.openset import OpenSet, OpenSetPoint, nonmember_control
from facemae.measure.pairs import PairScores, pair_scores
from facemae.measure.rates import Rate, measurable, smallest_measurable
from facemae.measure.retrieval import FLOAT32, Product, best_mates, count_ahead, topk
from facemae.measure.templates import TemplatePoint, Templates, template_leakage
from facemae.measure.unlinkability import LinkabilityAt, Unlinkability, d_sys, unlinkability
from facemae.measure.verification import TarAtFar, Verification, accuracy_replicates, flip_sum, ten_fold, xnorm
from facemae.measure.worst import Outcome, Worst, family_wise, worst_case

__all__ = [
    "FLOAT32",
    "Control",
    "Curve",
    "CurvePoint",
    "Difference",
    "HalfRate",
    "Leakage",
    "LeakageAtK",
    "LinkAtFar",
    "LinkabilityAt",
    "Linking",
    "Membership",
    "MembershipPoint",
    "OpenSet",
    "OpenSetPoint",
    "Outcome",
    "PairScores",
    "PeopleTally",
    "Product",
    "Rate",
    "Ratio",
    "Statistics",
    "TarAtFar",
    "TemplatePoint",
    "Templates",
    "Unlinkability",
    "Verdict",
    "Verification",
    "Worst",
    "accuracy_replicates",
    "best_mates",
    "bootstrap_weights",
    "calibrated",
    "chance",
    "cluster_bootstrap",
    "count_ahead",
    "d_sys",
    "fall_difference",
    "family_wise",
    "first_half",
    "flip_sum",
    "leakage",
    "linking",
    "max_statistic",
    "mean_over_seeds",
    "measurable",
    "membership",
    "nonmember_control",
    "pair_scores",
    "paired_difference",
    "paired_ratio",
    "smallest_measurable",
    "template_leakage",
    "ten_fold",
    "topk",
    "unlinkability",
    "verdict",
    "wilson",
    "worst_case",
    "xnorm",
]
