"""When the screener asks what, and what its choice changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live.protocols import Rest
from services.cdb_ws.live.screener import Ranked, choose, rank
from services.cdb_ws.live.words import Answer, Ask
from services.cdb_ws.live_settings import LiveSettings
from services.common.timestamps import DAY_US, MINUTE_US

__all__ = ["Choice", "Screening"]

SHOWN: Final = 50
"""Rows of the ranking that are kept for `/top`."""


@dataclass(frozen=True)
class Choice:
    """What may be entered from now on, and what is watched beside it.

    Attributes:
        symbols: chosen, best first.
        leaving: still watched, to close what may be held.
        joined, left: against the choice before.
    """

    symbols: tuple[str, ...]
    leaving: tuple[str, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def watched(self) -> tuple[str, ...]:
        """Everything that market data are wanted of."""
        return self.symbols + self.leaving

    def details(self) -> dict[str, Any]:
        """Return the details of a `control/symbols` event."""
        return {
            "symbols": list(self.symbols),
            "leaving": list(self.leaving),
            "joined": list(self.joined),
            "left": list(self.left),
        }

    def sentence(self) -> str:
        """Return it for people."""
        changes = [f"+{symbol}" for symbol in self.joined] + [f"-{symbol}" for symbol in self.left]
        return f"the screener chooses {', '.join(self.symbols) or 'nothing'} ({' '.join(changes)})"


class Screening:
    """Asks for the turnover of everything, looks up how old the best are, and chooses.

    Args:
        rest: makes the questions.
        settings: how many, how often, and what they must keep.
        chosen: the choice in force, when there is one already.
        leaving: what was still watched beside it.

    Attributes:
        ranking: the last one, with the reasons of what is not chosen.
        chosen: the last choice; None before the first.
        held: symbols of which something is held: they are not forgotten.
    """

    def __init__(
        self,
        rest: Rest,
        settings: LiveSettings,
        chosen: Sequence[str] | None = None,
        leaving: Sequence[str] = (),
    ) -> None:
        self._rest = rest
        self._settings = settings
        self._asked_us: int | None = None
        self._tickers: list[Ticker] | None = None
        self._old: dict[str, bool] = {}
        self._looking_up: set[str] = set()
        self._leaving: dict[str, int | None] = dict.fromkeys(leaving)  # None: since before the start
        self.ranking: list[Ranked] = []
        self.chosen: tuple[str, ...] | None = None if chosen is None else tuple(chosen)
        self.held: frozenset[str] = frozenset()
        self._told = False

    def begin(self, now_us: int) -> Ask:
        """Ask for the turnover of everything."""
        self._asked_us = now_us
        until_us = now_us + self._settings.SCREENER_KEEP_MIN * MINUTE_US
        self._leaving = {symbol: until_us if until is None else until for symbol, until in self._leaving.items()}
        return self._rest.tickers()

    def due(self, now_us: int) -> list[Ask]:
        """Return what is to be asked when it is time to choose again: the schedule follows the feed's time."""
        every_us = self._settings.SCREENER_EVERY_MIN * MINUTE_US
        if self._asked_us is None or now_us // every_us == self._asked_us // every_us:
            return []
        return [self.begin(now_us), self._rest.instruments()]

    def take(self, answer: Answer) -> None:
        """Take an answer over.

        Raises:
            FeedInputInvalid: it is not what was asked for.
        """
        if answer.ask.kind == "tickers":
            tickers = self._rest.read_tickers(answer.body)
            self._tickers = tickers
            return
        bars = self._rest.read_klines(answer.body, None)
        limit_us = answer.sent_us - self._settings.SCREENER_MIN_AGE_DAYS * DAY_US
        self._old[answer.ask.symbol] = bool(bars) and bars[0].start_us <= limit_us
        self._looking_up.discard(answer.ask.symbol)

    def fail(self, ask: Ask) -> None:
        """Take note that an age cannot be learnt: such a symbol counts as too young."""
        self._old[ask.symbol] = False
        self._looking_up.discard(ask.symbol)

    def choose(self, listings: Mapping[str, Listing], now_us: int) -> tuple[list[Ask], Choice | None]:
        """Return what must still be asked, or the choice if it differs from the one before."""
        if self._tickers is None or not listings or self._looking_up:
            return [], None
        self.ranking = rank(self._tickers, listings, self._old, self._settings)
        best = choose(self.ranking, self._settings.SCREENER_TOP)
        days = self._settings.SCREENER_MIN_AGE_DAYS
        unknown = [symbol for symbol in best if symbol not in self._old] if days else []
        if unknown:
            self._looking_up.update(unknown)
            return [self._rest.age(symbol, now_us - (days + 2) * DAY_US, now_us) for symbol in unknown], None
        self._tickers = None
        if self._told and self.chosen is not None and set(best) == set(self.chosen):
            return [], None
        self._told = True
        before = self.chosen or ()
        left = tuple(symbol for symbol in before if symbol not in best)
        joined = tuple(symbol for symbol in best if symbol not in before)
        self._leaving.update((symbol, now_us + self._settings.SCREENER_KEEP_MIN * MINUTE_US) for symbol in left)
        for symbol in joined:
            self._leaving.pop(symbol, None)
        self.chosen = best
        return [], Choice(best, tuple(self._leaving), joined, left)

    def forgotten(self, now_us: int) -> list[str]:
        """Return the symbols that left long ago and that nobody holds any more."""
        gone = [
            symbol
            for symbol, until_us in self._leaving.items()
            if until_us is not None and now_us >= until_us and symbol not in self.held
        ]
        for symbol in gone:
            del self._leaving[symbol]
        return gone

    def top(self) -> dict[str, Any]:
        """Return the ranking as `/top` shows it."""
        return {
            "chosen": list(self.chosen or ()),
            "leaving": sorted(self._leaving),
            "ranking": [row.as_row(place) for place, row in enumerate(self.ranking[:SHOWN], 1)],
        }
