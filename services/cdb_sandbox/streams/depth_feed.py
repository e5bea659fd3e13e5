"""A book as the streams show it: versions, and what has changed since the last push."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.book import Book
from services.cdb_sandbox.core.depth import Level
from services.common.decimals import ZERO

__all__ = ["DepthDelta", "DepthFeed", "DepthSnapshot"]

_FIRST_VERSION: Final = 43_296_363_000
_COUNT: Final = 60


@dataclass(frozen=True)
class DepthSnapshot:
    """All levels at a version, best first."""

    version: int
    bids: list[Level]
    asks: list[Level]


@dataclass(frozen=True)
class DepthDelta:
    """Levels that have changed (quantity 0: gone) and the versions first..last that this covers."""

    first: int
    last: int
    bids: list[Level]
    asks: list[Level]


class DepthFeed:
    """Versions of one book. On spot each changed level counts one version, on perpetuals each push does."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._seen_changes = -1
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}
        self.version = _FIRST_VERSION
        self.commits: deque[DepthDelta] = deque(maxlen=1000)

    def update(self) -> DepthDelta | None:
        """Return what has changed since the last call; None when nothing has."""
        if self._seen_changes == self._book.changes:
            return None
        self._seen_changes = self._book.changes
        bids = {level.price: level.quantity for level in self._book.levels("BUY", _COUNT)}
        asks = {level.price: level.quantity for level in self._book.levels("SELL", _COUNT)}
        bid_changes, ask_changes = _changes(self._bids, bids), _changes(self._asks, asks)
        self._bids, self._asks = bids, asks
        changed = len(bid_changes) + len(ask_changes)
        if not changed:
            return None
        first = self.version + 1
        self.version += 1 if self._book.listing.is_perpetual else changed
        delta = DepthDelta(first, self.version, bid_changes, ask_changes)
        self.commits.append(delta)
        return delta

    def snapshot(self) -> DepthSnapshot:
        """Return all levels as they were at the last update."""
        return DepthSnapshot(
            self.version,
            [Level(price, quantity) for price, quantity in self._bids.items()],
            [Level(price, quantity) for price, quantity in self._asks.items()],
        )


def _changes(before: dict[Decimal, Decimal], after: dict[Decimal, Decimal]) -> list[Level]:
    gone = [Level(price, ZERO) for price in before if price not in after]
    return gone + [Level(price, quantity) for price, quantity in after.items() if before.get(price) != quantity]
