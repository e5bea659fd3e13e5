"""Silence: a symbol of which nothing comes, and trades that the exchange has and does not push."""

from __future__ import annotations

from services.cdb_ws.live.healing import Healing
from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.links import Connection, Slot
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.wiring import Wiring
from services.cdb_ws.live.words import Deal
from services.common.timestamps import SECOND_US

__all__ = ["SilenceWatch"]


class SilenceWatch:
    """Looks for silence and has connected anew what is silent."""

    def __init__(self, state: FeedState, wiring: Wiring, healing: Healing) -> None:
        self._state = state
        self._wiring = wiring
        self._healing = healing

    def look(self, slot: Slot, now_us: int) -> None:
        """Find the symbols of a connection of which all or a part is silent; of those without trades, ask for them."""
        connection = slot.current
        if connection is None or connection.opened_us is None:
            return
        limit_us = self._state.settings.FEED_SILENCE_SEC * SECOND_US
        refused = connection.subscriptions.refusals()
        silent: dict[str, str] = {}
        for symbol in slot.symbols:
            instrument = self._state.instruments[symbol]
            if refused.keys() & set(self._state.topics(symbol)):
                continue  # asked for again by itself
            if now_us - max(instrument.heard_us or 0, connection.opened_us) > limit_us:
                silent[symbol] = f"not a message for {limit_us // SECOND_US} s"
            elif part := instrument.stuck(connection.opened_us, limit_us):
                silent[symbol] = f"no {part} for {limit_us // SECOND_US} s while others come"
            elif now_us - max(instrument.deals_us or 0, connection.opened_us) > limit_us and not instrument.healing:
                instrument.deals_us = now_us
                self._healing.ask(symbol, now_us)
        if silent:
            self._on_silence(slot, connection, silent, now_us)

    def _on_silence(self, slot: Slot, connection: Connection, silent: dict[str, str], now_us: int) -> None:
        """Connect anew: the whole connection when all of it is silent, otherwise the silent symbols on their own."""
        state = self._state
        state.silent.update(silent)
        reason = "; ".join(f"{symbol}: {what}" for symbol, what in silent.items())
        state.tell("WARNING", "FEED_SILENT", reason, symbols=list(silent))
        if len(silent) == len(slot.symbols):
            self._wiring.give_up(connection, reason, now_us)
            return
        for symbol in silent:
            self._wiring.part(slot, symbol, now_us)

    def check_quiet(self, instrument: InstrumentFeed, deals: list[Deal], settled_ms: int, now_us: int) -> None:
        """The trades' topic was quiet: did the exchange have trades that it did not push?"""
        slot = self._wiring.slot_of(instrument.symbol)
        if slot is None or slot.current is None or slot.current.opened_us is None:
            return
        since_ms = instrument.ledger.last_ms or self._state.exchange_ms(slot.current.opened_us)
        missed = sum(since_ms < deal.time_ms < settled_ms for deal in deals)
        if not missed:
            return
        reason = f"{instrument.deals_topic} is subscribed and silent: {missed} trades were not pushed"
        self._state.tell("WARNING", "FEED_SILENT", reason, symbol=instrument.symbol)
        self._state.silent.add(instrument.symbol)
        self._wiring.give_up(slot.current, reason, now_us)
