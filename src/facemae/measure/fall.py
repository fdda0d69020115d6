"""How much more one leakage falls than another as the people grow in number (paper, section 4.5)."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from facemae.errors import DataError
from facemae.measure.intervals import Difference

BAND = 2 * 1.959964
"""Standard deviations between the 2.5 and the 97.5 % quantile of a normal distribution."""


MOST = 2.0
"""Two falls, each between −1 and 1, differ by no more."""


class Curve(NamedTuple):
    """One row's leakage among ``few`` people, the mean over ``draws`` of them with its 2.5 to 97.5 % band, and among
    ``many``, all there are, with bootstrap replicates over people."""

    few: int
    many: int
    draws: int
    value: float
    low: float
    high: float
    whole: float
    replicates: Float[np.ndarray, " r"]


def fall_difference(a: Curve, b: Curve, *, level: float = 0.95) -> Difference:
    """(a_n − a_N) − (b_n − b_N), N people in all and n of them drawn, ± t(ν) · √(s_a² + s_b² + people²).

    s² is the variance of a mean over draws: that of single draws, by the width of their band, over E = min(draws, N/n),
    for draws of n among N people are worth no more than N/n independent ones; ν = E − 1. people² is the bootstrap
    variance of a_N − b_N (matched replicates). The parts are taken as independent although both rows have the same
    draws, which can only widen the interval.

    With E below 2 nothing can be said: the interval is ± 2, all that two falls can differ by.

    Raises:
        DataError: rows of other people.
    """
    if (a.few, a.many) != (b.few, b.many) or a.replicates.shape != b.replicates.shape:
        raise DataError("falls of two rows", got=f"{a[:2]} and {b[:2]} people", needed="the same numbers in both")
    draws = min(a.draws, b.draws, a.many / a.few)
    value = (a.value - a.whole) - (b.value - b.whole)
    if draws < 2:
        method = f"{a.draws} draws of {a.few} among {a.many} people say nothing of others"
        return Difference(value, -MOST, MOST, MOST, MOST, None, 1, method)
    drawn = sum(((row.high - row.low) / BAND) ** 2 for row in (a, b)) / draws
    deviation = math.sqrt(drawn + float(np.var(a.replicates - b.replicates, ddof=1)))
    half = float(student.ppf((1 + level) / 2, draws - 1)) * deviation
    method = (
        f"{a.few} against {a.many} people: spread of nested draws worth {draws:.1f}, and paired bootstrap over people; "
        f"t, {level:.0%}"
    )
    return Difference(value, value - half, value + half, half, deviation, None, 1, method)
