"""The live feed as a state machine: frames, answers and times in; observations, facts and things to do out.

It opens no socket and reads no clock. `now_us` is the feed's time and never goes back. What follows is a function of
the inputs in their order, so a recorded session that is played into it gives the same observations.

Its rooms: `watching` (what is watched), `wiring` (over which connections), `hearing` (what frames say), `asking` (what
answers say), `healing` (what was lost comes back), `silence` (what does not come at all), `comparing` (what was lost
without a sign), `showing`. They share one `state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from services.cdb_ws.live.asking import Asking
from services.cdb_ws.live.comparing import Comparing
from services.cdb_ws.live.healing import Healing
from services.cdb_ws.live.hearing import Hearing
from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.links import Connection, Slot
from services.cdb_ws.live.protocols import Market
from services.cdb_ws.live.screening import Screening
from services.cdb_ws.live.showing import show_connection, slot_problems
from services.cdb_ws.live.silence import SilenceWatch
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.watching import Watching
from services.cdb_ws.live.wiring import Wiring
from services.cdb_ws.live.words import Answer, Step
from services.cdb_ws.live_settings import LiveSettings
from services.common.instruments import Venue
from services.common.settings import AUTO
from services.common.timestamps import MS_US

__all__ = ["LiveFeed"]


class LiveFeed:
    """One market of the exchange, watched.

    Args:
        market: how it speaks.
        settings: how it is watched.
        symbols: what is watched; `AUTO`: what the screener chooses.
        resumed: the journal has market data of this feed already, so the first of each instrument comes after a gap.
        chosen, leaving: what the screener chose before a restart.
    """

    def __init__(
        self,
        market: Market,
        settings: LiveSettings,
        symbols: tuple[str, ...],
        *,
        resumed: bool,
        chosen: Sequence[str] | None = None,
        leaving: Sequence[str] = (),
    ) -> None:
        self.screening = Screening(market.rest, settings, chosen, leaving) if symbols == AUTO else None
        self._market = market
        self._state = FeedState(market, settings, resumed=resumed)
        self._healing = Healing(self._state)
        self._wiring = Wiring(self._state, self._healing)
        self._silence = SilenceWatch(self._state, self._wiring, self._healing)
        self._hearing = Hearing(self._state, self._wiring, self._healing)
        self._watching = Watching(self._state, self._wiring, symbols, self.screening)
        self._comparing = Comparing(self._state)
        self._asking = Asking(
            self._state,
            watching=self._watching,
            healing=self._healing,
            silence=self._silence,
            comparing=self._comparing,
            screening=self.screening,
        )

    # inputs

    def begin(self, now_us: int) -> Step:
        """Ask for what must be known first."""
        self._asking.begin(now_us)
        return self._state.take()

    def opened(self, number: int, now_us: int) -> Step:
        """A connection is open: subscribe."""
        self._wiring.opened(number, now_us)
        return self._state.take()

    def closed(self, number: int, reason: str, now_us: int) -> Step:
        """A connection is gone, or could not be made."""
        connection = self._connections.get(number)
        if connection is not None:
            self._wiring.lose(connection, reason, now_us)
        return self._state.take()

    def frame(self, number: int, frame: bytes | str, now_us: int) -> Step:
        """A frame came."""
        connection = self._connections.get(number)
        if connection is not None:
            self._hearing.hear(connection, frame, now_us)
        return self._state.take()

    def answered(self, answer: Answer, now_us: int) -> Step:
        """An answer came, or the cause why there is none."""
        self._asking.take(answer, now_us)
        return self._state.take()

    def hold(self, held: Mapping[str, Decimal | None], now_us: int) -> Step:
        """What is held has changed: it is watched as long as it is (see `Watching.keep`)."""
        self._watching.keep(held, now_us)
        return self._state.take()

    def tick(self, now_us: int) -> Step:
        """Time has passed: ping, look for silence, replace old connections, measure the clock, choose again."""
        for connection in list(self._connections.values()):
            self._wiring.look_after(connection, now_us)
        for slot in self.slots:
            self._silence.look(slot, now_us)
            self._wiring.rotate(slot, now_us)
        self._asking.tick(now_us)
        self._comparing.tick(now_us)
        if self.screening is not None and self._state.listings:
            for ask in self.screening.due(now_us):
                self._state.ask(ask)
            self.screening.held = self._watching.needed()
            for symbol in self.screening.forgotten(now_us):
                self._watching.drop(symbol)
        return self._state.take()

    # what it shows

    @property
    def _connections(self) -> Mapping[int, Connection]:
        return self._wiring.connections

    @property
    def venue(self) -> Venue:
        """The market that is watched."""
        return self._market.venue

    @property
    def instruments(self) -> Mapping[str, InstrumentFeed]:
        """What is watched, by symbol."""
        return self._state.instruments

    @property
    def slots(self) -> list[Slot]:
        """The connections with their symbols."""
        return self._wiring.slots

    @property
    def frames(self) -> int:
        """Frames that came."""
        return self._hearing.frames

    @property
    def bad_frames(self) -> int:
        """Frames that could not be used."""
        return self._hearing.bad_frames

    @property
    def refusals(self) -> int:
        """Subscriptions that were refused."""
        return self._hearing.refusals

    @property
    def reconnects(self) -> int:
        """Connections that were lost, and symbols that were given one of their own."""
        return self._wiring.reconnects

    @property
    def offset_ms(self) -> int | None:
        """The exchange's clock less ours, milliseconds; None before it was measured."""
        return None if self._state.offset_us is None else self._state.offset_us // MS_US

    def problems(self, now_us: int) -> dict[str, str]:
        """Return what is wrong now, by what it is about; empty when everything is watched."""
        found = {f"rest_{kind}": trouble for kind, trouble in self._asking.trouble.items()}
        if not self._asking.answers and not found:
            found["rest"] = f"waiting for the first answer of {self._market.rest_url}"
        if self._watching.missing:
            found["symbols"] = f"{', '.join(self._watching.missing)}: not listed on {self._market.venue}"
        for slot in self.slots:
            found.update(slot_problems(slot, self._market.socket_url, now_us))
        found.update((f"silent_{symbol}", f"{symbol}: no data come") for symbol in sorted(self._state.silent))
        return found

    def status(self, now_us: int) -> dict[str, Any]:
        """Return what `/status` shows."""
        return {
            "venue": self._market.venue,
            "rest": self._market.rest_url,
            "websocket": self._market.socket_url,
            "clock_offset_ms": self.offset_ms,
            "problems": self.problems(now_us),
            "connections": [show_connection(slot, now_us) for slot in self.slots],
            "frames": self.frames,
            "frames_bad": self.bad_frames,
            "reconnects": self.reconnects,
            "refusals": self.refusals,
            "instruments": {symbol: one.status(now_us) for symbol, one in self.instruments.items()},
        }
