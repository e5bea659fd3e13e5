"""How far from its reference price an exchange takes a limit: MEXC's PERCENT_PRICE_BY_SIDE and its perpetual twin.

Spot measures from the last price, perpetuals from the fair (mark) price. MEXC documents `bidMultiplierUp` as a factor
of the last price and shows 0.005 for it, which cannot be meant; it is read as a distance: last * (1 + 0.005).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from services.common.decimals import ONE, ZERO, ceil_to, floor_to

__all__ = ["Banded", "farthest_price", "within_band"]


class Banded(Protocol):
    """What has a band: the facts of an instrument, or the rules that an exchange publishes of its orders."""

    @property
    def tick_size(self) -> Decimal:
        """Smallest price step."""

    @property
    def buy_band(self) -> Decimal | None:
        """How far above the reference a buy's limit may be, a fraction."""

    @property
    def sell_band(self) -> Decimal | None:
        """How far below it a sale's limit may be."""


def farthest_price(side: str, reference: Decimal | None, rules: Banded) -> Decimal | None:
    """Return the highest price that a buy may have, or the lowest of a sale, on the tick grid; None: any.

    Args:
        side: BUY or SELL.
        reference: last price on spot, mark price of a perpetual; None when it is not known.
        rules: of the instrument.
    """
    band = rules.buy_band if side == "BUY" else rules.sell_band
    if band is None or reference is None:
        return None
    if side == "BUY":
        return floor_to(reference * (ONE + band), rules.tick_size)
    return ceil_to(reference * max(ZERO, ONE - band), rules.tick_size)


def within_band(side: str, price: Decimal, reference: Decimal | None, rules: Banded) -> Decimal:
    """Return a protective price, moved to the nearest one that the exchange takes."""
    farthest = farthest_price(side, reference, rules)
    if farthest is None or farthest <= 0:
        return price
    return min(price, farthest) if side == "BUY" else max(price, farthest)
