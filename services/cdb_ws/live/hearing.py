"""What a frame says, and what that means for the connection it came over and the instrument it is about."""

from __future__ import annotations

from collections.abc import Iterable

from services.cdb_ws.live.healing import Healing
from services.cdb_ws.live.links import Connection
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.wiring import Wiring
from services.cdb_ws.live.words import Acknowledged, Bad, Deals, Mark, Ping, Quote, Refused, Sight
from services.cdb_ws.observation import RejectedRow
from services.common.timestamps import MINUTE_US, MS_US

__all__ = ["Hearing"]


class Hearing:
    """Takes frames in.

    Attributes:
        frames, bad_frames, refusals: so many came, could not be used, refused a subscription.
    """

    def __init__(self, state: FeedState, wiring: Wiring, healing: Healing) -> None:
        self._state = state
        self._wiring = wiring
        self._healing = healing
        self.frames = self.bad_frames = self.refusals = 0

    def hear(self, connection: Connection, frame: bytes | str, now_us: int) -> None:
        """Take a frame in."""
        self.frames += 1
        connection.heard_us = now_us
        for sight in self._state.market.socket.decode(frame):
            self._see(connection, sight, frame, now_us)

    def _see(self, connection: Connection, sight: Sight, frame: bytes | str, now_us: int) -> None:
        match sight:
            case Deals() | Quote() | Mark():
                self._data(connection, sight, frame, now_us)
            case Acknowledged(names):
                self._echoed(connection, names, now_us)
            case Refused(names, reason):
                self._refused(connection, names, reason, now_us)
            case Bad(reason, symbol, lost):
                self._bad(connection, symbol, reason, frame, now_us, lost=lost)
            case Ping():
                self._state.send(connection, [self._state.market.socket.pong()])
            case _:
                pass

    def _data(self, connection: Connection, sight: Deals | Quote | Mark, frame: bytes | str, now_us: int) -> None:
        state, slot = self._state, connection.slot
        connection.subscriptions.data(sight.topic)
        instrument = state.instruments.get(sight.symbol)
        if instrument is None or sight.topic not in connection.subscriptions:
            return
        if slot.current is connection:
            state.silent.discard(sight.symbol)
            if slot.trouble and all(state.instruments[s].heard_us is not None for s in slot.symbols):
                slot.trouble, slot.attempt = "", 0
        if isinstance(sight, Deals):
            state.observe(instrument.see_deals(connection.way, sight.deals, now_us))
            if sight.bad:
                self._bad(connection, sight.symbol, sight.bad, frame, now_us)
        elif isinstance(sight, Quote):
            state.observe(instrument.see_quote(sight, now_us))
        else:
            state.observe(instrument.see_mark(sight, now_us))

    def _echoed(self, connection: Connection, names: Iterable[str], now_us: int) -> None:
        for topic in connection.subscriptions.echoed(names):
            for symbol in connection.slot.symbols:
                instrument = self._state.instruments[symbol]
                if topic != instrument.deals_topic:
                    continue
                if instrument.whole_from_ms is None:
                    instrument.whole_from_ms = self._state.exchange_ms(now_us)
                if instrument.healing and connection.slot.current is connection:
                    self._healing.ask(symbol, now_us)

    def _refused(self, connection: Connection, names: Iterable[str], reason: str, now_us: int) -> None:
        topics = connection.subscriptions.refused(names, reason)
        self.refusals += 1
        self._wiring.refused_at = now_us
        listed = ", ".join(topics) or "a subscription"
        self._state.tell(
            "CRITICAL", "SUBSCRIPTION_REFUSED", f"{self._state.market.socket_url} refuses {listed}: {reason}"
        )

    def _bad(
        self, connection: Connection, symbol: str, reason: str, frame: bytes | str, now_us: int, *, lost: bool = True
    ) -> None:
        """A frame cannot be used: it is kept, and what it may have said is lost until it is healed."""
        state, slot = self._state, connection.slot
        self.bad_frames += 1
        raw = frame if isinstance(frame, bytes) else frame.encode(errors="replace")
        state.step.rejected.append(RejectedRow(now_us, reason, raw))
        if not lost or slot.current is not connection:
            return
        since_ms = state.exchange_ms(now_us) - MINUTE_US // MS_US
        for name in [symbol] if symbol else list(slot.symbols):
            instrument = state.instruments.get(name)
            if instrument is not None and name in slot.symbols and not instrument.healing:
                instrument.lose(since_ms)
                self._healing.ask(name, now_us)
