"""Levels around a recorded quote: recordings hold the best bid and ask, an exchange shows more.

The rule: level 0 is the quote itself with its recorded size; where the recording has none, with five times the mean
size of the last trades. Level k lies on the next k-th point of a grid of max(tick, 0.2 bp of the price) behind it and
holds (1 + k/2) times the touch's size, rounded down to the lot: books grow thicker away from the touch.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.orders import Side
from services.common.decimals import ZERO, ceil_to, divide, floor_to

__all__ = ["LEVELS", "Level", "Quote", "assumed_size", "synthesise"]

LEVELS: Final = 20
_STEP_SHARE: Final = Decimal("0.00002")
_GROWTH: Final = Decimal("0.5")


class Level(NamedTuple):
    """One price and what is offered there, in the exchange's unit."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True)
class Quote:
    """Best bid and ask with their sizes in the exchange's unit.

    Attributes:
        flat: whether there is nothing behind the touch (scripted markets); else levels are synthesised.
    """

    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    flat: bool = False


def synthesise(listing: Listing, quote: Quote, side: Side, count: int = LEVELS) -> list[Level]:
    """Return the levels of one side (`BUY`: bids), best first."""
    touch, size = (quote.bid, quote.bid_size) if side == "BUY" else (quote.ask, quote.ask_size)
    if size <= ZERO:
        return []
    levels = [Level(touch, size)]
    if quote.flat:
        return levels
    step = max(listing.tick, ceil_to(touch * _STEP_SHARE, listing.tick))
    sign = -1 if side == "BUY" else 1
    grid = floor_to(touch - listing.tick, step) if side == "BUY" else ceil_to(touch + listing.tick, step)
    for k in range(1, count):
        price = grid + sign * step * (k - 1)
        if price <= ZERO:
            break
        levels.append(Level(price, max(listing.lot, floor_to(size * (1 + _GROWTH * k), listing.lot))))
    return levels


def assumed_size(listing: Listing, sizes: list[Decimal]) -> Decimal:
    """Return the size of a touch whose recording has none, from the last trades' sizes; one lot before the first."""
    if not sizes:
        return listing.lot
    mean = divide(sum(sizes, ZERO), Decimal(len(sizes)))
    return max(listing.lot, floor_to(mean * 5, listing.lot))
