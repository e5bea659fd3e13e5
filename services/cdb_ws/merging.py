"""Several streams of a recording become one, in order of time: block by block, because there are millions of rows.

Rows of the same time keep the order of the streams. A row that cannot be used is handed over when everything before it
has been taken, and an error of a stream comes after everything that it gave before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from operator import gt
from typing import Final

from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.stretches import Rows, Stretch, TickBlock, divide_at
from services.common.errors import FeedInputInvalid
from services.common.timestamps import DAY_US, format_timestamp

__all__ = ["LONGEST_SILENCE_US", "Block", "BlockSource", "Source", "merge_sources"]

LONGEST_SILENCE_US: Final = 7 * DAY_US
"""A longer hole is a mistake in the input: the clock would tick through it second by second."""

Source = Iterator[Observation | RejectedRow]
"""One stream of a recording, in order of time."""

BlockSource = Iterator[Observation | RejectedRow | TickBlock]
"""One stream of a recording, in order of time, with many ticks as one where they are plain."""

Block = list[Stretch]
"""Plain rows in stretches, each in order of time; of one instrument, those of an earlier stretch come first."""

ROWS: Final = 1_024


@dataclass
class _Reading:
    """A stream and what was read of it ahead: all that is left when it has ended."""

    source: BlockSource
    stretches: list[Stretch] = field(default_factory=list)
    last_us: int = 0
    error: FeedInputInvalid | None = None
    ended: bool = False

    def read(self) -> None:
        """Read on: rows up to a block."""
        rows: list[Observation | RejectedRow] = []
        block: TickBlock = ()
        self.ended = True
        try:
            for item in islice(self.source, ROWS):
                if type(item) is tuple:
                    block, self.ended = item, False
                    break
                rows.append(item)  # type: ignore[arg-type]
            else:
                self.ended = len(rows) < ROWS
        except FeedInputInvalid as error:
            self.error = error  # what came before it stays
        if rows:
            stretch = Rows(rows)
            self._go_on(stretch.times)
            self.stretches.append(stretch)
        if block:
            self._go_on((min(ticks.first_us for ticks in block), max(ticks.last_us for ticks in block)))
            self.stretches.extend(block)

    def _go_on(self, times: Sequence[int]) -> None:
        if times[0] < self.last_us or any(map(gt, times, islice(times, 1, None))):
            raise FeedInputInvalid("feed time goes back within a recording; sort it by time")
        self.last_us = times[-1]

    def take(self, before_us: int | None) -> list[Stretch]:
        """Return and forget the rows before a time, or all."""
        if before_us is None:
            taken, self.stretches = self.stretches, []
            return taken
        taken, self.stretches = divide_at(before_us, self.stretches)
        return taken


def merge_sources(sources: Sequence[BlockSource], reject: Callable[[RejectedRow], None]) -> Iterator[Block]:
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
            stretches = list(chain.from_iterable(parts))
            if stretches:
                order.check_holes(stretches)
                yield stretches
            continue
        numbered = [(index, row) for index, part in enumerate(parts) for stretch in part for row in stretch.rows()]
        numbered.sort(key=lambda pair: pair[1].timestamp_us)
        for rejected, pairs in groupby(numbered, key=lambda pair: isinstance(pair[1], RejectedRow)):
            if rejected:
                for _, row in pairs:
                    assert isinstance(row, RejectedRow)
                    reject(row)
                continue
            rows: list[Observation | RejectedRow] = []
            for index, row in pairs:
                assert isinstance(row, Observation)
                order.check(index, row)
                rows.append(row)
            yield [Rows(rows)]


def _parts(readings: list[_Reading]) -> Iterator[list[list[Stretch]]]:
    """Yield what lies before the time up to which every stream is known, of each stream."""
    while True:
        for reading in readings:
            if not reading.stretches and not reading.ended:
                reading.read()
        limits = [r.last_us for r in readings if not r.ended or r.error is not None]
        horizon_us = min(limits, default=None)
        for reading in readings:
            if reading.error is not None and horizon_us == reading.last_us:
                yield [r.take(horizon_us + 1) for r in readings]
                raise reading.error
        yield [reading.take(horizon_us) for reading in readings]
        if horizon_us is None:
            return
        for reading in readings:
            if not reading.ended and reading.last_us == horizon_us:
                reading.read()


class _Order:
    """Watches that the streams make one history: no long hole, and one stream at a time for each instrument."""

    def __init__(self) -> None:
        self._playing: dict[str, int] = {}
        self._ended: set[tuple[str, int]] = set()
        self._last_us: int | None = None

    def plain(self, parts: list[list[Stretch]]) -> bool:
        """Whether all rows can be used and each instrument goes on in its own stream, so that no row must be seen."""
        found: dict[str, int] = {}
        for index, part in enumerate(parts):
            if not all(stretch.plain() for stretch in part):
                return False
            if len(parts) == 1:
                return True
            for symbol in sorted({symbol for stretch in part for symbol in stretch.symbols()}):
                if found.setdefault(symbol, index) != index or self._playing.get(symbol, index) != index:
                    return False
        self._playing.update(found)
        return True

    def check_holes(self, stretches: Sequence[Stretch]) -> None:
        """Take note of rows.

        Raises:
            FeedInputInvalid: over seven days without a row.
        """
        first_us = min(stretch.first_us for stretch in stretches)
        last_us = max(stretch.last_us for stretch in stretches)
        self._go_on(first_us)
        if last_us - first_us > LONGEST_SILENCE_US:
            for time_us in sorted(chain.from_iterable(stretch.all_times() for stretch in stretches)):
                self._go_on(time_us)
        self._last_us = last_us

    def _go_on(self, time_us: int) -> None:
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
        self._go_on(row.timestamp_us)
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
