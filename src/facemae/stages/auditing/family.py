"""Everything that one audit found, its p-values taken over all attackers and measures of one question together.

Three questions are asked: who is behind a picture of the release (retrieval, templates, pairs), who is in it at all
(the open set), and whose photos the model was trained on. Each is a family of its own: an attacker more against the
pictures should not hide what the model gives away, nor the other way round.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from facemae.measure import Linking, Membership, Statistics, Templates, Unlinkability, family_wise
from facemae.stages.auditing.scene import Finding

Head = dict[str, str]
"""attack, embedder and, where it matters, same_photo: whose number it is."""


@dataclass
class Found:
    """What was measured, each list in the order in which it was asked for."""

    attacks: list[Finding] = field(default_factory=list)
    linking: list[tuple[Head, Linking]] = field(default_factory=list)
    unlinkability: list[tuple[Head, Unlinkability]] = field(default_factory=list)
    templates: list[tuple[Head, Templates]] = field(default_factory=list)
    membership: list[tuple[Head, Membership]] = field(default_factory=list)

    def adjusted(self) -> "Found":
        """The same with p-values for all tests: by the maximum of each question's, times the questions asked."""
        families = dict(self._identities()), dict(self._strangers()), dict(self._training())
        p = {name: iter(values.tolist()) for name, values in family_wise(*families).items()}
        return Found(
            [_leakage(each, p[f"attack {i}"], p.get(f"open set {i}")) for i, each in enumerate(self.attacks)],
            [(head, _linking(each, p[f"linking {i}"])) for i, (head, each) in enumerate(self.linking)],
            [
                (head, replace(each, p_value=next(p[f"unlinkability {i}"])))
                for i, (head, each) in enumerate(self.unlinkability)
            ],
            [(head, _templates(each, p[f"templates {i}"])) for i, (head, each) in enumerate(self.templates)],
            [(head, _membership(each, p[f"membership {i}"])) for i, (head, each) in enumerate(self.membership)],
        )

    def sections(self) -> dict[str, Any]:
        """The sections of `audit.json` that hold numbers of attacks."""
        told = {name: getattr(self, name) for name in ("linking", "unlinkability", "templates", "membership")}
        rows = {name: [head | each.to_dict() for head, each in found] for name, found in told.items()}
        return {"attacks": [finding.to_dict() for finding in self.attacks]} | rows

    def _identities(self) -> Iterator[tuple[str, Statistics]]:
        for i, finding in enumerate(self.attacks):
            yield f"attack {i}", Statistics(finding.leakage.observed, finding.leakage.permuted)
        for name in ("linking", "unlinkability", "templates"):
            for i, (_, each) in enumerate(getattr(self, name)):
                yield f"{name} {i}", Statistics(each.observed, each.permuted)

    def _strangers(self) -> Iterator[tuple[str, Statistics]]:
        for i, finding in enumerate(self.attacks):
            if finding.open_set is not None and len(finding.open_set.tests.observed):
                yield f"open set {i}", finding.open_set.tests

    def _training(self) -> Iterator[tuple[str, Statistics]]:
        for i, (_, each) in enumerate(self.membership):
            yield f"membership {i}", Statistics(each.observed, each.permuted)


def _leakage(finding: Finding, p: Iterator[float], strangers: Iterator[float] | None) -> Finding:
    at = tuple(replace(point, p_value=next(p)) for point in finding.leakage.at)
    open_set = finding.open_set.adjusted(list(strangers)) if finding.open_set and strangers else finding.open_set
    return replace(finding, leakage=replace(finding.leakage, at=at), open_set=open_set)


def _linking(found: Linking, p: Iterator[float]) -> Linking:
    eer = next(p)
    tar = tuple(point if point.rate is None else replace(point, p_value=next(p)) for point in found.tar)
    return replace(found, eer_p_value=eer, tar=tar)


def _templates(found: Templates, p: Iterator[float]) -> Templates:
    return replace(found, at=tuple(replace(point, p_value=next(p)) for point in found.at))


def _membership(found: Membership, p: Iterator[float]) -> Membership:
    auc = next(p)
    points = tuple(point if point.rate is None else replace(point, p_value=next(p)) for point in found.points)
    last = replace(found.smallest, p_value=next(p)) if found.smallest else None
    return replace(found, auc_p_value=auc, points=points, smallest=last)
