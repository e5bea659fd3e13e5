"""What was lost comes back: the trades of the time without a connection are asked for, and counted once."""

from __future__ import annotations

from typing import Final

from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.words import Answer, Deal
from services.common.timestamps import MINUTE_US, MS_US

__all__ = ["QUIET_TRADES_MS", "Healing"]

QUIET_TRADES_MS: Final = 5_000
"""A trade younger than this may still be on its way."""


class Healing:
    """Asks for trades that were lost, and hands them over."""

    def __init__(self, state: FeedState) -> None:
        self._state = state

    def ask(self, symbol: str, now_us: int) -> None:
        """Ask for the trades from where they are missing."""
        state, instrument = self._state, self._state.instruments[symbol]
        until_ms = state.exchange_ms(now_us) + MINUTE_US // MS_US
        from_ms = instrument.heal_from_ms or instrument.ledger.last_ms or until_ms - 2 * MINUTE_US // MS_US
        state.ask(state.market.rest.trades(symbol, from_ms, until_ms))

    def settled_ms(self, answer: Answer) -> int:
        """Return the exchange's time before which an answer has every trade."""
        return self._state.exchange_ms(answer.sent_us) - QUIET_TRADES_MS

    def take(self, instrument: InstrumentFeed, answer: Answer, deals: list[Deal], now_us: int) -> None:
        """Count what an answer brings back of an instrument that is healing."""
        state, way, from_ms = self._state, f"r{answer.sent_us}", instrument.heal_from_ms or 0
        if len(deals) >= state.market.rest.trades_per_answer and deals[0].time_ms >= from_ms:
            if from_ms < deals[-1].time_ms < self.settled_ms(answer):  # the oldest of them: there are more
                state.observe(instrument.heal_some(way, deals, now_us))
                self.ask(instrument.symbol, now_us)
                return
            self._lost(instrument, "the exchange's answer does not reach back far enough", now_us)
        state.observe(instrument.heal(way, deals, now_us))

    def give_up(self, symbol: str, trouble: str, now_us: int) -> None:
        """Let the loss stand: there is no answer."""
        instrument = self._state.instruments.get(symbol)
        if instrument is not None and instrument.healing:
            instrument.end_healing()
            self._lost(instrument, trouble, now_us)

    def _lost(self, instrument: InstrumentFeed, why: str, now_us: int) -> None:
        symbol = instrument.symbol
        instrument.whole_from_ms = self._state.exchange_ms(now_us)
        self._state.tell("CRITICAL", "FEED_GAP_UNHEALED", f"{symbol}: trades are lost for good: {why}", symbol=symbol)
