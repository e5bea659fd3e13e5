"""The book of one instrument: recorded levels, what own orders took of them, and own resting orders.

Price-time priority. The recorded quantity that stood at a price when an order came to rest there is ahead of it; what
is recorded later is behind it. Recorded liquidity that an order of this exchange took stays taken until the recording
shows that side of the touch anew.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from services.cdb_sandbox.core.depth import LEVELS, Level, Quote, synthesise
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.orders import Order, Side
from services.common.decimals import ZERO

__all__ = ["Book", "PublicTrade", "opposite"]


@dataclass(frozen=True, kw_only=True)
class PublicTrade:
    """A trade as everybody sees it; `taker` is the side of the taker."""

    listing: Listing
    trade_id: str
    price: Decimal
    quantity: Decimal
    taker: Side
    time_ms: int


def opposite(side: Side) -> Side:
    """Return the side that an order of this side trades with."""
    return "SELL" if side == "BUY" else "BUY"


class Book:
    """One instrument's book. `changes` counts what may have changed its levels."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.quote: Quote | None = None
        self.last: Decimal | None = None
        self.trades: deque[PublicTrade] = deque(maxlen=1000)
        self.changes = 0
        self._resting: dict[Side, list[Order]] = {"BUY": [], "SELL": []}
        self._taken: dict[Side, dict[Decimal, Decimal]] = {"BUY": {}, "SELL": {}}

    def set_quote(self, quote: Quote) -> None:
        """Take over a recorded quote: a side shown with another price or size has its liquidity back."""
        before = self.quote
        if before is None or (before.bid, before.bid_size) != (quote.bid, quote.bid_size):
            self._taken["BUY"].clear()
        if before is None or (before.ask, before.ask_size) != (quote.ask, quote.ask_size):
            self._taken["SELL"].clear()
        self.quote = quote
        self.changes += 1
        for order in self._resting["BUY"]:
            self._requeue(
                order, quote.bid, quote.bid_size, ahead_is_gone=order.price is not None and order.price > quote.bid
            )
        for order in self._resting["SELL"]:
            self._requeue(
                order, quote.ask, quote.ask_size, ahead_is_gone=order.price is not None and order.price < quote.ask
            )

    @staticmethod
    def _requeue(order: Order, touch: Decimal, size: Decimal, *, ahead_is_gone: bool) -> None:
        if ahead_is_gone:
            order.queue_ahead = ZERO
        elif order.price == touch:
            order.queue_ahead = min(order.queue_ahead, size)

    def refresh(self, side: Side) -> None:
        """Give a side its taken liquidity back (a scripted market shows the same quote again)."""
        self._taken[side].clear()
        self.changes += 1

    def recorded(self, side: Side, count: int = LEVELS) -> list[Level]:
        """Return the recorded levels of a side as far as they are not taken, best first."""
        if self.quote is None:
            return []
        taken = self._taken[side]
        levels = synthesise(self.listing, self.quote, side, count)
        if not taken:
            return levels
        left = (Level(price, quantity - taken.get(price, ZERO)) for price, quantity in levels)
        return [level for level in left if level.quantity > ZERO]

    def take(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        """Note that recorded liquidity at a price is gone."""
        taken = self._taken[side]
        taken[price] = taken.get(price, ZERO) + quantity
        for order in self._resting[side]:
            if order.price == price:
                order.queue_ahead = max(ZERO, order.queue_ahead - quantity)
        self.changes += 1

    def resting(self, side: Side) -> list[Order]:
        """Return own resting orders of a side in price-time priority."""
        return list(self._resting[side])

    def rest(self, order: Order) -> None:
        """Let an order wait: behind the recorded quantity at its price and behind earlier orders of this exchange."""
        assert order.price is not None
        order.queue_ahead = next(
            (level.quantity for level in self.recorded(order.side) if level.price == order.price), ZERO
        )
        sign = -1 if order.side == "BUY" else 1
        insort(self._resting[order.side], order, key=lambda o: (sign * (o.price or ZERO), o.sequence))
        self.changes += 1

    def remove(self, order: Order) -> None:
        """Forget an order that has ended; one that never rested is no mistake."""
        self._resting[order.side] = [other for other in self._resting[order.side] if other is not order]
        self.changes += 1

    def levels(self, side: Side, count: int = LEVELS) -> list[Level]:
        """Return what everybody sees: recorded levels and own resting orders together, best first."""
        merged = {level.price: level.quantity for level in self.recorded(side, max(count, LEVELS))}
        for order in self._resting[side]:
            assert order.price is not None
            merged[order.price] = merged.get(order.price, ZERO) + order.remaining
        ordered = sorted(merged, reverse=side == "BUY")
        return [Level(price, merged[price]) for price in ordered[:count]]

    def best(self, side: Side) -> Decimal | None:
        """Return the best price of a side that everybody sees."""
        return next((level.price for level in self.levels(side, 1)), None)

    def mid(self) -> Decimal | None:
        """Return the middle of the touch, or the last price of a one-sided book."""
        bid, ask = self.best("BUY"), self.best("SELL")
        return self.last if bid is None or ask is None else (bid + ask) * Decimal("0.5")

    def offers(self, taker: Side) -> Iterator[tuple[Decimal, Decimal, Order | None]]:
        """Yield what a taker finds, in the order it is traded: price, quantity, and the order or None if recorded."""
        side = opposite(taker)
        recorded = {level.price: level.quantity for level in self.recorded(side)}
        orders: dict[Decimal, list[Order]] = {}
        for order in self._resting[side]:
            assert order.price is not None
            orders.setdefault(order.price, []).append(order)
        for price in sorted({**recorded, **orders}, reverse=side == "BUY"):
            left, passed = recorded.get(price, ZERO), ZERO
            for order in orders.get(price, []):
                ahead = min(left, max(ZERO, order.queue_ahead - passed))
                if ahead:
                    yield price, ahead, None
                    left, passed = left - ahead, passed + ahead
                yield price, order.remaining, order
            if left:
                yield price, left, None
