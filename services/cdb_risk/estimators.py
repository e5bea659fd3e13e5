"""Volatility and average true range of one instrument, folded from closed minutes.

A minute closes with the first good market data of a later one, or with the clock. The first five silent minutes in a
row repeat the last close; longer silence is left out: what the price did over it then counts as one return and as part
of the next true range, which asks for less rather than for more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from math import isqrt  # deterministic: of whole numbers
from typing import Final

from services.cdb_risk.market import outside_collar, plausible_price
from services.cdb_risk.settings import RiskSettings
from services.common.decimals import ZERO, divide, quantise
from services.common.events import MarketData
from services.common.fixed_point import change_e12, from_e12
from services.common.warmup import WarmupBar

__all__ = ["LEAST_RETURNS", "AverageTrueRange", "Estimate", "Estimator", "ReturnWindow"]

LEAST_RETURNS: Final = 240
"""One-minute returns that a volatility needs."""

_MINUTES_PER_YEAR: Final = 525_600
_FILLED_SILENCE_MIN: Final = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sizing method is told of an estimated number.

    Attributes:
        value: None while it is not known.
        seen, needed: how many observations there are, and how many it takes to know.
        of_what: the observations, in words.
    """

    value: Decimal | None
    seen: int
    needed: int
    of_what: str


