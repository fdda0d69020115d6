"""Attackers: one file each, all fitted on what they may own and on public people only.

`Released` is what is attacked, `Owned` what an attacker has, `Fitted.probes` and `Fitted.gallery` the two sides that
every measure takes. Whether a photo trained the model itself is another question, asked by `membership_scores`.
"""

from facemae.attacks.attacker import Attacker, Fitted, Judge, Owned, Process, Released, View, unit_rows
from facemae.attacks.cross_matcher import CrossMatcher
from facemae.attacks.imitator import Imitator
from facemae.attacks.inverter import Inverter
from facemae.attacks.model_membership import Attacked, MembershipScores, membership_scores
from facemae.attacks.parrot import Parrot
from facemae.attacks.pixels import Pixels
from facemae.attacks.public import Selection
from facemae.attacks.retrieval import Retrieval
from facemae.attacks.template import Template
from facemae.attacks.vectors import judge_of
from facemae.attacks.visible import Visible

__all__ = [
    "Attacked",
    "Attacker",
    "CrossMatcher",
    "Fitted",
    "Imitator",
    "Inverter",
    "Judge",
    "MembershipScores",
    "Owned",
    "Parrot",
    "Pixels",
    "Process",
    "Released",
    "Retrieval",
    "Selection",
    "Template",
    "View",
    "Visible",
    "judge_of",
    "membership_scores",
    "unit_rows",
]
