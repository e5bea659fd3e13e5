"""Several streams of a recording become one, in order of time: block by block, because there are millions of rows.

Rows of the same time keep the order of the streams. A row that cannot be used is handed over when everything before it
has been taken, and an error of a stream comes after everything that it gave before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import attrgetter, gt
from typing import Any, Final

from services.cdb_ws.observation import Observation, RejectedRow
from services.common.errors import FeedInputInvalid
from services.common.timestamps import DAY_US, format_timestamp

__all__ = ["LONGEST_SILENCE_US", "Block", "Source", "merge_sources"]

LONGEST_SILENCE_US: Final = 7 * DAY_US
"""A longer hole is a mistake in the input: the clock would tick through it second by second."""

Source = Iterator[Observation | RejectedRow]
"""One stream of a recording, in order of time."""

Block = tuple[list[Observation], list[int]]
"""Rows, and the time of each, microseconds."""

ROWS: Final = 1_024
_TIME: Final = attrgetter("timestamp_us")
_SYMBOL: Final = attrgetter("symbol")


@dataclass
class _Reading:
    """A stream and what was read of it ahead: all that is left when it has ended."""

    source: Source
    rows: list[Observation | RejectedRow] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    error: FeedInputInvalid | None = None
    ended: bool = False

    def read(self) -> None:
        """Read on."""
        before = len(self.rows)
        try:
            self.rows.extend(islice(self.source, ROWS))  # what came before an error stays
        except FeedInputInvalid as error:
            self.error = error
        self.ended = len(self.rows) - before < ROWS
        self.times.extend(map(_TIME, self.rows[before:]))
        if any(map(gt, self.times, islice(self.times, 1, None))):
            raise FeedInputInvalid("feed time goes back within a recording; sort it by time")

    def take(self, before_us: int | None) -> list[Observation | RejectedRow]:
        """Return and forget the rows before a time, or all."""
        count = len(self.rows) if before_us is None else bisect_left(self.times, before_us)
        taken = self.rows[:count]
        del self.rows[:count], self.times[:count]
        return taken


def merge_sources(sources: Sequence[Source], reject: Callable[[RejectedRow], None]) -> Iterator[Block]:
    """Yield the rows of all streams in order of time.

    Args:
        sources: each in order of time.
        reject: takes a row that cannot be used.

    Raises:
        FeedInputInvalid: a hole over seven days, two streams that overlap in an instrument's time, or what a stream
            raises.
    """
    order = _Order()
    for parts in _parts([_Reading(source) for source in sources]):
        if order.plain(parts):
            together: Any = parts[0] if len(parts) == 1 else sorted(chain(*parts), key=_TIME)
            rows: list[Observation] = together
            if rows:
                times = list(map(_TIME, rows))
                order.check_holes(times)
                yield rows, times
            continue
        numbered = [(index, row) for index, part in enumerate(parts) for row in part]
        numbered.sort(key=lambda pair: pair[1].timestamp_us)
        for rejected, pairs in groupby(numbered, key=lambda pair: isinstance(pair[1], RejectedRow)):
            if rejected:
                for _, row in pairs:
                    assert isinstance(row, RejectedRow)
                    reject(row)
                continue
            rows = []
            for index, row in pairs:
                assert isinstance(row, Observation)
                order.check(index, row)
                rows.append(row)
            yield rows, list(map(_TIME, rows))


def _parts(readings: list[_Reading]) -> Iterator[list[list[Observation | RejectedRow]]]:
    """Yield what lies before the time up to which every stream is known, of each stream."""
    while True:
        for reading in readings:
            if not reading.rows and not reading.ended:
                reading.read()
        limits = [r.times[-1] if r.times else 0 for r in readings if not r.ended or r.error is not None]
        horizon_us = min(limits, default=None)
        for reading in readings:
            if reading.error is not None and horizon_us == (reading.times[-1] if reading.times else 0):
                yield [r.take(horizon_us + 1) for r in readings]
                raise reading.error
        yield [reading.take(horizon_us) for reading in readings]
        if horizon_us is None:
            return
        for reading in readings:
            if not reading.ended and reading.times[-1] == horizon_us:
                reading.read()


class _Order:
    """Watches that the streams make one history: no long hole, and one stream at a time for each instrument."""

    def __init__(self) -> None:
        self._playing: dict[str, int] = {}
        self._ended: set[tuple[str, int]] = set()
        self._last_us: int | None = None

    def plain(self, parts: list[list[Observation | RejectedRow]]) -> bool:
        """Whether all rows can be used and each instrument goes on in its own stream, so that no row must be seen."""
        found: dict[str, int] = {}
        for index, part in enumerate(parts):
            if not set(map(type, part)) <= {Observation}:
                return False
            if len(parts) == 1:
                return True
            for symbol in sorted(set(map(_SYMBOL, part))):
                if found.setdefault(symbol, index) != index or self._playing.get(symbol, index) != index:
                    return False
        self._playing.update(found)
        return True

    def check_holes(self, times: list[int]) -> None:
        """Take note of rows in order of time.

        Raises:
            FeedInputInvalid: over seven days without a row.
        """
        for time_us in (times[0], times[-1]) if times[-1] - times[0] <= LONGEST_SILENCE_US else times:
            if self._last_us is not None and time_us - self._last_us > LONGEST_SILENCE_US:
                raise FeedInputInvalid(
                    f"nothing between {format_timestamp(self._last_us)} and {format_timestamp(time_us)}: "
                    "over seven days; play the parts as runs of their own, or correct the time"
                )
            self._last_us = time_us

    def check(self, index: int, row: Observation) -> None:
        """Take note of one row of a stream.

        Raises:
            FeedInputInvalid: it does not go on with the history.
        """
        self.check_holes([row.timestamp_us])
        playing = self._playing.get(row.symbol)
        if playing == index:
            return
        if (row.symbol, index) in self._ended:
            raise FeedInputInvalid(
                f"two recordings of {row.symbol} overlap at {format_timestamp(row.timestamp_us)}: "
                "its volume would count twice; name one of them"
            )
        if playing is not None:
            self._ended.add((row.symbol, playing))
        self._playing[row.symbol] = index
