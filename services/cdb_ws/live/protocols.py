"""The two markets of MEXC as a live feed sees them: how they speak, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live.perpetual import PerpetualProtocol
from services.cdb_ws.live.perpetual_rest import PerpetualRest
from services.cdb_ws.live.spot import SpotProtocol
from services.cdb_ws.live.spot_rest import SpotRest
from services.cdb_ws.live.words import Ask, Deal, Sight
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.warmup import MinuteBar
from services.common.instruments import PERPETUAL, InstrumentSpec, Venue

__all__ = ["Market", "Rest", "SocketProtocol", "market_of"]


class SocketProtocol(Protocol):
    """What is said on a WebSocket."""

    @property
    def ping(self) -> str:
        """What is sent to show that we are there."""

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return what is subscribed of an instrument; the first are its trades, the second its quotes."""

    def subscribe(self, topics: Sequence[str], number: int) -> list[str]:
        """Return the frames that ask for topics."""

    def unsubscribe(self, topics: Sequence[str], number: int) -> list[str]:
        """Return the frames that end topics."""

    def pong(self) -> str:
        """Return the answer to the exchange's own ping."""

    def decode(self, frame: bytes | str) -> list[Sight]:
        """Return what a frame says; never raises."""


class Rest(Protocol):
    """What is asked over REST, and what the answers say; every `read_…` raises FeedInputInvalid for another answer."""

    @property
    def bars_per_answer(self) -> int:
        """One-minute bars of one answer at most."""

    @property
    def trades_per_answer(self) -> int:
        """Trades of one answer at most."""

    @property
    def asks_stretches(self) -> bool:
        """Whether trades of a stretch can be asked for; otherwise it is always the newest."""

    def time(self) -> Ask:
        """Ask for the exchange's time."""

    def instruments(self) -> Ask:
        """Ask for all grids."""

    def tickers(self) -> Ask:
        """Ask for the turnover of everything."""

    def klines(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for one-minute bars."""

    def age(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for daily bars since a time."""

    def trades(self, symbol: str, from_ms: int, until_ms: int) -> Ask:
        """Ask for trades of a stretch, or the newest."""

    def read_time(self, body: bytes) -> int:
        """Return the exchange's time, milliseconds."""

    def read_instruments(self, body: bytes) -> dict[str, Listing]:
        """Return what is listed."""

    def read_tickers(self, body: bytes) -> list[Ticker]:
        """Return a day of everything."""

    def read_klines(self, body: bytes, spec: InstrumentSpec | None, /) -> list[MinuteBar]:
        """Return bars in order of time."""

    def read_trades(self, body: bytes) -> list[Deal]:
        """Return trades in order of time."""


@dataclass(frozen=True)
class Market:
    """One market of the exchange, and where it is."""

    venue: Venue
    socket: SocketProtocol
    rest: Rest
    socket_url: str
    rest_url: str


def market_of(venue: Venue, settings: LiveSettings) -> Market:
    """Return the market of a venue."""
    if venue == PERPETUAL:
        return Market(
            venue,
            PerpetualProtocol(settings.MARKET_DATA_DEPTH_LEVELS),
            PerpetualRest(),
            settings.MEXC_PERPETUAL_WS_URL,
            settings.MEXC_PERPETUAL_REST_URL,
        )
    socket = SpotProtocol(settings.MEXC_WS_PUSH_MS, settings.MARKET_DATA_DEPTH_LEVELS)
    return Market(venue, socket, SpotRest(), settings.MEXC_WS_URL, settings.MEXC_REST_URL)
