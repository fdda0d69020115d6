"""The one number of an audit: its worst attack, chosen on one half of the people and told on the other."""

from collections.abc import Sequence
from typing import Any

from facemae.measure import worst_case
from facemae.spec.results import EVERYBODY, SHOWN_K, UNPROTECTED
from facemae.stages.auditing.scene import Finding


def headline(findings: Sequence[Finding], same_photo: str, *, protected: bool = True) -> dict[str, Any] | None:
    """The attack and judge that find most beyond chance, at K = 2 or the smallest K; None where none was asked.

    Among attacks on the release with this ``same_photo``, by everybody. A hit is a right answer among K: an image of
    the person, or, where all images of a person are taken together, that person's group. ``verdict`` is that of the
    attack on everybody, family-wise over the audit. Where nothing is ``protected``, the originals are the release.
    """
    asked = [
        (finding, _shown(finding))
        for finding in findings
        if (finding.subset, finding.same_photo) == (EVERYBODY, same_photo)
        and not (protected and finding.attack == UNPROTECTED)
    ]
    at = [finding.leakage.at[column] for finding, column in asked]
    worst = worst_case({str(i): point.halves for i, point in enumerate(at)})
    if worst is None:
        return None
    (finding, _), point = asked[int(worst.name)], at[int(worst.name)]
    head = {name: getattr(finding, name) for name in ("attack", "embedder", "same_photo")}
    head |= {"k": point.k, "measure": f"top{point.k}", "identities": point.identities}
    return head | worst.told.to_dict() | {"verdict": point.verdict, "p_value": point.p_value, "attacks": worst.attacks}


def _shown(finding: Finding) -> int:
    ks = [at.k for at in finding.leakage.at]
    return ks.index(SHOWN_K if SHOWN_K in ks else min(ks))
