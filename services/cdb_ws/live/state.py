"""What the rooms of a live feed share: the market, what is watched of it, and what is to follow from an input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.links import Connection
from services.cdb_ws.live.listing import Listing
from services.cdb_ws.live.protocols import Market
from services.cdb_ws.live.words import Ask, Close, News, Open, Send, Step
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.observation import Observation
from services.common.instruments import InstrumentSpec
from services.common.market_facts import instrument_details
from services.common.timestamps import MS_US

__all__ = ["FeedState"]


class FeedState:
    """One market of the exchange as a feed knows it, and the step that its rooms fill in.

    Args:
        market: how it speaks.
        settings: how it is watched.
        resumed: the journal has market data of this feed already.

    Attributes:
        listings: what the exchange lists; empty before it has told.
        instruments: what is watched, by symbol.
        offset_us: the exchange's clock less ours; None before it was measured.
        silent: symbols of which no data come.
    """

    def __init__(self, market: Market, settings: LiveSettings, *, resumed: bool) -> None:
        self.market = market
        self.settings = settings
        self.resumed = resumed
        self.listings: dict[str, Listing] = {}
        self.instruments: dict[str, InstrumentFeed] = {}
        self.offset_us: int | None = None
        self.silent: set[str] = set()
        self.step = Step()

    def exchange_ms(self, now_us: int) -> int:
        """Return the exchange's time at a feed time."""
        return (now_us + (self.offset_us or 0)) // MS_US

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return what is subscribed of a symbol."""
        return self.market.socket.topics(symbol)

    def ask(self, ask: Ask) -> None:
        """Ask over REST."""
        self.step.actions.append(ask)

    def send(self, connection: Connection, frames: Iterable[str]) -> None:
        """Send frames over a connection."""
        self.step.actions.extend(Send(connection.number, frame) for frame in frames)

    def do(self, action: Ask | Open | Close) -> None:
        """Have something done."""
        self.step.actions.append(action)

    def tell(self, level: Any, code: str, message: str, **context: Any) -> None:
        """Raise an alert."""
        self.step.news.append(News(level, code, message, context))

    def observe(self, observation: Observation | None) -> None:
        """Hand over what was seen, if anything was."""
        if observation is not None:
            self.step.observations.append(observation)

    def tell_instruments(self, symbols: Iterable[str]) -> None:
        """Let everybody know the grids of symbols."""
        specs: list[InstrumentSpec] = [self.listings[symbol].spec for symbol in symbols]
        if specs:
            self.step.facts.append(("instruments", {"venue": self.market.venue, **instrument_details(specs)}))

    def take(self) -> Step:
        """Return what follows from the input, and begin anew."""
        step, self.step = self.step, Step()
        return step
