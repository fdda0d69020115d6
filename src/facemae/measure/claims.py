"""Verdicts on the paper's claims."""

from typing import Literal

from facemae.errors import DataError

Verdict = Literal["reproduced", "contradicted", "not resolvable here"]
NO_EFFECT_MARGIN = 0.005


def verdict(
    kind: Literal["greater", "no_effect", "no_gain"], low: float, high: float, *, margin: float = NO_EFFECT_MARGIN
) -> Verdict:
    """What a paired interval [low, high] of a difference (in fractions) says about a claim.

    ``greater`` (the first row exceeds the second): *reproduced* when low > 0, *contradicted* when high < 0.
    ``no_effect``: *reproduced* when the interval lies within ±margin (0.5 points), *contradicted* when it lies
    wholly outside of that. ``no_gain`` (the first row does not exceed the second): *reproduced* when high ≤ margin,
    however much is lost, *contradicted* when low > 0. Everything else is *not resolvable here*. For "less", swap the
    rows.
    """
    if not low <= high:
        raise DataError("an interval is needed", got=f"[{low}, {high}]", needed="low ≤ high, both numbers")
    if kind == "greater":
        below, above, inside = high < 0, False, low > 0
    elif kind == "no_gain":
        below, above, inside = False, low > 0, high <= margin
    else:
        below, above, inside = high < -margin, low > margin, -margin <= low and high <= margin
    if inside:
        return "reproduced"
    return "contradicted" if below or above else "not resolvable here"
