"""Which trades have been counted: each once, however often and over whatever way it comes.

A trade comes by push, over two connections while one is replaced by another, and again in the answer that heals a
loss. Where it has an id, the id tells. Where it has none, trades of the same time, price, quantity and side are counted
by number: a way that has brought three of them adds only what goes beyond those counted already.
"""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal
from typing import Final

from services.cdb_ws.live.words import Deal
from services.cdb_ws.observation import NO_VOLUME, add_volumes

__all__ = ["KEEP_MS", "MINUTE_MS", "TradeLedger"]

KEEP_MS: Final = 300_000
"""How far back trades are remembered, by the exchange's time."""

MINUTE_MS: Final = 60_000

_Key = tuple[int, Decimal, Decimal, bool]


class TradeLedger:
    """The memory of one instrument's trades.

    Attributes:
        last_ms: time of the newest trade counted; None before the first.
        repeated: trades that were not counted because they had been.
    """

    def __init__(self) -> None:
        self.last_ms: int | None = None
        self.repeated = 0
        self._ids: set[str] = set()
        self._counted: Counter[_Key] = Counter()
        self._nameless: Counter[_Key] = Counter()
        self._brought: dict[str, Counter[_Key]] = {}
        self._order: deque[tuple[int, _Key, str | None]] = deque()
        self._volumes: dict[int, Decimal] = {}

    def count(self, way: str, deal: Deal) -> bool:
        """Take note of a trade; returns whether it is to be counted.

        Args:
            way: over which it came: a connection, or one answer.
            deal: the trade.
        """
        fresh = self._is_fresh(way, deal)
        if not fresh:
            self.repeated += 1
            return False
        minute_ms = deal.time_ms // MINUTE_MS * MINUTE_MS
        self._volumes[minute_ms] = add_volumes(self.volume(minute_ms), deal.quantity)
        if self.last_ms is None or deal.time_ms > self.last_ms:
            self.last_ms = deal.time_ms
            self._forget(deal.time_ms - KEEP_MS)
        return True

    def volume(self, minute_ms: int) -> Decimal:
        """Return what was counted of the minute that begins at this time, in the exchange's unit."""
        return self._volumes.get(minute_ms, NO_VOLUME)

    def _is_fresh(self, way: str, deal: Deal) -> bool:
        key = (deal.time_ms, deal.price, deal.quantity, deal.buy)
        if deal.trade_id is not None:
            if deal.trade_id in self._ids:
                return False
            self._ids.add(deal.trade_id)
            if self._nameless[key] > 0:  # counted already, when it had no name
                self._nameless[key] -= 1
                self._order.append((deal.time_ms, key, deal.trade_id))
                return False
        else:
            brought = self._brought.setdefault(way, Counter())
            brought[key] += 1
            if brought[key] <= self._counted[key]:
                return False
            self._nameless[key] += 1
        self._counted[key] += 1
        self._order.append((deal.time_ms, key, deal.trade_id))
        return True

    def _forget(self, before_ms: int) -> None:
        while self._order and self._order[0][0] < before_ms:
            _, key, trade_id = self._order.popleft()
            if trade_id is not None:
                self._ids.discard(trade_id)
            for counter in (self._counted, self._nameless, *self._brought.values()):
                counter.pop(key, None)
        self._volumes = {minute: volume for minute, volume in self._volumes.items() if minute > before_ms - MINUTE_MS}
        self._brought = {way: brought for way, brought in self._brought.items() if brought}
