"""What was lost comes back: the trades of the time without a connection are asked for, and counted once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.words import Answer, Ask, Deal
from services.common.timestamps import MINUTE_US, MS_US

__all__ = ["QUIET_TRADES_MS", "Healing"]

QUIET_TRADES_MS: Final = 5_000
"""A trade younger than this may still be on its way."""
QUESTIONS: Final = 63
"""For one loss: a full answer is asked for again in halves, whichever end of the stretch it shows."""


@dataclass(slots=True)
class _Loss:
    """What is asked for of one instrument: stretches of the exchange's time, both ends included."""

    left: list[tuple[int, int]]
    stretch: tuple[int, int] = (0, 0)
    asked: Ask | None = None
    questions: int = 0
    whole: bool = True


@dataclass
class Healing:
    """Asks for trades that were lost, and hands them over."""

    state: FeedState
    _losses: dict[str, _Loss] = field(default_factory=dict)

    def ask(self, symbol: str, now_us: int) -> None:
        """Ask for the trades from where they are missing, all anew."""
        instrument = self.state.instruments[symbol]
        until_ms = self.state.exchange_ms(now_us) + MINUTE_US // MS_US
        from_ms = instrument.heal_from_ms or instrument.ledger.last_ms or until_ms - 2 * MINUTE_US // MS_US
        self._losses[symbol] = _Loss([(from_ms, until_ms)])
        self._next(symbol)

    def _next(self, symbol: str) -> None:
        loss = self._losses[symbol]
        loss.stretch = loss.left.pop()
        loss.questions += 1
        loss.asked = self.state.market.rest.trades(symbol, *loss.stretch)
        self.state.ask(loss.asked)

    def settled_ms(self, answer: Answer) -> int:
        """Return the exchange's time before which an answer has every trade."""
        return self.state.exchange_ms(answer.sent_us) - QUIET_TRADES_MS

    def take(self, instrument: InstrumentFeed, answer: Answer, deals: list[Deal], now_us: int) -> None:
        """Count what an answer brings back of an instrument that is healing."""
        rest, from_ms = self.state.market.rest, instrument.heal_from_ms or 0
        self.state.observe(instrument.bring_back(f"r{answer.sent_us}", deals, now_us))
        loss = self._losses.get(instrument.symbol)
        if loss is None or loss.asked is None or loss.asked.params != answer.ask.params:
            return  # it was asked anew since
        if len(deals) >= rest.trades_per_answer and deals[0].time_ms >= from_ms and not self._halve(loss):
            loss.whole = False
        if loss.left:
            self._next(instrument.symbol)
            return
        del self._losses[instrument.symbol]
        instrument.end_healing()
        if not loss.whole:
            self._lost(instrument, "the exchange's answers do not reach back far enough", now_us)

    def _halve(self, loss: _Loss) -> bool:
        """Put both halves of a stretch that had too many trades on the list; False when that is of no use."""
        from_ms, until_ms = loss.stretch
        if not self.state.market.rest.asks_stretches or from_ms >= until_ms or loss.questions >= QUESTIONS:
            return False
        middle_ms = (from_ms + until_ms) // 2
        loss.left += [(middle_ms + 1, until_ms), (from_ms, middle_ms)]
        return True

    def give_up(self, symbol: str, trouble: str, now_us: int) -> None:
        """Let the loss stand: there is no answer."""
        self._losses.pop(symbol, None)
        instrument = self.state.instruments.get(symbol)
        if instrument is not None and instrument.healing:
            instrument.end_healing()
            self._lost(instrument, trouble, now_us)

    def _lost(self, instrument: InstrumentFeed, why: str, now_us: int) -> None:
        symbol = instrument.symbol
        instrument.whole_from_ms = self.state.exchange_ms(now_us)
        self.state.tell("CRITICAL", "FEED_GAP_UNHEALED", f"{symbol}: trades are lost for good: {why}", symbol=symbol)
