"""Limit orders that rest in the book on paper: behind everybody who was there, and filled by what trades there alone.

* The order joins behind the whole size shown at its price; deeper than the feed looks, nobody knows how much that is.
* Only trades after that count. With P the order's price and d = +1 for a buy, -1 for a sale: trades at P use the queue
  up first; once the price was strictly through P, nobody is ahead any more.
* An event tells one volume for all of its prices, so it counts only where all of them were at P or beyond; and trades
  at P do not count while the other side's touch stands there: those were takers, as we would have been.
* A fill is min(rest, what counts beyond the queue, participation * V60 - own fills in 60 s), on the lot grid, at P.
* Nobody ahead cancels, as far as is known: the queue shrinks by trades, or because less is shown at P than was ahead.

What an event says of its extreme prices may be the last price of the event before it, so that is no trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from services.cdb_execution.codes import shown
from services.cdb_execution.market import Market
from services.cdb_execution.paper_fills import fit
from services.common.decimals import ONE, ZERO, floor_to
from services.common.events import MarketData

__all__ = ["QUEUE_RULE", "QueueFill", "Resting", "Standing"]

QUEUE_RULE: Final = "paper_queue_v1"


class QueueFill(NamedTuple):
    """What a resting order gets of one event, and every number that made it."""

    quantity: Decimal
    price: Decimal
    numbers: dict[str, Any]


class Standing(NamedTuple):
    """What a resting order asks for.

    Attributes:
        price: its limit, and what it fills at.
        quantity: base units still to fill.
        participation: largest share of V60 that our own fills may be.
    """

    side: Literal["BUY", "SELL"]
    price: Decimal
    quantity: Decimal
    participation: Decimal
    lot_size: Decimal


@dataclass
class Resting:
    """The place of an order in the book.

    Attributes:
        since: time of the quote with which it joined, microseconds.
        last_price: of the event before the next one.
        ahead: base units that were there before it; None while that is not known.
    """

    since: int
    last_price: Decimal
    ahead: Decimal | None

    @classmethod
    def join(cls, side: str, price: Decimal, event: MarketData, market: Market) -> Resting:
        """Join behind everything that is shown at the price."""
        return cls(event.timestamp, event.price, _shown_at(side, price, event, market))

    def observe(self, order: Standing, event: MarketData, market: Market, now: int) -> QueueFill | None:
        """Fold one event of the instrument and return what it fills; None when nothing.

        Args:
            order: what is still asked for.
            event: after the one with which the order joined.
            market: with this event in it.
            now: folded clock, microseconds.
        """
        before, last_price = self.ahead, self.last_price
        self.last_price = event.price
        reached, counts = _counted(order, event, last_price)
        beyond_queue = ZERO
        if reached is not None:
            through = reached != order.price
            beyond_queue = ZERO if before is None else max(ZERO, counts - before)
            if through:
                self.ahead = ZERO
            elif before is not None:
                self.ahead = max(ZERO, before - counts)
        self._look(order, event, market)
        volume_60s, own_60s = market.volume_60s(now), market.own_60s(now)
        cap = max(ZERO, order.participation * volume_60s - own_60s)
        quantity = floor_to(min(order.quantity, beyond_queue, cap), order.lot_size)
        if not quantity:
            return None
        limited_by = "volume" if beyond_queue <= cap else "participation"
        numbers = {
            "rule": QUEUE_RULE,
            "bid": event.bid,
            "ask": event.ask,
            "requested": order.quantity,
            "quantity": quantity,
            "limited_by": "order" if quantity == order.quantity else limited_by,
            "reached": reached,
            "volume": event.volume,
            "counts": fit(counts),
            "ahead": None if before is None else fit(before),
            "beyond_queue": fit(beyond_queue),
            "volume_60s": fit(volume_60s),
            "own_60s": fit(own_60s),
            "participation": order.participation,
            "cap": fit(cap),
            "lot_size": order.lot_size,
            "price": order.price,
        }
        return QueueFill(quantity, order.price, numbers)

    def _look(self, order: Standing, event: MarketData, market: Market) -> None:
        """No more can be ahead than is shown; what was out of sight is all ahead once it is seen."""
        size = _shown_at(order.side, order.price, event, market)
        if size is not None:
            self.ahead = size if self.ahead is None else min(self.ahead, size)

    def place(self, price: Decimal) -> str:
        """Return where the order stands, as a sentence."""
        ahead = "an unknown size" if self.ahead is None else shown(self.ahead)
        return f"RESTING: {ahead} ahead of it at {shown(price)}"


def _counted(order: Standing, event: MarketData, last_price: Decimal) -> tuple[Decimal | None, Decimal]:
    """Return the price that trades of an event reached (None: not the order's), and the volume that counts.

    A gap may bring back trades of before the order: then nothing counts.
    """
    if event.gap or not event.volume:
        return None, ZERO
    direction = ONE if order.side == "BUY" else -ONE
    reached, other = (event.low, event.high) if order.side == "BUY" else (event.high, event.low)
    if reached == last_price:
        reached = event.price
    distance = direction * (order.price - reached)
    opposite = event.ask if order.side == "BUY" else event.bid
    crossed = opposite is not None and direction * (order.price - opposite) >= 0
    if distance < 0 or (crossed and not distance):
        return None, ZERO
    return reached, event.volume if direction * (order.price - other) >= 0 else ZERO


def _shown_at(side: str, price: Decimal, event: MarketData, market: Market) -> Decimal | None:
    """Return the size that a quote shows at a price on the order's own side; None when that cannot be seen."""
    buys = side == "BUY"
    touch, size = (event.bid, event.bid_size) if buys else (event.ask, event.ask_size)
    if touch is None:
        return None
    if price == touch:
        return size
    if (price > touch) if buys else (price < touch):
        return ZERO
    levels = market.levels("SELL" if buys else "BUY")
    for level in levels:
        if level.price == price:
            return level.shown
    seen = levels and ((levels[-1].price < price) if buys else (levels[-1].price > price))
    return ZERO if seen else None
