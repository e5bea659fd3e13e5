"""From a spec to the batches that cdb_ws would have published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from typing import Any, Final

from claire.paper.spec import PaperSpec, Period
from services.cdb_core.settings import CoreSettings
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.merging import Source
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Batch
from services.cdb_ws.settings import FeedSettings
from services.common.decimals import wire_form
from services.common.errors import FeedInputInvalid, NumberOutOfContract, SettingsInvalid
from services.common.settings import load_settings
from services.common.timestamps import MINUTE_US, format_timestamp

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
    """

    settings: FeedSettings
    start_us: int
    end_us: int | None
    play: str
    details: dict[str, Any]
    batches: Iterator[Batch]


def open_feed(spec: PaperSpec) -> PaperFeed:
    """Open the input of a run.

    Raises:
        FeedInputInvalid: the input cannot be used, or has nothing in the period.
        SettingsInvalid: settings are wrong.
    """
    if not spec.inputs:
        raise FeedInputInvalid("a run needs an input, for example backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz")
    period, warmup_min = _minutes(spec.period), _warmup_min(spec)
    given: dict[str, Any] = {
        **spec.settings,
        "FEED": "recorded",
        "FEED_FILES": tuple(str(path) for path in spec.inputs),
        "RECORDED_WARMUP_MIN": str(warmup_min),
    }
    recording = Recording(load_settings(FeedSettings, given))
    cut_us = None if period.start_us is None else period.start_us - warmup_min * MINUTE_US
    feed = recording.open(
        recording.reader(),
        play_from_us=period.start_us,
        alter=lambda source: _altered(source, spec, cut_us, period.end_us),
    )
    details: dict[str, Any] = {"files": recording.provenance, "play": recording.play}
    if not period.whole:
        details["period"] = [_text(period.start_us), _text(period.end_us)]
    if spec.stresses:
        details["stresses"] = [stress.identity for stress in spec.stresses]
    return PaperFeed(recording.settings, feed.start_us, period.end_us, recording.play, details, iter(feed))


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


def _warmup_min(spec: PaperSpec) -> int:
    if spec.warmup_min is not None:
        return spec.warmup_min
    if spec.period.start_us is None:
        return 0
    core = load_settings(CoreSettings, spec.settings)
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
