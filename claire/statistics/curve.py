"""Equity, exposure and prices minute by minute."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from decimal import Decimal

from services.common.decimals import ZERO
from services.common.portfolio import Portfolio
from services.common.timestamps import HOUR_US, MINUTE_US

__all__ = ["MinuteCurve"]

LONGEST_PAUSE_US = HOUR_US
"""A longer jump of the clock is a pause between recordings, not time in which anything was traded."""


@dataclass
class MinuteCurve:
    """Samples at the end of every minute with data, after the first at the start.

    While nothing is held the equity does not change, so that its samples are one object: a flat year is small.

    Attributes:
        times: of the samples, microseconds.
        equity: quote currency.
        exposure: sum of |quantity| * mark, quote currency.
        prices: marks by instrument key; a shorter series began later and ends with the others.
        covered_us: time that the clock ran, pauses left out.
        moved: quote currency that came (negative: went) without a trade; no sample counts it, since it is no result.
    """

    times: array[int] = field(default_factory=lambda: array("q"))
    equity: list[Decimal] = field(default_factory=list)
    exposure: list[Decimal] = field(default_factory=list)
    prices: dict[str, array[float]] = field(default_factory=dict)
    covered_us: int = 0
    now: int | None = None
    moved: Decimal = ZERO

    def advance(self, timestamp: int, portfolio: Portfolio | None) -> int:
        """Let the clock run on, before the event of this time is booked; returns the time that passed, without pauses.

        Args:
            timestamp: the new `now`, microseconds; an earlier one changes nothing.
            portfolio: as it is after everything earlier; None while it is not known.
        """
        if self.now is None:
            self.now = timestamp
            return 0
        if timestamp <= self.now:
            return 0
        passed = timestamp - self.now
        if passed > LONGEST_PAUSE_US:
            passed = 0
        if portfolio is not None and timestamp // MINUTE_US > self.now // MINUTE_US:
            self.sample((self.now // MINUTE_US + 1) * MINUTE_US, portfolio)
        self.now = timestamp
        self.covered_us += passed
        return passed

    def sample(self, timestamp: int, portfolio: Portfolio) -> None:
        """Write down what is known at this time; a held position without a mark makes the equity unknown."""
        equity = portfolio.equity
        if equity is None:
            return
        if self.times and self.times[-1] >= timestamp:
            return
        equity -= self.moved
        self.times.append(timestamp)
        same = bool(self.equity) and self.equity[-1] == equity
        self.equity.append(self.equity[-1] if same else equity)
        self.exposure.append(_exposure(portfolio))
        for key, mark in portfolio.marks.items():
            self.prices.setdefault(key, array("d")).append(float(mark.price))

    def ended(self, portfolio: Portfolio | None) -> MinuteCurve:
        """Return a copy that ends with this moment."""
        copied = MinuteCurve(
            self.times[:],
            self.equity[:],
            self.exposure[:],
            {key: series[:] for key, series in self.prices.items()},
            self.covered_us,
            self.now,
            self.moved,
        )
        if portfolio is not None and self.now is not None:
            copied.sample(self.now, portfolio)
        return copied


def _exposure(portfolio: Portfolio) -> Decimal:
    held = [(key, position.quantity) for key, position in portfolio.positions.items() if position.quantity]
    return sum((abs(quantity) * portfolio.marks[key].price for key, quantity in held), ZERO)
