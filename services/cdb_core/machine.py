"""The signal engine: market data in, momentum signals out.

A bar is decided on when it closes: by the first market data of its instrument in a later minute, or by a tick of the
clock. Warm-up bars fill the windows and are never decided on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from services.cdb_core.bars import Bar, BarBuilder
from services.cdb_core.evaluation import Action, Evaluation
from services.cdb_core.momentum import Market, Rule, Stance, VirtualPosition, Windows
from services.cdb_core.settings import CoreSettings
from services.cdb_core.signals import signal_fields
from services.cdb_core.status import track_status
from services.common import channels
from services.common.events import Control, Event, MarketData, Signal
from services.common.instruments import Venue, instrument_key
from services.common.machine import StateMachine
from services.common.timestamps import format_timestamp
from services.common.warmup import read_warmup

__all__ = ["HISTORY_BARS", "CoreMachine", "CoreState", "Track"]

HISTORY_BARS = 1_440
"""Evaluated bars kept per instrument: one day."""


@dataclass(slots=True)
class Track:
    """Everything the strategy knows about one instrument.

    Attributes:
        history: the last evaluated bars as rows of `Evaluation`, oldest first.
        last_event_id: of the instrument's last market data; None while there were only warm-up bars.
        entries, exits: signals given in this run.
    """

    venue: Venue
    symbol: str
    builder: BarBuilder
    windows: Windows = field(default_factory=Windows)
    stance: Stance = field(default_factory=Stance)
    history: deque[str] = field(default_factory=deque)
    last_event_id: str | None = None
    entries: int = 0
    exits: int = 0

    def absorb(self, bar: Bar, rule: Rule) -> None:
        """Take a closed bar into the windows."""
        self.windows.push(bar, rule)
        self.stance.note(bar)


@dataclass(slots=True)
class CoreState:
    """The state of the signal engine.

    Attributes:
        minute: the minute up to which a tick has closed every instrument's bars.
        tracks: by instrument key, in the order in which the instruments appeared.
    """

    minute: int = 0
    tracks: dict[str, Track] = field(default_factory=dict)


class CoreMachine(StateMachine[CoreSettings, CoreState]):
    """Folds market data into one-minute bars and bars into momentum signals."""

    service: ClassVar[str] = channels.CORE
    consumes: ClassVar[frozenset[str]] = frozenset({channels.MARKET_DATA, channels.CONTROL})
    settings_type = CoreSettings
    state_type = CoreState

    def __init__(self) -> None:
        """Start with nothing folded."""
        super().__init__()
        self._rule = Rule.of(CoreSettings())
        self._symbols: frozenset[str] = frozenset()

    def on_settings(self) -> None:
        """Take the rule of the settings in force; windows grow or shrink with the next bars."""
        self._rule = Rule.of(self.settings)
        self._symbols = frozenset(self.settings.chosen(self.settings.SYMBOLS))

    def on_event(self, event: Event) -> None:
        """Fold market data, the clock and warm-up bars."""
        if type(event) is MarketData:  # of a pydantic class, `isinstance` costs as much as the rest for another event
            self._on_market_data(event)
        elif type(event) is Control and event.producer == channels.WS:
            if event.action == "tick":
                self._on_tick()
            elif event.action == "warmup":
                self._on_warmup(event)

    def evaluations(self, venue: str, symbol: str) -> list[Evaluation]:
        """Return the instrument's last evaluated bars (at most a day), oldest first; none when it is not known."""
        track = self.state.tracks.get(instrument_key(venue, symbol))
        return [] if track is None else [Evaluation.from_row(row) for row in track.history]

    def summary(self) -> dict[str, Any]:
        """Return what `/status` shows: per instrument the last evaluation, the virtual position and what is missing."""
        return {
            "strategy": "momentum_v1",
            "now": None if self.fold.now is None else format_timestamp(self.fold.now),
            "instruments": {
                key: track_status(
                    track.builder.minute,
                    track.windows,
                    track.stance,
                    self._rule,
                    Evaluation.from_row(track.history[-1]) if track.history else None,
                )
                | {"entries": track.entries, "exits": track.exits, "listed": track.symbol in self._symbols}
                for key, track in self.state.tracks.items()
            },
        }

    def _on_market_data(self, event: MarketData) -> None:
        fields = event.__dict__  # see `StateMachine.handle`
        symbol: str = fields["symbol"]
        key = instrument_key(fields["venue"], symbol)
        track = self.state.tracks.get(key)
        minute, event_id = self.minute, fields["event_id"]
        if track is None:
            if symbol not in self._symbols:
                return
            track = Track(event.venue, event.symbol, BarBuilder.opening(minute, event.price))
            self.state.tracks[key] = track
        elif minute > track.builder.minute:
            self._close_bars(track, minute, event_id)
        track.builder.add(event)
        track.last_event_id = event_id

    def _on_tick(self) -> None:
        minute = self.minute
        if minute == self.state.minute:
            return
        self.state.minute = minute
        for track in self.state.tracks.values():
            self._close_bars(track, minute, track.last_event_id)

    def _on_warmup(self, event: Control) -> None:
        """Fill the windows with closed bars that are newer than what is known; none of them is decided on."""
        venue, symbol, read = read_warmup(event)
        bars = [Bar.of_warmup(bar) for bar in read]
        if symbol not in self._symbols or not bars:
            return
        key = instrument_key(venue, symbol)
        track = self.state.tracks.get(key)
        if track is None:
            track = Track(venue, symbol, BarBuilder.opening(bars[0].minute, bars[0].close))
            self.state.tracks[key] = track
        for bar in bars:
            if bar.minute < track.builder.minute:
                continue
            for closed in self._closed(track, bar.minute):
                track.absorb(closed, self._rule)
            track.builder.replace(bar)
            for closed in self._closed(track, bar.minute + 1):
                track.absorb(closed, self._rule)

    def _closed(self, track: Track, minute: int) -> list[Bar]:
        return track.builder.close_until(minute, self._rule.max_gap_min, self._rule.horizon_min)

    def _close_bars(self, track: Track, minute: int, correlation_id: str | None) -> None:
        for bar in self._closed(track, minute):
            track.absorb(bar, self._rule)
            market = Market(
                listed=track.symbol in self._symbols,
                shortable=track.venue != "mexc_spot",
                live=track.last_event_id is not None,
                late=bar.minute + 1 < minute,
            )
            held = track.stance.position
            evaluation = track.stance.decide(bar, track.windows, self._rule, market)
            track.history.append(evaluation.row())
            while len(track.history) > HISTORY_BARS:
                track.history.popleft()
            if evaluation.action is not Action.NONE:
                self._signal(track, evaluation, held or track.stance.position, correlation_id)

    def _signal(
        self, track: Track, evaluation: Evaluation, position: VirtualPosition | None, correlation_id: str | None
    ) -> None:
        assert position is not None, "an entry has opened a position, an exit has ended one"
        intent: Literal["entry", "exit"] = "entry" if evaluation.action is Action.ENTRY else "exit"
        if intent == "entry":
            track.entries += 1
        else:
            track.exits += 1
        self.emit(
            Signal,
            correlation_id=correlation_id,
            venue=track.venue,
            symbol=track.symbol,
            intent=intent,
            **signal_fields(evaluation, position, track.windows, self._rule),
        )
