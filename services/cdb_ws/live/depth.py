"""The levels of a book as a feed knows them: the newest quote, and behind it what the last depth message showed."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from services.cdb_ws.live.words import Quote
from services.common.book import Book, Level, Side
from services.common.decimals import wire_form

__all__ = ["book_behind", "pushed", "ranked"]

_PUSHED: Final = (5, 10, 20)


def pushed(levels: int) -> int:
    """Return the smallest depth that the exchange pushes and that has so many levels."""
    return next(depth for depth in _PUSHED if depth >= min(levels, _PUSHED[-1]))


def ranked(levels: Iterable[Level], *, falling: bool) -> Side:
    """Return the levels of a message best first; none when a price stands twice, for then nobody knows its size."""
    side = tuple(sorted(levels, reverse=falling))
    return side if len({price for price, _ in side}) == len(side) else ()


def book_behind(quote: Quote, depth: Quote, most: int, unit: Decimal) -> Book | None:
    """Return the levels behind a quote; None when no side has any.

    The quote may be newer than the depth: what stands at its price or before it has been taken since, and is left out.

    Args:
        quote: the newest.
        depth: the last message with levels.
        most: levels of one side, at most.
        unit: base units of one of the exchange's.
    """
    bid, ask = quote.bid, quote.ask
    if bid is None or ask is None or bid >= ask:
        return None
    bids = _side((bid, quote.bid_size), [level for level in depth.bids if level[0] < bid], most, unit)
    asks = _side((ask, quote.ask_size), [level for level in depth.asks if level[0] > ask], most, unit)
    return None if bids is None and asks is None else Book(bids, asks)


def _side(touch: tuple[Decimal, Decimal | None], behind: list[Level], most: int, unit: Decimal) -> Side | None:
    price, size = touch
    if not size:
        return None
    return tuple((wire_form(at), wire_form(shown * unit)) for at, shown in [(price, size), *behind[: most - 1]])
