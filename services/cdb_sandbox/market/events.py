"""What a market source tells the exchange: quotes, trades and marks, each at its time on the exchange's clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.orders import Side

__all__ = ["ConstantMarket", "Market", "MarketEvent", "MarketTrade"]


@dataclass(frozen=True)
class MarketTrade:
    """A trade among others; `taker` None: not known."""

    price: Decimal
    quantity: Decimal
    taker: Side | None


@dataclass(frozen=True, kw_only=True)
class MarketEvent:
    """Something that happened in the market; quantities in the exchange's unit.

    Attributes:
        at_ms: on the exchange's clock; None: now.
        key: of the instrument, `mexc_spot:BTCUSDT`.
    """

    key: str
    at_ms: int | None = None
    quote: Quote | None = None
    trade: MarketTrade | None = None
    mark: Decimal | None = None
    funding_rate: Decimal | None = None


class Market(Protocol):
    """A source of market events."""

    def due(self, now_ms: int) -> Iterator[MarketEvent]:
        """Yield what has happened up to now and was not yielded before; the first call begins the play."""
        ...

    def postpone(self, milliseconds: int) -> None:
        """Let everything that is still to come happen so much later."""
        ...

    @property
    def keys(self) -> frozenset[str]:
        """The instruments that it has a market for."""
        ...


class ConstantMarket:
    """Quotes that stand until a test changes them: the touch alone, nothing behind it."""

    def __init__(self, quotes: dict[str, Quote] | None = None) -> None:
        self._quotes = quotes if quotes is not None else dict(_DEFAULT_QUOTES)
        self._told = False

    @property
    def keys(self) -> frozenset[str]:
        """The instruments that it quotes."""
        return frozenset(self._quotes)

    def due(self, now_ms: int) -> Iterator[MarketEvent]:
        """Yield each quote once."""
        if not self._told:
            self._told = True
            for key, quote in self._quotes.items():
                yield MarketEvent(key=key, at_ms=now_ms, quote=quote)

    def postpone(self, milliseconds: int) -> None:
        """Do nothing: nothing is to come."""


def _flat(bid: str, ask: str, size: str) -> Quote:
    return Quote(Decimal(bid), Decimal(size), Decimal(ask), Decimal(size), flat=True)


_DEFAULT_QUOTES = {
    "mexc_spot:BTCUSDT": _flat("60000", "60000.01", "1"),
    "mexc_spot:ETHUSDT": _flat("3000", "3000.01", "10"),
    "mexc_spot:SOLUSDT": _flat("150", "150.01", "100"),
    "mexc_perpetual:BTCUSDT": _flat("60000", "60000.1", "10000"),
    "mexc_perpetual:ETHUSDT": _flat("3000", "3000.01", "1000"),
    "mexc_perpetual:SOLUSDT": _flat("150", "150.01", "1000"),
}
