"""A market for instruments without a recording: an invented one, which follows a recorded one at a price of its own.

The same input gives the same market. Moves are those of the recorded instrument in per cent, trades are of the same
value; so it is good for a client that wants every symbol to be alive, and for nothing that compares symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.market.events import Market, MarketEvent, MarketTrade
from services.common.decimals import ceil_to, divide, floor_to

__all__ = ["FIRST_PRICES", "DerivedMarket"]

FIRST_PRICES: Final[Mapping[str, Decimal]] = {"BTC": Decimal(60_000), "ETH": Decimal(3_000), "SOL": Decimal(150)}
"""What an invented market begins at, in USDT; 1 for every other coin."""


@dataclass
class _Shadow:
    """An instrument that follows another; `factor` is its price in prices of the other, None before the first."""

    listing: Listing
    source: Listing
    factor: Decimal | None = None

    def follow(self, event: MarketEvent) -> MarketEvent:
        """Return what happens here when that happens there."""
        price = _price(event)
        if self.factor is None and price is not None:
            self.factor = divide(FIRST_PRICES.get(self.listing.spec.base, Decimal(1)), price, 12)
        factor = self.factor or Decimal(1)
        return MarketEvent(
            key=self.listing.key,
            at_ms=event.at_ms,
            quote=None if event.quote is None else self._quote(event.quote, factor),
            trade=None if event.trade is None else self._trade(event.trade, factor),
            mark=None if event.mark is None else self._price(event.mark * factor),
            funding_rate=event.funding_rate,
        )

    def _price(self, price: Decimal) -> Decimal:
        return max(self.listing.tick, floor_to(price, self.listing.tick))

    def _quantity(self, quantity: Decimal, factor: Decimal) -> Decimal:
        base = divide(quantity * self.source.unit_value, factor, 12)
        return max(self.listing.lot, floor_to(divide(base, self.listing.unit_value, 12), self.listing.lot))

    def _quote(self, quote: Quote, factor: Decimal) -> Quote:
        bid = self._price(quote.bid * factor)
        ask = max(bid + self.listing.tick, ceil_to(quote.ask * factor, self.listing.tick))
        return Quote(
            bid,
            self._quantity(quote.bid_size, factor),
            ask,
            self._quantity(quote.ask_size, factor),
            flat=quote.flat,
        )

    def _trade(self, trade: MarketTrade, factor: Decimal) -> MarketTrade:
        return MarketTrade(self._price(trade.price * factor), self._quantity(trade.quantity, factor), trade.taker)


def _price(event: MarketEvent) -> Decimal | None:
    if event.trade is not None:
        return event.trade.price
    return None if event.quote is None else event.quote.ask


class DerivedMarket:
    """A market, and beside it one for every instrument of its venues that it has none for.

    Args:
        market: what there is.
        listings: the instruments; each without a market follows the first of its venue that has one.

    Attributes:
        keys: the instruments that there is a market for.
        followed: by key of an invented market, the key of the one that it follows.
    """

    def __init__(self, market: Market, listings: Iterable[Listing]) -> None:
        self._market = market
        listed = list(listings)
        sources: dict[str, Listing] = {}
        for listing in listed:
            if listing.key in market.keys:
                sources.setdefault(listing.spec.venue, listing)
        shadows = [
            _Shadow(listing, sources[listing.spec.venue])
            for listing in listed
            if listing.key not in market.keys and listing.spec.venue in sources
        ]
        self._shadows: dict[str, list[_Shadow]] = {}
        for shadow in shadows:
            self._shadows.setdefault(shadow.source.key, []).append(shadow)
        self.keys = frozenset(market.keys | {shadow.listing.key for shadow in shadows})
        self.followed = {shadow.listing.key: shadow.source.key for shadow in shadows}

    def due(self, now_ms: int) -> Iterator[MarketEvent]:
        """Yield what has happened up to now and was not yielded before; whatever is recorded ends its invention."""
        for event in self._market.due(now_ms):
            yield event
            if event.key in self.followed:
                source = self.followed.pop(event.key)
                self._shadows[source] = [s for s in self._shadows[source] if s.listing.key != event.key]
            for shadow in self._shadows.get(event.key, ()):
                yield shadow.follow(event)

    def postpone(self, milliseconds: int) -> None:
        """Let everything that is still to come happen so much later."""
        self._market.postpone(milliseconds)