@dataclass(slots=True)
class ReturnWindow:
    """Squared one-minute returns of the last W minutes, in units of 10^-24; whole numbers, so the sum never drifts."""

    close: Decimal | None = None
    squares: deque[int] = field(default_factory=deque)
    square_sum: int = 0

    def push(self, close: Decimal, window: int) -> None:
        """Take the close of one more minute (quote currency, above 0)."""
        if self.close is not None:
            square = change_e12(close, self.close) ** 2
            self.squares.append(square)
            self.square_sum += square
        self.close = close
        while len(self.squares) > window:
            self.square_sum -= self.squares.popleft()

    def restart(self) -> None:
        """Forget everything: what is known is older than the window."""
        self.close, self.square_sum = None, 0
        self.squares.clear()

    def annualised(self) -> Estimate:
        """Return s * sqrt(525600) as a fraction, cut to 12 decimals, with s^2 the mean of the squared returns."""
        count = len(self.squares)
        known = count >= LEAST_RETURNS
        value = from_e12(isqrt(self.square_sum * _MINUTES_PER_YEAR // count)) if known else None
        return Estimate(value, count, LEAST_RETURNS, "one-minute returns")


@dataclass(slots=True)
class AverageTrueRange:
    """Wilder's average true range over bars of some minutes.

    The first value is the mean of the first n true ranges; then ATR = (ATR * (n - 1) + TR) / n (Wilder, New Concepts
    in Technical Trading Systems, 1978). A first bar whose beginning was not seen would understate its range: it only
    gives the close that the next true range refers to.

    Attributes:
        bar_min, period: what it was folded with; other settings begin anew.
        bar: number of the open bar; None when none is open.
        whole: whether the open bar has been seen from its first minute.
        high, low: of the open bar.
        close: of the last minute.
        closed: close of the bar before the open one; None before the first.
        count: true ranges so far, at most `period`.
        total: sum of the first true ranges, until there are `period` of them; then the ATR itself.
    """

    bar_min: int = 0
    period: int = 0
    bar: int | None = None
    whole: bool = False
    high: Decimal = ZERO
    low: Decimal = ZERO
    close: Decimal = ZERO
    closed: Decimal | None = None
    count: int = 0
    total: Decimal = ZERO

    def restart(self, bar_min: int, period: int) -> None:
        """Forget everything and begin with these settings."""
        self.bar_min, self.period = bar_min, period
        self.bar, self.closed, self.count, self.total = None, None, 0, ZERO

    def push(self, minute: int, high: Decimal, low: Decimal, close: Decimal, settings: RiskSettings) -> None:
        """Take one more closed minute."""
        if (self.bar_min, self.period) != (settings.ATR_BAR_MIN, settings.ATR_PERIOD):
            self.restart(settings.ATR_BAR_MIN, settings.ATR_PERIOD)
        bar, place = divmod(minute, self.bar_min)
        if bar != self.bar:
            self._close_bar()
            self.bar, self.whole, self.high, self.low = bar, place == 0, high, low
        else:
            self.high, self.low = max(self.high, high), min(self.low, low)
        self.close = close
        if place == self.bar_min - 1:
            self._close_bar()

    def _close_bar(self) -> None:
        if self.bar is None:
            return
        before, self.closed, self.bar = self.closed, self.close, None
        if before is None and not self.whole:
            return
        high, low = (self.high, self.low) if before is None else (max(self.high, before), min(self.low, before))
        true_range = quantise(high - low, 12)
        if self.count == self.period:
            self.total = divide(self.total * (self.period - 1) + true_range, Decimal(self.period))
            return
        self.count, self.total = self.count + 1, self.total + true_range
        if self.count == self.period:
            self.total = divide(self.total, Decimal(self.period))

    def estimate(self, settings: RiskSettings) -> Estimate:
        """Return the ATR in quote currency; unknown when it was folded with other settings."""
        same = (self.bar_min, self.period) == (settings.ATR_BAR_MIN, settings.ATR_PERIOD)
        count = self.count if same else 0
        value = self.total if count == settings.ATR_PERIOD else None
        return Estimate(value, count, settings.ATR_PERIOD, f"bars of {settings.ATR_BAR_MIN} min")


@dataclass(slots=True)
class Estimator:
    """The open minute of one instrument, and what its closed minutes tell.

    Attributes:
        minute: number of the open minute; all before it are closed. 0 before anything was seen.
        observed: whether the open minute has been seen at all.
        high, low: extremes of the open minute, without prices outside the collar.
        price, mid: of the last good market data.
        silent_min: silent minutes in a row before the open one.
    """

    minute: int = 0
    observed: bool = False
    high: Decimal = ZERO
    low: Decimal = ZERO
    price: Decimal = ZERO
    mid: Decimal = ZERO
    silent_min: int = 0
    returns: ReturnWindow = field(default_factory=ReturnWindow)
    true_range: AverageTrueRange = field(default_factory=AverageTrueRange)

    def add(self, event: MarketData, mid: Decimal, minute: int, settings: RiskSettings) -> None:
        """Take good market data (quote within the collar) of a minute that is not before the open one.

        Called for every event: whatever is not needed for each of them waits for the minute's end.
        """
        if not self.observed or minute > self.minute:
            self._begin(minute, mid, settings)
        fields = event.__dict__  # a field of a pydantic model costs three times as much otherwise
        high: Decimal = fields["high"]
        low: Decimal = fields["low"]
        self.price, self.mid = fields["price"], mid
        if high > self.high and not outside_collar(high, mid, settings.PRICE_COLLAR_PCT):
            self.high = high
        if low < self.low and not outside_collar(low, mid, settings.PRICE_COLLAR_PCT):
            self.low = low

    def add_bar(self, bar: WarmupBar, settings: RiskSettings) -> None:
        """Take a closed bar of the exchange; one that is older than the open minute is known already."""
        if bar.minute < self.minute or not (plausible_price(bar.low) and plausible_price(bar.high)):
            return
        self._begin(bar.minute, bar.close, settings)
        self.price, self.high, self.low = bar.close, bar.high, bar.low
        self.close_until(bar.minute + 1, settings)

    def close_until(self, minute: int, settings: RiskSettings) -> None:
        """Close every minute before `minute`."""
        if not self.minute or minute <= self.minute:
            return
        if self.observed:
            self._close(settings)
        while self.minute < minute and self.silent_min < _FILLED_SILENCE_MIN:
            self.high = self.low = self.price
            self._close(settings)
            self.silent_min += 1
        self.silent_min += minute - self.minute
        self.minute = minute

    def _begin(self, minute: int, price: Decimal, settings: RiskSettings) -> None:
        """Open a minute that something has been seen of; its extremes begin at `price`."""
        self.close_until(minute, settings)
        if self.silent_min > settings.VOL_WINDOW_MIN:
            self.returns.restart()
        if self.silent_min > settings.ATR_BAR_MIN * settings.ATR_PERIOD:
            self.true_range.restart(settings.ATR_BAR_MIN, settings.ATR_PERIOD)
        self.minute, self.observed, self.silent_min = max(minute, self.minute), True, 0
        self.high = self.low = self.mid = price

    def _close(self, settings: RiskSettings) -> None:
        """Close the open minute; a last price outside the collar gives way to the mid beside it."""
        if outside_collar(self.price, self.mid, settings.PRICE_COLLAR_PCT):
            self.price = self.mid
        self.returns.push(self.price, settings.VOL_WINDOW_MIN)
        high, low = max(self.high, self.price), min(self.low, self.price)
        self.true_range.push(self.minute, high, low, self.price, settings)
        self.minute, self.observed = self.minute + 1, False
