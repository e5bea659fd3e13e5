"""What a marketable order would take from a book, before anything is taken."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from services.cdb_sandbox.core.book import Book
from services.cdb_sandbox.core.orders import Order, Side
from services.common.decimals import ZERO, divide, floor_to

__all__ = ["Match", "walk", "walk_quote"]


class Match(NamedTuple):
    """One step of a walk: `resting` is the order that is met, None for recorded liquidity."""

    price: Decimal
    quantity: Decimal
    resting: Order | None


def walk(book: Book, side: Side, quantity: Decimal, limit: Decimal | None) -> list[Match]:
    """Return the matches of an order for up to `quantity` at `limit` or better (None: at any price)."""
    matches: list[Match] = []
    for price, offered, resting in book.offers(side):
        beyond = limit is not None and (price > limit if side == "BUY" else price < limit)
        if quantity <= ZERO or beyond:
            break
        taken = min(quantity, offered)
        matches.append(Match(price, taken, resting))
        quantity -= taken
    return matches


def walk_quote(book: Book, quote_quantity: Decimal) -> list[Match]:
    """Return the matches of a market buy that spends up to `quote_quantity`, the last one on the lot grid."""
    matches: list[Match] = []
    for price, offered, resting in book.offers("BUY"):
        affordable = floor_to(divide(quote_quantity, price), book.listing.lot)
        taken = min(affordable, offered)
        if taken <= ZERO:
            break
        matches.append(Match(price, taken, resting))
        quote_quantity -= price * taken
    return matches
