"""A market that tests move: quotes of every symbol, ten times a second, by plain Redis PUBLISH."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

import redis

from tests.e2e.stack import Stack

EVERY_SEC: Final = 0.1
CLOCK_SPEED: Final = 20
MINUTE_SEC: Final = 60 / CLOCK_SPEED
"""Wall seconds of one minute of the stack's clock."""


@dataclass
class Quote:
    """What is published of one symbol.

    Attributes:
        price: middle of the book, quote currency.
        spread_pct: (ask - bid) / mid, a fraction.
        volume: base units traded with each message.
        size: base units at the touch, each side.
    """

    price: Decimal
    spread_pct: Decimal = Decimal("0.0001")
    volume: Decimal = Decimal(1)
    size: Decimal = Decimal(10)

    def message(self, symbol: str) -> str:
        """Return the JSON text as a trader's own script would write it (no id, no sequence, no venue)."""
        half = self.price * self.spread_pct / 2
        cent = Decimal("0.01")
        return json.dumps(
            {
                "type": "market_data",
                "symbol": symbol,
                "timestamp": datetime.now(UTC).isoformat(),
                "price": float(self.price),
                "volume": float(self.volume),
                "bid": float((self.price - half).quantize(cent)),
                "ask": float((self.price + half).quantize(cent)),
                "bid_size": float(self.size),
                "ask_size": float(self.size),
            }
        )


class Market:
    """Publishes until it is closed; a Redis that is away is tried again, as a real source would."""

    def __init__(self, stack: Stack) -> None:
        self.quotes: dict[str, Quote] = {
            "BTCUSDT": Quote(Decimal(50_000)),
            "ETHUSDT": Quote(Decimal(2_500), volume=Decimal(20), size=Decimal(200)),
            "SOLUSDT": Quote(Decimal(150), volume=Decimal(400), size=Decimal(4_000)),
        }
        self.published = 0
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="market", daemon=True)

    def __enter__(self) -> Self:
        self._client = self._stack.redis("operator")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        self._client.close()

    def move(self, symbol: str, share: str) -> Decimal:
        """Move a price by a share of itself (`0.008` is 0.8 % up) and return the new one."""
        quote = self.quotes[symbol]
        quote.price = (quote.price * (1 + Decimal(share))).quantize(Decimal("0.01"))
        return quote.price

    def let_pass(self, minutes: float) -> None:
        """Let minutes of the stack's clock go by while quotes keep coming: time itself is the input here."""
        time.sleep(minutes * MINUTE_SEC)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SEC):
            try:
                for symbol, quote in self.quotes.items():
                    self._client.publish("market_data", quote.message(symbol))
                    self.published += 1
            except redis.RedisError:
                self._client.connection_pool.disconnect()
