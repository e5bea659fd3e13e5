"""Why there was no trade of an instrument at a time: which condition of the strategy was missing, or who said no.

The signal engine folds the recorded history up to that time, so that every number is the one it had then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from claire.explain.lookup import Hit, Lookup
from claire.explain.story import Story, story_of
from claire.explain.wording import day_clock, duration, instrument_name, money, number, percent, price
from claire.history.span import Span
from claire.statistics.numbers import counted
from services.cdb_core.evaluation import Action, Evaluation, Reason
from services.cdb_core.machine import CoreMachine, Track
from services.cdb_core.momentum import Rule
from services.common import channels
from services.common.errors import ClaireError
from services.common.events import Signal
from services.common.journal.entry import Entry
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["Condition", "InstrumentUnknown", "WhyNot", "bar_dict", "conditions_of", "why_not"]

KEPT_SIGNALS: Final = 3
_CORE_CHANNELS: Final = frozenset({channels.MARKET_DATA, channels.CONTROL})


class InstrumentUnknown(ClaireError):
    """The history has no market data of the instrument at that time."""


@dataclass(frozen=True)
class Condition:
    """One condition of an entry at the bar that was asked for.

    Attributes:
        name: of the reason that would be recorded if it does not hold.
        met: whether it held.
        detail: a sentence with the numbers.
    """

    name: str
    met: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {"name": str(self.name), "met": self.met, "detail": self.detail}


@dataclass(frozen=True)
class WhyNot:
    """The answer.

    Attributes:
        asked_us: the time asked for.
        bar: the last bar that closed by then; None before the first.
        conditions: all that an entry needs, in the order in which the strategy looks at them.
        signal: story of the entry signal that this bar, or the trader meanwhile, gave; None without one.
        earlier: story of the last entry signal before that; None without one.
    """

    venue: str
    symbol: str
    asked_us: int
    bar: Evaluation | None
    conditions: tuple[Condition, ...]
    signal: Story | None
    earlier: Story | None

    @property
    def verdict(self) -> str:
        """Return in a word: no_bar, no_signal, exit_signal, or what came of the signal."""
        if self.signal is not None:
            return self.signal.verdict
        if self.bar is None:
            return "no_bar"
        return "exit_signal" if self.bar.action is Action.EXIT else "no_signal"

    @property
    def missing(self) -> list[Condition]:
        """The conditions that did not hold."""
        return [condition for condition in self.conditions if not condition.met]

    def summary(self) -> str:
        """Return the answer in a sentence."""
        if self.signal is None and self.bar is not None and self.asked_us - self.bar.close_time_us >= 2 * MINUTE_US:
            ago = duration(self.asked_us - self.bar.close_time_us)
            return f"No bar had closed for {ago} by then; of the last one: {self._answer()}"
        return self._answer()

    def _answer(self) -> str:
        name, bar = instrument_name(self.venue, self.symbol), self.bar
        if self.signal is not None:
            what = {
                "filled": "There was a trade", "partly_filled": "There was a trade",
                "refused": "A signal was given, and risk refused it",
                "expired": "A signal was given and an order sent, but it was not filled",
                "canceled": "A signal was given and an order sent, but it was cancelled",
                "rejected": "A signal was given and an order sent, but execution rejected it",
                "undecided": "A signal was given, and risk has not decided on it",
            }  # fmt: skip
            return what.get(self.signal.verdict, "A signal was given") + "."
        if bar is None:
            return f"No bar of {name} had closed by then."
        if bar.action is Action.EXIT:
            return f"The bar ended the strategy's position ({', '.join(bar.reasons)}); an entry can follow later."
        missing = self.missing
        if not missing:
            return "Nothing was missing."
        if len(missing) == 1:
            return f"No signal: {missing[0].detail}."
        return f"No signal: {len(missing)} conditions were missing, first of all: {missing[0].detail}."

    def as_dict(self) -> dict[str, Any]:
        """Return everything for `--json`."""
        bar = self.bar
        return {
            "kind": "why_not",
            "instrument": f"{self.venue}:{self.symbol}",
            "asked": format_timestamp(self.asked_us),
            "verdict": self.verdict,
            "summary": self.summary(),
            "bar": None if bar is None else bar_dict(bar),
            "conditions": [condition.as_dict() for condition in self.conditions],
            "signal": None if self.signal is None else self.signal.as_dict(),
            "earlier": None if self.earlier is None else self.earlier.as_dict(),
        }


def bar_dict(bar: Evaluation) -> dict[str, Any]:
    """Return an evaluated bar for `--json`."""
    return {
        "close_time": format_timestamp(bar.close_time_us),
        "close": bar.close,
        "momentum_pct": bar.momentum_pct,
        "threshold_pct": bar.threshold_pct,
        "way_pct": bar.way_pct,
        "volatility_pct": bar.volatility_pct,
        "volume_usdt": bar.volume_usdt,
        "action": bar.action.value,
        "reasons": [reason.value for reason in bar.reasons],
    }


def why_not(lookup: Lookup, venue: str | None, symbol: str, asked_us: int) -> WhyNot:
    """Return why an instrument was not traded at a time.

    Args:
        lookup: the history.
        venue: None for the one that has market data of the symbol.
        symbol: as on the wire.
        asked_us: microseconds; the bar that closed at or before it is looked at.

    Raises:
        InstrumentUnknown: there are no market data of it by then.
        HistoryUnusable: the history begins in the middle, so nobody knows what the strategy knew.
    """
    lookup.history.require_beginning()
    core = CoreMachine()
    signals: deque[Entry] = deque(maxlen=KEPT_SIGNALS)
    needle = f'"symbol":"{symbol}"'.encode()
    for entry in lookup.history.entries(Span(until=format_timestamp(asked_us))):
        lookup.tell(entry.id.n)
        if entry.channel in _CORE_CHANNELS:
            core.handle(entry)
        elif entry.channel == channels.SIGNALS and needle in entry.data:
            event = entry.event
            assert isinstance(event, Signal)
            if event.intent == "entry" and venue in {None, event.venue}:
                signals.append(entry)
    track = _track(core, venue, symbol, lookup.history.where, asked_us)
    rows = core.evaluations(track.venue, symbol)
    bar = rows[-1] if rows else None
    since_us = asked_us - MINUTE_US if bar is None else bar.close_time_us
    now = [entry for entry in signals if entry.event.timestamp >= since_us]
    before = [entry for entry in signals if entry.event.timestamp < since_us]
    return WhyNot(
        venue=track.venue,
        symbol=symbol,
        asked_us=asked_us,
        bar=bar,
        conditions=() if bar is None or bar.action is not Action.NONE else conditions_of(bar, track, core),
        signal=_story(lookup, now),
        earlier=_story(lookup, before),
    )


def _track(core: CoreMachine, venue: str | None, symbol: str, where: str, asked_us: int) -> Track:
    known = [track for track in core.state.tracks.values() if track.symbol == symbol]
    for track in known:
        if venue in {None, track.venue}:
            return track
    others = ", ".join(sorted({track.symbol for track in core.state.tracks.values()}))
    raise InstrumentUnknown(
        f"{where}: no market data of {symbol} by {day_clock(asked_us)} UTC"
        + (f"; there are {others}" if others else "; the history begins later")
    )


def _story(lookup: Lookup, entries: list[Entry]) -> Story | None:
    if not entries:
        return None
    entry = entries[-1]
    return story_of(lookup, Hit(entry.event.event_id, "event", entry))


def conditions_of(bar: Evaluation, track: Track, core: CoreMachine) -> tuple[Condition, ...]:
    """Return what an entry needed at the last bar of an instrument, which gave none."""
    rule, reasons = Rule.of(core.settings), set(bar.reasons)
    if Reason.IN_POSITION in reasons:
        return (Condition(Reason.IN_POSITION, met=False, detail=_held(track, rule)),)
    shorts = track.venue != "mexc_spot" and rule.allow_short
    texts = {
        Reason.WARMING_UP: _warm(track, rule),
        Reason.NOT_IN_SYMBOLS: (
            f"{track.symbol} {'is not' if Reason.NOT_IN_SYMBOLS in reasons else 'is'} in SYMBOLS "
            f"({', '.join(core.settings.chosen(core.settings.SYMBOLS))})"
        ),
        Reason.GAP: _gap(bar, track, rule),
        Reason.STALE_BAR: (
            "the bar was closed too late, after a later minute had passed"
            if Reason.STALE_BAR in reasons
            else "the bar was closed in time"
        ),
        Reason.BELOW_THRESHOLD: _threshold(bar, rule, shorts=shorts),
        Reason.SHORT_NOT_ALLOWED: (
            f"m is below 0 ({percent(bar.momentum_pct, signed=True)}), and nothing is sold short here"
            if Reason.SHORT_NOT_ALLOWED in reasons
            else "m is not below 0"
        ),
        Reason.NOT_ARMED: _armed(bar, track, rule),
        Reason.COOLDOWN: _cooldown(bar, track, rule),
        Reason.VOLUME: _volume(bar, rule, core),
    }
    if shorts:
        del texts[Reason.SHORT_NOT_ALLOWED]
    return tuple(Condition(reason, met=reason not in reasons, detail=text) for reason, text in texts.items())


def _held(track: Track, rule: Rule) -> str:
    position = track.stance.position
    if position is None:
        return "the strategy held its position"
    direction = "long" if position.direction > 0 else "short"
    since = day_clock((position.entry_minute + 1) * MINUTE_US)
    return (
        f"the strategy already holds {direction} since {since} at {price(position.entry_price)} (virtual stop "
        f"{price(position.stop_price(rule))}, at most {rule.max_hold_min} min), and enters only when flat"
    )


def _warm(track: Track, rule: Rule) -> str:
    missing = track.windows.missing_bars(rule)
    if not missing and track.last_event_id is None:
        return "warm-up: no market data have come in this run, only closed bars"
    if missing:
        return f"warm-up: {counted(missing, 'bar')} more needed for momentum (L {rule.lookback_min} min) and volatility"
    return "warm-up: enough bars for momentum and volatility"


def _gap(bar: Evaluation, track: Track, rule: Rule) -> str:
    left = track.stance.gap_left_min(bar.minute, rule)
    if not left:
        return f"no gap in the market data of the last {rule.lookback_min} min"
    return f"a gap in the market data: {counted(left, 'clean minute')} of {rule.lookback_min} still needed"


def _threshold(bar: Evaluation, rule: Rule, *, shorts: bool) -> str:
    momentum, threshold = bar.momentum_pct, bar.threshold_pct
    if momentum is None or threshold is None:
        return "m must reach T, but one of them is unknown"
    left, way = threshold - abs(momentum), f"{bar.way_pct} % of the way"
    if momentum < 0 and not shorts:  # the size of a fall is no part of the way to a purchase
        left, way = threshold - momentum if left > 0 else left, "in the wrong direction"
    way = f"m {percent(momentum, signed=True)} of T {percent(threshold)}, {way}"
    short = f", {percent(left)} short" if left > 0 else ""
    floor = ", T is the floor" if bar.threshold_e12 == rule.floor_e12 else ""
    return way + short + floor


def _volume(bar: Evaluation, rule: Rule, core: CoreMachine) -> str:
    needed = money(core.settings.SIGNAL_MIN_VOLUME)
    return f"traded in {rule.lookback_min} min {money(bar.volume_usdt)}, needed {needed}"


def _armed(bar: Evaluation, track: Track, rule: Rule) -> str:
    if track.stance.armed:
        return "armed"
    share = Decimal(rule.rearm_e6) / 10**6
    level = None if bar.threshold_pct is None else bar.threshold_pct * share
    size = None if bar.momentum_pct is None else abs(bar.momentum_pct)
    return (
        f"not re-armed since the last entry: |m| {percent(size)} "
        f"must first fall under {number(share, 2)} T = {percent(level)} while flat"
    )


def _cooldown(bar: Evaluation, track: Track, rule: Rule) -> str:
    left = max(track.stance.rested_from_minute - bar.minute, 0)
    if not left:
        return f"no cooldown ({rule.cooldown_min} min after an entry, {rule.stop_cooldown_min} min after a stop)"
    return f"cooling down for {left} more min, until {day_clock((track.stance.rested_from_minute + 1) * MINUTE_US)} UTC"
