"""A trade lost in a living stream leaves no sign: each closed minute is compared with the exchange's own bar.

Trades are pushed without numbers that could be missing (spot trades have ids that are not promised to be contiguous,
and books are pushed whole), so the sum is what tells. A minute of less volume than its bar has its trades asked for;
those that were not counted are, once, with `gap`. What then still differs is told and counted: the bar and the
trades of the exchange do not agree, and nothing here can say which of them is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_ws.live.instrument import InstrumentFeed
from services.cdb_ws.live.ledger import KEEP_MS, MINUTE_MS
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.words import Answer
from services.common.timestamps import MS_US

__all__ = ["Comparing"]

SETTLED_MS: Final = 10_000
"""So long after its end a minute's last trades have been pushed and its bar is final."""
AGAIN_MS: Final = 20_000
LOOKS: Final = 2
QUESTIONS: Final = 15
"""For the trades of one minute: a full answer is asked for again in halves."""
OLDEST_MS: Final = KEEP_MS - 2 * MINUTE_MS
"""A minute that began longer ago is passed over: its trades will be forgotten soon."""


@dataclass(slots=True)
class _Minute:
    """The minute of an instrument that is compared next.

    Attributes:
        start_ms: of the exchange's time.
        not_before_ms: when it is looked at (again).
        asked: a question is under way.
        looks: times that it was found to differ.
        found: trades that its looks have brought.
        standing: the minute before it ended in a difference, too.
        bar: what its bar has.
        stretch, stretches, questions: of its trades: asked for now, still to be asked for, asked so far.
    """

    start_ms: int
    not_before_ms: int
    asked: bool = False
    looks: int = 0
    found: int = 0
    standing: bool = False
    bar: Decimal = field(default_factory=Decimal)
    stretch: tuple[int, int] = (0, 0)
    stretches: list[tuple[int, int]] = field(default_factory=list)
    questions: int = 0

    def halve(self) -> None:
        """Put both halves of the stretch that was asked for on the list, the earlier one next."""
        from_ms, until_ms = self.stretch
        if from_ms < until_ms:
            middle_ms = (from_ms + until_ms) // 2
            self.stretches += [(middle_ms + 1, until_ms), (from_ms, middle_ms)]


