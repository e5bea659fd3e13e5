"""Questions over REST: which room an answer goes to, and what follows when there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.cdb_ws.live.comparing import Comparing
from services.cdb_ws.live.healing import Healing
from services.cdb_ws.live.links import backoff_ms
from services.cdb_ws.live.pages import describe, is_page
from services.cdb_ws.live.screening import Screening
from services.cdb_ws.live.silence import SilenceWatch
from services.cdb_ws.live.state import FeedState
from services.cdb_ws.live.watching import Watching
from services.cdb_ws.live.words import Answer, Ask
from services.common.errors import FeedInputInvalid
from services.common.timestamps import MINUTE_US, MS_US, SECOND_US

__all__ = ["Asking"]

ATTEMPTS: Final = 6
"""Of questions that others can do without."""
PROMPT_US: Final = 2 * SECOND_US
"""An answer that took longer measures the clock badly: by up to half of that."""
KEPT_TIMES: Final = 10
FACTS_EVERY_US: Final = 30 * MINUTE_US
"""Grids and states are asked for again: an instrument may be closed, or change its rules."""
LIMITED_MS: Final = 5_000
"""So long at least nothing of a kind is asked again that met the exchange's limits."""


class Asking:
    """Takes answers in, and measures the exchange's clock.

    Attributes:
        trouble: by kind of question, why there is no answer now.
        answers: so many came that could be used.
    """

    def __init__(
        self,
        state: FeedState,
        *,
        watching: Watching,
        healing: Healing,
        silence: SilenceWatch,
        comparing: Comparing,
        screening: Screening | None,
    ) -> None:
        self._state = state
        self._watching = watching
        self._healing = healing
        self._silence = silence
        self._comparing = comparing
        self._screening = screening
        self._time_asked_us: int | None = None
        self._facts_asked_us = 0
        self._measured_us = 0
        self.trouble: dict[str, str] = {}
        self.answers = 0

    def begin(self, now_us: int) -> None:
        """Ask for what must be known first."""
        self._ask_facts(now_us)
        self._ask_time(now_us)
        if self._screening is not None:
            self._state.ask(self._screening.begin(now_us))

    def tick(self, now_us: int) -> None:
        """Measure the clock again when it is time, and ask for grids and states again."""
        every_us = self._state.settings.FEED_TIME_EVERY_SEC * SECOND_US
        if self._time_asked_us is not None and now_us - self._time_asked_us >= every_us:
            self._ask_time(now_us)
        if self._state.listings and now_us - self._facts_asked_us >= FACTS_EVERY_US:
            self._ask_facts(now_us)

    def _ask_facts(self, now_us: int) -> None:
        self._facts_asked_us = now_us
        self._state.ask(self._state.market.rest.instruments())

    def _ask_time(self, now_us: int) -> None:
        self._time_asked_us = now_us
        self._state.ask(self._state.market.rest.time())

    def take(self, answer: Answer, now_us: int) -> None:
        """Hand an answer on, or ask again."""
        readers: dict[str, Callable[[Answer, int], None]] = {
            "time": self._on_time,
            "instruments": self._watching.on_instruments,
            "klines": self._watching.on_klines,
            "trades": self._on_trades,
            "bar": self._comparing.on_bar,
            "recount": self._comparing.on_trades,
            "tickers": self._on_screening,
            "age": self._on_screening,
        }
        try:
            if answer.status != 200 or is_page(answer.body):
                raise FeedInputInvalid(describe(answer.status, answer.body))
            readers[answer.ask.kind](answer, now_us)
        except FeedInputInvalid as error:
            self._failed(answer, str(error), now_us)
        else:
            self.answers += 1
            self.trouble.pop(answer.ask.kind, None)

    def _on_time(self, answer: Answer, now_us: int) -> None:
        """Take the measured offset, unless the answer was long under way and a better one is not old yet."""
        exchange_us = self._state.market.rest.read_time(answer.body) * MS_US
        every_us = self._state.settings.FEED_TIME_EVERY_SEC * SECOND_US
        if now_us - answer.sent_us <= PROMPT_US or now_us - self._measured_us >= KEPT_TIMES * every_us:
            self._state.offset_us = exchange_us - (answer.sent_us + now_us) // 2
            self._measured_us = now_us

    def _on_trades(self, answer: Answer, now_us: int) -> None:
        instrument = self._state.instruments.get(answer.ask.symbol)
        if instrument is None:
            return
        deals = self._state.market.rest.read_trades(answer.body)
        if instrument.healing:
            self._healing.take(instrument, answer, deals, now_us)
        else:
            self._silence.check_quiet(instrument, deals, self._healing.settled_ms(answer), now_us)

    def _on_screening(self, answer: Answer, now_us: int) -> None:
        assert self._screening is not None
        self._screening.take(answer)
        self._watching.choose(self._screening, now_us)

    def _failed(self, answer: Answer, why: str, now_us: int) -> None:
        ask, attempt = answer.ask, answer.ask.attempt + 1
        trouble = f"GET {self._state.market.rest_url}{ask.path}: {why}"
        self.trouble[ask.kind] = trouble
        needed = ask.kind in {"time", "instruments", "tickers"}
        if attempt == 1 or attempt % 10 == 0:
            self._state.tell("WARNING", "EXCHANGE_UNREACHABLE", trouble, kind=ask.kind, attempt=attempt)
        if needed or attempt < ATTEMPTS:
            limited = answer.status in {418, 429, 510} or b'"code":510' in answer.body[:200]
            wait_ms = max(backoff_ms(attempt), LIMITED_MS if limited else 0)
            self._state.do(Ask(ask.kind, ask.symbol, ask.path, ask.params, wait_ms, attempt))
            return
        del self.trouble[ask.kind]
        if ask.kind == "klines":
            self._state.tell("WARNING", "FEED_WARMUP_MISSING", f"{ask.symbol}: {trouble}", symbol=ask.symbol)
            self._watching.bars_came(ask.symbol, now_us)
        elif ask.kind == "trades":
            self._healing.give_up(ask.symbol, trouble, now_us)
        elif ask.kind in {"bar", "recount"}:
            self._comparing.give_up(ask.symbol)
        elif self._screening is not None:
            self._screening.fail(answer.ask)
            self._watching.choose(self._screening, now_us)
