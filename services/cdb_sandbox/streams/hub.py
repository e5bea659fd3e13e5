"""All connections, and what they are told: private facts at once, the public market gathered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.facts import Fact, Traded
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.streams.depth_feed import DepthDelta, DepthFeed, DepthSnapshot
from services.cdb_sandbox.streams.perpetual import PerpetualConnection
from services.cdb_sandbox.streams.spot import SpotConnection

if TYPE_CHECKING:
    from services.cdb_sandbox.house import House

__all__ = ["Hub"]


class Hub:
    """Knows every connection and every instrument's depth feed."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._feeds = {key: DepthFeed(book) for key, book in house.exchange.books.items()}
        self._trades: dict[str, list[PublicTrade]] = {}
        self._rates: dict[str, object] = {}
        self.connections: list[SpotConnection | PerpetualConnection] = []

    def join(self, connection: SpotConnection | PerpetualConnection) -> None:
        """Begin to tell a connection what it subscribes to."""
        self.connections.append(connection)

    def leave(self, connection: SpotConnection | PerpetualConnection) -> None:
        """Forget a connection."""
        connection.open = False
        if connection in self.connections:
            self.connections.remove(connection)

    def close_all(self, *, cut: bool) -> None:
        """End all connections; `cut` without a closing handshake."""
        for connection in list(self.connections):
            connection.close(cut=cut)

    def depth(self, listing: Listing) -> DepthSnapshot:
        """Return a book at the version that the streams have reached; what was pending is pushed first."""
        self._push_book(listing)
        return self._feeds[listing.key].snapshot()

    def commits(self, listing: Listing) -> list[DepthDelta]:
        """Return the latest changes of a book, oldest first."""
        return list(self._feeds[listing.key].commits)

    def on_fact(self, fact: Fact) -> None:
        """Tell accounts at once; trades wait for the next flush."""
        if isinstance(fact, Traded):
            self._trades.setdefault(fact.trade.listing.key, []).append(fact.trade)
            return
        for connection in list(self.connections):
            connection.on_fact(fact)

    def flush(self, now_ms: int) -> None:
        """Push what has gathered of the public market."""
        for key, listing in self._house.exchange.listings.items():
            self._push_book(listing)
            trades = self._trades.pop(key, None)
            if trades:
                for connection in list(self.connections):
                    connection.on_trades(listing, trades)
            if listing.is_perpetual:
                self._push_funding(listing, now_ms)

    def _push_book(self, listing: Listing) -> None:
        feed = self._feeds[listing.key]
        delta = feed.update()
        if delta is None:
            return
        snapshot = feed.snapshot()
        for connection in list(self.connections):
            connection.on_book(listing, delta, snapshot)

    def _push_funding(self, listing: Listing, now_ms: int) -> None:
        state = (self._house.exchange.funding_rates.get(listing.key), now_ms // 60_000)
        if self._rates.get(listing.key) == state:
            return
        self._rates[listing.key] = state
        for connection in list(self.connections):
            if isinstance(connection, PerpetualConnection):
                connection.on_funding(listing)

    def on_time(self, now_ms: int) -> None:
        """Let every connection close itself where the exchange would."""
        for connection in list(self.connections):
            connection.on_time(now_ms)
