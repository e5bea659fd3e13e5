"""The formulas on plain floats: returns, ratios and drawdowns. Money never passes through here, only its ratios.

Sums are `math.fsum`, correctly rounded, so that the order of a platform's additions does not show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import NormalDist

from claire.statistics.definitions import DAYS_PER_YEAR

__all__ = [
    "Drawdown",
    "annual_growth",
    "conditional_value_at_risk",
    "longest_run",
    "max_drawdown",
    "mean",
    "probabilistic_sharpe",
    "quantile",
    "returns",
    "sharpe",
    "sortino",
    "standard_deviation",
    "ulcer_index",
]


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean; values are not empty."""
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1); at least two values."""
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def returns(levels: Sequence[float]) -> list[float]:
    """Return the growth from each level to the next; levels are above zero."""
    return [after / before - 1 for before, after in pairwise(levels)]


def annual_growth(first: float, last: float, days: float) -> float:
    """Return (last / first)^(365 / days) - 1, infinite where that is beyond every number."""
    try:
        return float((last / first) ** (DAYS_PER_YEAR / days)) - 1
    except OverflowError:
        return math.inf


def sharpe(daily: Sequence[float]) -> float | None:
    """Return the annual Sharpe ratio without a riskless rate; None without any variation (Sharpe 1994)."""
    deviation = standard_deviation(daily)
    return mean(daily) / deviation * math.sqrt(DAYS_PER_YEAR) if deviation else None


def sortino(daily: Sequence[float]) -> float | None:
    """Return the annual Sortino ratio with target zero; None without any loss (Sortino & Price 1994)."""
    downside = math.sqrt(math.fsum(min(value, 0.0) ** 2 for value in daily) / len(daily))
    return mean(daily) / downside * math.sqrt(DAYS_PER_YEAR) if downside else None


def probabilistic_sharpe(daily: Sequence[float]) -> float | None:
    """Return the probability that the true Sharpe ratio is above zero; None without any variation.

    PSR(0) of Bailey & López de Prado (2012), "The Sharpe Ratio Efficient Frontier", with the Sharpe ratio of the
    sample (not annual), its skewness g3 and its kurtosis g4 (3 for a normal distribution), both of the population.
    """
    middle = mean(daily)
    second = math.fsum((value - middle) ** 2 for value in daily) / len(daily)
    if not second:
        return None
    skewness = math.fsum((value - middle) ** 3 for value in daily) / len(daily) / second**1.5
    kurtosis = math.fsum((value - middle) ** 4 for value in daily) / len(daily) / second**2
    ratio = middle / standard_deviation(daily)
    spread = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    return NormalDist().cdf(ratio * math.sqrt((len(daily) - 1) / spread)) if spread > 0 else None


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile, linear between order statistics (type 7 of Hyndman & Fan 1996); values are not empty."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def conditional_value_at_risk(values: Sequence[float], share: float) -> float:
    """Return the mean of all values at or below the quantile (Rockafellar & Uryasev 2000)."""
    limit = quantile(values, share)
    return mean([value for value in values if value <= limit])


@dataclass(frozen=True)
class Drawdown:
    """The deepest fall from a peak.

    Attributes:
        depth: a fraction of the peak; 0 when the level never fell.
        peak, trough: positions in the levels.
        recovered: position where the peak was reached again; None when it never was.
    """

    depth: float
    peak: int
    trough: int
    recovered: int | None


def max_drawdown(levels: Sequence[float]) -> Drawdown:
    """Return the deepest drawdown of levels whose first is above zero; the first of equally deep ones."""
    top, top_at = levels[0], 0
    depth, peak, trough = 0.0, 0, 0
    for place, level in enumerate(levels):
        if level >= top:
            top, top_at = level, place
        elif 1 - level / top > depth:
            depth, peak, trough = 1 - level / top, top_at, place
    recovered = None
    if depth:
        recovered = next((place for place in range(trough, len(levels)) if levels[place] >= levels[peak]), None)
    return Drawdown(depth, peak, trough, recovered)


def ulcer_index(levels: Sequence[float]) -> float:
    """Return the root mean square of the drawdowns at all levels (Martin & McCann 1989)."""
    top, squares = levels[0], []
    for level in levels:
        top = max(top, level)
        squares.append((1 - level / top) ** 2)
    return math.sqrt(mean(squares))


def longest_run(outcomes: Sequence[bool], *, wanted: bool) -> int:
    """Return the length of the longest stretch of `wanted`."""
    return max((len(list(group)) for outcome, group in groupby(outcomes) if outcome is wanted), default=0)
