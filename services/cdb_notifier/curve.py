"""Equity over the day, minute by minute: a small ledger that follows risk's own numbers.

The level comes from cdb_risk (start of day, and each decision while nothing is held), so that this curve cannot drift
away from the books; between two of its numbers fills and marks move it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_notifier.message import Point
from services.common.decimals import ZERO, divide
from services.common.events import MarketData, OrderResult
from services.common.instruments import PERPETUAL, instrument_key
from services.common.portfolio import mid_price

__all__ = ["MOST_POINTS", "Curve"]

MOST_POINTS: Final = 320
"""Of a day; when there are more, every second one is left out and the step between two doubles."""
ORDERS_REMEMBERED: Final = 256


@dataclass
class Curve:
    """The ledger and the points of the day.

    Attributes:
        offset: equity less what the fills since then have come to; None while risk has not said any.
        peak: highest equity known, the base of drawdown.
        worst: greatest drawdown of the day, a fraction.
        every: minutes between two points.
        wanted: instruments held whose mark of this minute has not come yet.
    """

    offset: Decimal | None = None
    cash: Decimal = ZERO
    held: dict[str, Decimal] = field(default_factory=dict)
    marks: dict[str, Decimal] = field(default_factory=dict)
    booked: dict[str, Decimal] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    peak: Decimal | None = None
    worst: Decimal = ZERO
    every: int = 1
    wanted: list[str] = field(default_factory=list)

    @property
    def equity(self) -> Decimal | None:
        """Equity now; None while it cannot be known."""
        if self.offset is None or any(key not in self.marks for key in self.held):
            return None
        return self.offset + self.cash + sum((held * self.marks[key] for key, held in self.held.items()), ZERO)

    @property
    def drawdown(self) -> Decimal | None:
        """1 - equity / peak, a fraction; None while it cannot be known."""
        return None if self.equity is None else self._below_peak(self.equity)

    def _below_peak(self, equity: Decimal) -> Decimal | None:
        return None if self.peak is None or self.peak <= 0 else divide(self.peak - equity, self.peak)

    def anchor(self, equity: Decimal | None, at: int) -> None:
        """Take risk's equity for ours: always when ours is unknown, else only while nothing is held (marks differ)."""
        if equity is not None and (self.offset is None or not self.held):
            worth = sum((held * self.marks.get(key, ZERO) for key, held in self.held.items()), ZERO)
            self.offset = equity - self.cash - worth
            self.note(at)

    def begin_day(self, equity: Decimal | None, peak: Decimal | None, at: int) -> None:
        """Begin the day's points with risk's own number."""
        self.points, self.worst, self.every = [], ZERO, 1
        if peak is not None:
            self.peak = peak
        self.anchor(equity, at)
        if equity is not None and not self.points:
            self.points.append(Point(at, equity))

    def mark(self, event: MarketData) -> None:
        """Value what is held; called for wanted instruments alone."""
        key = instrument_key(event.venue, event.symbol)
        if key not in self.wanted:
            return
        price = event.price
        if event.venue == PERPETUAL:
            price = event.mark_price or price
        elif event.bid is not None and event.ask is not None and event.bid < event.ask:
            price = mid_price(event.bid, event.ask)
        self.marks[key] = price
        self.wanted.remove(key)

    def book(self, result: OrderResult) -> Decimal:
        """Book what an order result adds and return its value in quote currency (0: no fill)."""
        quantity = result.filled_quantity - self.booked.get(result.order_id, ZERO)
        if quantity <= 0 or result.last_price is None:
            return ZERO
        self.booked.pop(result.order_id, None)
        self.booked[result.order_id] = result.filled_quantity
        while len(self.booked) > ORDERS_REMEMBERED:
            del self.booked[next(iter(self.booked))]
        key, fee = instrument_key(result.venue, result.symbol), result.fee or ZERO
        signed = quantity if result.side == "BUY" else -quantity
        self.cash -= signed * result.last_price
        if result.fee_currency is not None and result.symbol.startswith(result.fee_currency):
            signed -= fee
        else:
            self.cash -= fee
        held = self.held.get(key, ZERO) + signed
        self.marks[key] = result.last_price
        if held:
            self.held[key] = held
        else:
            self._drop(key)
        return quantity * result.last_price

    def fund(self, amount: Decimal) -> None:
        """Book a funding payment."""
        self.cash += amount

    def liquidated(self, key: str) -> None:
        """Forget a position that is gone: what it cost, risk says with its next number."""
        self._drop(key)
        self.offset = None

    def _drop(self, key: str) -> None:
        self.held.pop(key, None)
        self.marks.pop(key, None)
        if key in self.wanted:
            self.wanted.remove(key)

    def minute(self, at: int, number: int) -> None:
        """Note a point at the beginning of minute `number` (since the epoch), and ask for the next marks."""
        if number % self.every == 0:
            self.note(at)
        self.wanted = list(self.held)

    def note(self, at: int) -> None:
        """Add a point with what is known now."""
        equity = self.equity
        if equity is None:
            return
        if self.peak is None or equity > self.peak:
            self.peak = equity
        self.worst = max(self.worst, self._below_peak(equity) or ZERO)
        if self.points and self.points[-1].at == at:
            self.points[-1].equity = equity
        else:
            self.points.append(Point(at, equity))
        if len(self.points) > MOST_POINTS:
            self.points = [*self.points[:-1:2], self.points[-1]]
            self.every *= 2
