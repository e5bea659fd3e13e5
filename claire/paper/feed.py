"""From a spec to the batches that cdb_ws would have published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import dropwhile, takewhile
from typing import Any, Final

from claire.paper.journal_feed import find_run, is_history, observations, play_of
from claire.paper.spec import PaperSpec, Period
from services.cdb_core.settings import CoreSettings
from services.cdb_ws.adapters.raw_files import is_raw
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.merging import Source
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Batch, RecordedFeed
from services.cdb_ws.settings import FeedSettings
from services.common import channels
from services.common.decimals import wire_form
from services.common.errors import FeedInputInvalid, NumberOutOfContract, SettingsInvalid
from services.common.settings import load_settings
from services.common.timestamps import MINUTE_US, SECOND_US, format_timestamp

__all__ = ["PaperFeed", "open_feed"]

_PRICES: Final = ("price", "high", "low", "bid", "ask", "mark_price")
_NUMBERS: Final = (*_PRICES, "volume", "bid_size", "ask_size", "funding_rate")


@dataclass(frozen=True)
class PaperFeed:
    """The feed of one run.

    Attributes:
        settings: of cdb_ws, as they are in force.
        start_us: feed time at which play begins.
        end_us: feed time at which it ends; None while that is not known.
        play: identity of what is played.
        details: what the configuration event of cdb_ws says besides the settings.
        batches: iterated once.
        recorded: settings that a journal was made under, by service; they are in force where a spec says nothing.
    """

    settings: FeedSettings
    start_us: int
    end_us: int | None
    play: str
    details: dict[str, Any]
    batches: Iterator[Batch]
    recorded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def open_feed(spec: PaperSpec) -> PaperFeed:
    """Open the input of a run.

    Raises:
        FeedInputInvalid: the input cannot be used, or has nothing in the period.
        SettingsInvalid: settings are wrong.
    """
    period = _minutes(spec.period)
    if is_history(spec):
        return _open_history(spec, period)
    if not spec.inputs:
        raise FeedInputInvalid("a run needs an input, for example backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz")
    warmup_min = _warmup_min(spec, spec.settings)
    given: dict[str, Any] = {
        **spec.settings,
        "FEED": "raw" if spec.inputs and all(map(is_raw, spec.inputs)) else "recorded",
        "FEED_FILES": tuple(str(path) for path in spec.inputs),
        "RECORDED_WARMUP_MIN": str(warmup_min),
    }
    recording = Recording(load_settings(FeedSettings, given))
    cut_us = None if period.start_us is None else period.start_us - warmup_min * MINUTE_US
    whole = cut_us is None and period.end_us is None and not spec.stresses
    feed = recording.open(
        recording.reader(),
        play_from_us=period.start_us,
        alter=None if whole else lambda source: _altered(source, spec, cut_us, period.end_us),
    )
    details = _details(spec, period, {"files": recording.provenance, "play": recording.play})
    return PaperFeed(recording.settings, feed.start_us, period.end_us, recording.play, details, iter(feed))


def _open_history(spec: PaperSpec, period: Period) -> PaperFeed:
    if spec.warmup_min is not None and period.start_us is None:
        raise SettingsInvalid("a journal has its own warm-up; --warmup-min goes with --from")
    run = find_run(spec)
    settings, play, details = play_of(spec, run)
    assert settings.CLOCK_TICK_SEC is not None, "cdb_ws announces what is in force"
    cut_us = None
    if period.start_us is not None:
        core = {**run.settings.get(channels.CORE, {}), **spec.settings}
        cut_us = period.start_us - _warmup_min(spec, core) * MINUTE_US
    feed = RecordedFeed(
        [_altered(observations(spec, run), spec, cut_us, period.end_us)],
        max_hz=settings.MARKET_DATA_MAX_HZ,
        tick_us=settings.CLOCK_TICK_SEC * SECOND_US,
        play_from_us=period.start_us,
        begun_us=run.start_us,
        bars=[(symbol, bar) for symbol, bar in run.bars if cut_us is None or bar.start_us >= cut_us],
        notes=run.notes,
    )
    details = _details(spec, period, details)
    return PaperFeed(settings, feed.start_us, period.end_us, play, details, iter(feed), run.settings)


def _details(spec: PaperSpec, period: Period, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the configuration event says, with what is done to the input."""
    said = dict(details)
    if not period.whole:
        said["period"] = [_text(period.start_us), _text(period.end_us)]
    if spec.stresses:
        said["stresses"] = [stress.identity for stress in spec.stresses]
    return said


def _minutes(period: Period) -> Period:
    """Return the period on whole minutes: bars are cut there."""
    if period.start_us is not None and period.end_us is not None and period.end_us <= period.start_us:
        raise SettingsInvalid(
            f"the period ends ({_text(period.end_us)}) before it begins ({_text(period.start_us)}); exchange the two"
        )
    return Period(
        None if period.start_us is None else period.start_us // MINUTE_US * MINUTE_US,
        None if period.end_us is None else period.end_us // MINUTE_US * MINUTE_US,
    )


def _warmup_min(spec: PaperSpec, settings: Mapping[str, Any]) -> int:
    if spec.warmup_min is not None:
        return spec.warmup_min
    if spec.period.start_us is None:
        return 0
    core = load_settings(CoreSettings, settings)
    return core.SIGNAL_LOOKBACK_MIN + core.SIGNAL_VOL_WINDOW_MIN


def _altered(source: Source, spec: PaperSpec, from_us: int | None, end_us: int | None) -> Source:
    if from_us is not None:
        first_us = from_us
        source = dropwhile(lambda row: row.timestamp_us < first_us, source)
    if end_us is not None:
        last_us = end_us
        source = takewhile(lambda row: row.timestamp_us < last_us, source)
    for stress in spec.stresses:
        source = stress(source)
    return map(_in_contract, source) if spec.stresses else source


def _in_contract(row: Observation | RejectedRow) -> Observation | RejectedRow:
    """Return a row of a stress as a reader of recordings would give it: a stress computes its numbers.

    Raises:
        FeedInputInvalid: a number that no market has.
    """
    if isinstance(row, RejectedRow):
        return row
    try:
        numbers: dict[str, Any] = {
            name: wire_form(number) for name in _NUMBERS if (number := getattr(row, name)) is not None
        }
    except NumberOutOfContract as error:
        raise FeedInputInvalid(f"a stress at {_text(row.timestamp_us)}: {error}") from error
    if any(numbers[name] <= 0 for name in _PRICES if name in numbers):
        raise FeedInputInvalid(f"a stress at {_text(row.timestamp_us)} makes a price of 0 or less")
    return replace(row, **numbers)


def _text(timestamp_us: int | None) -> str | None:
    return None if timestamp_us is None else format_timestamp(timestamp_us)
