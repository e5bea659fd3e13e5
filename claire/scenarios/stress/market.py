"""Transforms of what the market says: its level, its spread, its funding."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from claire.scenarios.stress.base import Minutes, Row, Transform
from services.cdb_ws.merging import Source
from services.cdb_ws.observation import Observation
from services.common.decimals import divide, quantise
from services.common.portfolio import mid_price
from services.common.settings import Fraction
from services.common.timestamps import MINUTE_US

__all__ = ["Crash", "Funding", "Spread"]

MORE_PLACES: Final = 4
"""Decimals beyond the recorded ones, so that a spread survives when the level falls."""


class Crash(Transform):
    """The market falls and comes back, in straight lines, with its quotes and marks.

    Attributes:
        drop_pct: how deep, as a share of the level: 0.15 is 15 %.
        minutes: how long it falls.
        recovery_minutes: how long it then rises.
        recovery_pct: the share of the fall that it makes good; what is left stays.
    """

    name: ClassVar[str] = "crash"

    drop_pct: Annotated[Fraction, Field(gt=0, lt=1)]
    minutes: Minutes = Decimal(10)
    recovery_minutes: Minutes = Decimal(60)
    recovery_pct: Fraction = Decimal("0.5")

    def __call__(self, source: Source) -> Source:
        """Return the stream with its prices multiplied."""
        market = self.model_copy(update={"minutes": None}).acts()
        for row in source:
            yield _scaled(row, self.factor(row.timestamp_us)) if row in market else row

    def factor(self, timestamp_us: int) -> Decimal:
        """Return what prices are multiplied by at a feed time."""
        fall_us, rise_us = int(self.minutes * MINUTE_US), int(self.recovery_minutes * MINUTE_US)
        since_us = timestamp_us - self.begin_us
        if since_us <= 0:
            return Decimal(1)
        if since_us < fall_us:
            return 1 - self.drop_pct * divide(Decimal(since_us), Decimal(fall_us))
        risen = divide(Decimal(min(since_us - fall_us, rise_us)), Decimal(rise_us))
        return 1 - self.drop_pct * (1 - self.recovery_pct * risen)


def _scaled(row: Row, factor: Decimal) -> Row:
    assert isinstance(row, Observation)

    def times(price: Decimal) -> Decimal:
        return _priced(price * factor, price)

    return replace(
        row,
        price=times(row.price),
        high=times(row.high),
        low=times(row.low),
        bid=None if row.bid is None else times(row.bid),
        ask=None if row.ask is None else times(row.ask),
        mark_price=None if row.mark_price is None else times(row.mark_price),
        synthetic=True,
    )


def _priced(price: Decimal, like: Decimal) -> Decimal:
    exponent = like.as_tuple().exponent
    assert isinstance(exponent, int), "a price is finite"
    return quantise(price, min(max(-exponent, 0) + MORE_PLACES, 18))


class Spread(Transform):
    """Bid and ask move apart around their mid; a spread never becomes narrower than it was.

    Attributes:
        factor: the spread is multiplied by it, or
        to_bps: it is at least so many basis points of the mid.
    """

    name: ClassVar[str] = "spread"

    factor: Annotated[Decimal, Field(ge=1, le=100_000, allow_inf_nan=False)] | None = None
    to_bps: Annotated[Decimal, Field(gt=0, lt=20_000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.factor is None) == (self.to_bps is None):
            raise ValueError("either factor (times the recorded spread) or to_bps (of the mid) is meant")
        return self

    def __call__(self, source: Source) -> Source:
        """Return the stream with its quotes widened."""
        market = self.acts()
        for row in source:
            yield self._widened(row) if row in market else row

    def _widened(self, row: Row) -> Row:
        assert isinstance(row, Observation)
        if row.bid is None or row.ask is None or row.ask < row.bid:
            return row
        mid, half = mid_price(row.bid, row.ask), divide(row.ask - row.bid, Decimal(2), 18)
        if self.factor is not None:
            half = half * self.factor
        else:
            assert self.to_bps is not None
            half = max(half, divide(mid * self.to_bps, Decimal(20_000), 18))
        return replace(row, bid=_priced(mid - half, row.bid), ask=_priced(mid + half, row.ask), synthetic=True)


class Funding(Transform):
    """The funding rate of perpetuals is another for a while.

    A recording without rates keeps the last one it was given, so the first row afterwards takes it back.

    Attributes:
        rate: for one settlement; longs pay what is above zero.
        rate_after: what it goes back to where the recording has no rate.
    """

    name: ClassVar[str] = "funding"

    rate: Annotated[Decimal, Field(ge=-1, le=1, allow_inf_nan=False, decimal_places=12)]
    rate_after: Annotated[Decimal, Field(ge=-1, le=1, allow_inf_nan=False, decimal_places=12)] = Decimal("0.0001")

    def __call__(self, source: Source) -> Source:
        """Return the stream with its rates exchanged."""
        market = self.acts()
        recorded: dict[str, Decimal] = {}
        owed: set[str] = set()
        for row in source:
            if isinstance(row, Observation) and row.funding_rate is not None:
                recorded[row.symbol] = row.funding_rate
            if row in market:
                assert isinstance(row, Observation)
                owed.add(row.symbol)
                yield replace(row, funding_rate=self.rate)
            elif isinstance(row, Observation) and row.symbol in owed:
                owed.discard(row.symbol)
                yield replace(row, funding_rate=recorded.get(row.symbol, self.rate_after))
            else:
                yield row
