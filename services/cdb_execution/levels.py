"""The levels of one book that a feed has shown, and what our own paper fills have taken of each since it was refreshed.

A level is refreshed when more is shown at its price than before, or when the book shows that it was gone. What lies
deeper than the feed looks is out of sight: what we took there is remembered until the feed sees it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from services.common.book import Level, Side
from services.common.decimals import ZERO

__all__ = ["Depth", "LevelSeen", "SeenSide", "Taken"]


class LevelSeen(NamedTuple):
    """One level as an order finds it; sizes in base units.

    Attributes:
        shown: size that the feed has shown there.
        taken: what our own fills took of it since it was refreshed.
    """

    price: Decimal
    shown: Decimal
    taken: Decimal

    @property
    def available(self) -> Decimal:
        """What is left of it."""
        return max(ZERO, self.shown - self.taken)


@dataclass
class Taken:
    """What our fills took at one price; `shown` is the size that the feed showed there last."""

    price: Decimal
    shown: Decimal
    quantity: Decimal


@dataclass
class SeenSide:
    """One side of the book: the levels of the newest quote, best first, and what we took."""

    levels: Side = ()
    taken: list[Taken] = field(default_factory=list)

    def observe(self, levels: Side, *, falling: bool) -> None:
        """See the levels of a newer quote; none: the feed has no depth of this side now."""
        self.levels = levels
        if not levels or not self.taken:
            return
        shown, deepest = dict(levels), levels[-1][0]
        kept = []
        for taken in self.taken:
            size = shown.get(taken.price)
            if size is None:
                if (taken.price < deepest) if falling else (taken.price > deepest):
                    kept.append(taken)  # out of sight
            elif size <= taken.shown:
                taken.shown = size
                kept.append(taken)
        self.taken = kept

    def seen(self) -> tuple[LevelSeen, ...]:
        """Return the levels as an order finds them, best first."""
        if not self.taken:
            return tuple(LevelSeen(price, shown, ZERO) for price, shown in self.levels)
        taken = {each.price: each.quantity for each in self.taken}
        return tuple(LevelSeen(price, shown, taken.get(price, ZERO)) for price, shown in self.levels)

    def take(self, parts: Iterable[Level]) -> None:
        """Remember what a fill of ours took, (price, quantity) of each level."""
        shown = dict(self.levels)
        for price, quantity in parts:
            known = next((taken for taken in self.taken if taken.price == price), None)
            if known is None:
                self.taken.append(Taken(price, shown[price], quantity))
            else:
                known.quantity += quantity


@dataclass
class Depth:
    """Both sides of a book."""

    bids: SeenSide = field(default_factory=SeenSide)
    asks: SeenSide = field(default_factory=SeenSide)

    def observe(self, bids: Side | None, asks: Side | None) -> None:
        """See the levels of a newer quote; None: the feed shows none of that side."""
        self.bids.observe(bids or (), falling=True)
        self.asks.observe(asks or (), falling=False)
