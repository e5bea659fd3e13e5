"""Levels of an order book: what must hold of them, and how generously foreign ones are read.

A side is a tuple of (price, size in base units), best first: bids fall, asks rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final, NamedTuple

__all__ = ["MAX_LEVELS", "Book", "Level", "Side", "book_fault", "read_side"]

MAX_LEVELS: Final = 20
"""Levels of one side that an event may carry."""

Level = tuple[Decimal, Decimal]
Side = tuple[Level, ...]


class Book(NamedTuple):
    """The levels that were seen; a side that was not is None."""

    bids: Side | None
    asks: Side | None


def book_fault(
    bid: tuple[Decimal | None, Decimal | None],
    ask: tuple[Decimal | None, Decimal | None],
    bids: Sequence[Level] | None,
    asks: Sequence[Level] | None,
) -> str | None:
    """Return what contradicts between levels and quote: order, a first level that is not the quote, a crossed book.

    Args:
        bid: of the quote, (price, size).
        ask: the same.
        bids: the levels, None where they were not seen.
        asks: the same.
    """
    for name, quote, side, falling in (("bids", bid, bids, True), ("asks", ask, asks, False)):
        if side is None:
            continue
        if tuple(side[0]) != quote:
            return f"{name}: the first level {_shown(side[0])} is not the quote {_shown(quote)}"
        for better, worse in pairwise(side):
            if (better[0] <= worse[0]) if falling else (better[0] >= worse[0]):
                return f"{name}: {worse[0]} stands behind {better[0]}; best first is meant, each price once"
    if bid[0] is not None and ask[0] is not None and bid[0] >= ask[0]:
        return f"levels of a crossed book: bid {bid[0]}, ask {ask[0]}"
    return None


def _shown(level: tuple[Decimal | None, Decimal | None]) -> str:
    return f"{level[1]} at {level[0]}"


def read_side(rows: Any, *, falling: bool) -> Side | None:
    """Return a side as another tool may write it: rows of price and size in any order; None when it cannot be read.

    Numbers may be text, rows may have more columns, empty levels are passed over, and what is beyond MAX_LEVELS is
    left out.
    """
    if not isinstance(rows, list):
        return None
    levels: dict[Decimal, Decimal] = {}
    for row in rows:
        if not isinstance(row, list) or len(row) < 2:
            return None
        price, size = (_number(value) for value in row[:2])
        if price is None or size is None or price <= 0 or size < 0 or price in levels:
            return None
        if size:
            levels[price] = size
    return tuple(sorted(levels.items(), reverse=falling))[:MAX_LEVELS] or None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