class Comparing:
    """Compares minute after minute, one question at a time for each instrument and one new question each look."""

    def __init__(self, state: FeedState) -> None:
        self._state = state
        self._minutes: dict[str, _Minute] = {}

    def tick(self, now_us: int) -> None:
        """Ask for the bar that has waited longest."""
        if not self._state.settings.FEED_COMPARE or self._state.offset_us is None:
            return
        exchange_ms = self._state.exchange_ms(now_us)
        for symbol in self._minutes.keys() - self._state.instruments.keys():
            del self._minutes[symbol]
        due = []
        for symbol, instrument in self._state.instruments.items():
            minute = self._minute(instrument, exchange_ms)
            if minute is not None and not minute.asked and exchange_ms >= minute.not_before_ms:
                due.append((minute.not_before_ms, symbol))
        if due:
            self._ask(min(due)[1])

    def _minute(self, instrument: InstrumentFeed, exchange_ms: int) -> _Minute | None:
        """Return the minute of an instrument to compare; None while what it has is not whole."""
        if instrument.healing or instrument.whole_from_ms is None:
            return None
        first_ms = instrument.whole_from_ms // MINUTE_MS * MINUTE_MS
        oldest_ms = (exchange_ms - OLDEST_MS) // MINUTE_MS * MINUTE_MS
        minute = self._minutes.get(instrument.symbol)
        if minute is None or minute.start_ms < max(first_ms, oldest_ms):
            minute = self._minutes[instrument.symbol] = _later(max(first_ms, oldest_ms), standing=False)
        return minute

    def _ask(self, symbol: str) -> None:
        minute = self._minutes[symbol]
        minute.asked = True
        if self._begins_within(self._state.instruments[symbol], minute):
            self._begin_trades(symbol, minute)
            return
        bar = self._state.market.rest.klines(symbol, minute.start_ms * MS_US, (minute.start_ms + MINUTE_MS) * MS_US)
        self._state.ask(bar.of_kind("bar"))

    @staticmethod
    def _begins_within(instrument: InstrumentFeed, minute: _Minute) -> bool:
        """Whether only a part of a minute was watched: its bar says nothing then, its trades do."""
        return (instrument.whole_from_ms or 0) > minute.start_ms

    def on_bar(self, answer: Answer, _now_us: int) -> None:
        """Compare a minute with its bar; ask for its trades when they differ.

        Raises:
            FeedInputInvalid: there are no bars in the answer.
        """
        found = self._of(answer)
        if found is None:
            return
        instrument, minute = found
        bars = self._state.market.rest.read_klines(answer.body, instrument.spec)
        volumes = [bar.volume for bar in bars if bar.start_us == minute.start_ms * MS_US]
        if not volumes:
            self._end(instrument, minute, "unknown")
            return
        minute.bar = volumes[0]
        if instrument.traded(minute.start_ms) == minute.bar:
            self._agreed(instrument, minute)
        else:
            self._begin_trades(instrument.symbol, minute)

    def _begin_trades(self, symbol: str, minute: _Minute) -> None:
        minute.stretches, minute.questions = [(minute.start_ms, minute.start_ms + MINUTE_MS - 1)], 0
        self._ask_trades(symbol, minute)

    def _ask_trades(self, symbol: str, minute: _Minute) -> None:
        minute.stretch = minute.stretches.pop()
        minute.questions += 1
        self._state.ask(self._state.market.rest.trades(symbol, *minute.stretch).of_kind("recount"))

    def on_trades(self, answer: Answer, now_us: int) -> None:
        """Count what was lost of a minute, and compare again.

        Raises:
            FeedInputInvalid: there are no trades in the answer.
        """
        found = self._of(answer)
        if found is None:
            return
        instrument, minute = found
        rest = self._state.market.rest
        whole_ms, end_ms = max(minute.start_ms, instrument.whole_from_ms or 0), minute.start_ms + MINUTE_MS
        answered = rest.read_trades(answer.body)
        deals = [deal for deal in answered if whole_ms <= deal.time_ms < end_ms]
        number, observation = instrument.recover(f"m{answer.sent_us}", deals, now_us)
        self._state.observe(observation)
        minute.found += number
        partly = self._begins_within(instrument, minute)
        if not partly and instrument.traded(minute.start_ms) == minute.bar:
            self._agreed(instrument, minute)
            return
        full = len(answered) >= rest.trades_per_answer
        if full and rest.asks_stretches:
            minute.halve()
        if minute.stretches and minute.questions < QUESTIONS:
            self._ask_trades(instrument.symbol, minute)
        elif partly:
            self._agreed(instrument, minute, "unknown" if full and answered[0].time_ms > whole_ms else "begun")
        else:
            self._differs(instrument, minute, now_us)

    def _of(self, answer: Answer) -> tuple[InstrumentFeed, _Minute] | None:
        """Return what an answer is about; None when nobody waits for it any more."""
        instrument, minute = self._state.instruments.get(answer.ask.symbol), self._minutes.get(answer.ask.symbol)
        if instrument is None or minute is None or not minute.asked:
            return None
        return instrument, minute

    def _agreed(self, instrument: InstrumentFeed, minute: _Minute, verdict: str = "equal") -> None:
        if minute.found:
            self._state.tell(
                "WARNING",
                "FEED_TRADES_MISSED",
                f"{instrument.symbol}: {minute.found} trades were not pushed; the minute's bar gave them away, and "
                "they are counted now",
                symbol=instrument.symbol,
                trades=minute.found,
            )
        self._end(instrument, minute, "healed" if minute.found and verdict != "unknown" else verdict)

    def _differs(self, instrument: InstrumentFeed, minute: _Minute, now_us: int) -> None:
        """Look once more a little later: the bar or the trades may have been behind. Then it stands."""
        minute.looks += 1
        if minute.looks < LOOKS:
            minute.asked = False
            minute.not_before_ms = self._state.exchange_ms(now_us) + AGAIN_MS
            return
        counted = instrument.traded(minute.start_ms)
        if not minute.standing:
            if counted < minute.bar:
                instrument.mark()
            self._state.tell(
                "WARNING",
                "FEED_VOLUME_DIFFERS",
                f"{instrument.symbol}: the exchange's bar has {minute.bar} for a minute, its trades make {counted}",
                symbol=instrument.symbol,
                bar=str(minute.bar),
                counted=str(counted),
                minute_ms=minute.start_ms,
            )
        self._end(instrument, minute, "differs")

    def _end(self, instrument: InstrumentFeed, minute: _Minute, verdict: str) -> None:
        instrument.compared[verdict] += 1
        self._minutes[instrument.symbol] = _later(minute.start_ms + MINUTE_MS, standing=verdict == "differs")

    def give_up(self, symbol: str) -> None:
        """Pass over a minute whose bar or trades cannot be learnt."""
        instrument, minute = self._state.instruments.get(symbol), self._minutes.get(symbol)
        if instrument is not None and minute is not None:
            self._end(instrument, minute, "unknown")


def _later(start_ms: int, *, standing: bool) -> _Minute:
    return _Minute(start_ms, start_ms + MINUTE_MS + SETTLED_MS, standing=standing)
