"""The recorded feed: several recordings become one deterministic sequence of numbered batches.

Batch k is a function of the recordings and the settings alone, so a restart goes on after batch k by making the
sequence again, whatever was in memory when the process died.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Final, Literal

from services.cdb_ws.clock import Clock
from services.cdb_ws.conflation import Conflator
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.warmup import MinuteBar, WarmupBars
from services.common.errors import FeedInputInvalid
from services.common.timestamps import DAY_US, MINUTE_US, format_timestamp

__all__ = ["LONGEST_SILENCE_US", "Batch", "BatchKind", "RecordedFeed", "Source", "carry"]

LONGEST_SILENCE_US: Final = 7 * DAY_US
"""A longer hole is a mistake in the input: the clock would tick through it second by second."""

BatchKind = Literal["warmup", "market_data", "tick", "finished"]
Source = Iterator[Observation | RejectedRow]
"""One stream of a recording, in order of time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is published in one call.

    Attributes:
        number: 1, 2, 3 ... over the recording: the number of the source `feed`.
        timestamp_us: feed time at which it is due.
        observations: of `market_data`, at most one an instrument.
        bars: of `warmup`, (symbol, closed one-minute bars) for each event.
        rejected: rows skipped since the batch before, for the dead letters.
    """

    number: int
    timestamp_us: int
    kind: BatchKind
    observations: tuple[Observation, ...] = ()
    bars: tuple[tuple[str, list[MinuteBar]], ...] = ()
    rejected: tuple[RejectedRow, ...] = ()


class RecordedFeed:
    """Merges the streams of recordings by time and plays them against the clock. Iterated once.

    Args:
        sources: streams in order of time; rows of the same time keep the order of the streams.
        max_hz: market data events per second and instrument, at most.
        tick_us: distance of the clock's ticks, microseconds.
        warmup_min: minutes of the recording that become bars and are not played.
        play_from_us: feed time at which play begins instead, whatever there is before it becoming bars.

    Attributes:
        start_us: feed time at which play begins: the end of the warm-up, else the first row.

    Raises:
        FeedInputInvalid: no row to play, a hole over seven days, or two streams that overlap in an instrument's time.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        max_hz: int,
        tick_us: int,
        warmup_min: int = 0,
        play_from_us: int | None = None,
    ) -> None:
        self._rejected: list[RejectedRow] = []
        self._observations = self._merge(sources)
        self._conflator = Conflator(max_hz)
        self._number = 0
        self._next = next(self._observations, None)
        if self._next is None:
            raise FeedInputInvalid("the recording has no row of the symbols in SYMBOLS")
        self.start_us = self._next.timestamp_us
        self._warmup = WarmupBars()
        if warmup_min and play_from_us is None:
            play_from_us = self.start_us // MINUTE_US * MINUTE_US + warmup_min * MINUTE_US
        if play_from_us is not None and play_from_us > self.start_us:
            self.start_us = play_from_us
            while self._next is not None and self._next.timestamp_us < self.start_us:
                self._warmup.add(self._next)
                self._next = next(self._observations, None)
            if self._next is None:
                raise FeedInputInvalid(
                    f"RECORDED_WARMUP_MIN={warmup_min}: the recording has nothing to play after its warm-up; "
                    "take fewer minutes"
                    if warmup_min
                    else f"the recording has nothing to play from {format_timestamp(play_from_us)}"
                )
        self._clock = Clock(tick_us, self.start_us)

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch: warm-up, market data and ticks in order of time, a last tick, and `finished`."""
        if bars := tuple(self._warmup.chunks()):
            yield self._batch("warmup", self.start_us, bars=bars)
        assert self._next is not None, "there is something to play"
        border_us, append = -1, self._conflator.append
        for observation in chain((self._next,), self._observations):
            timestamp_us = observation.timestamp_us
            if timestamp_us >= border_us:
                yield from self._advance(timestamp_us)
                border_us = min(self._conflator.border_us, self._clock.next_us)
            append(observation)
        end_us = self._clock.next_us
        yield from self._advance(end_us)
        yield self._batch("finished", end_us)

    def _advance(self, timestamp_us: int) -> Iterator[Batch]:
        if ended := self._conflator.advance(timestamp_us):
            yield self._batch("market_data", ended[-1].timestamp_us, observations=ended)
        for tick_us in self._clock.until(timestamp_us):
            yield self._batch("tick", tick_us)

    def _batch(
        self,
        kind: BatchKind,
        timestamp_us: int,
        *,
        observations: tuple[Observation, ...] = (),
        bars: tuple[tuple[str, list[MinuteBar]], ...] = (),
    ) -> Batch:
        self._number += 1
        rejected, self._rejected = tuple(self._rejected), []
        return Batch(self._number, timestamp_us, kind, observations, bars, rejected)

    def _merge(self, sources: Sequence[Source]) -> Iterator[Observation]:
        order = _Order()
        merged = (
            heapq.merge(*map(_numbered, range(len(sources)), sources), key=lambda r: r[1].timestamp_us)
            if len(sources) != 1
            else _numbered(0, sources[0])
        )
        playing, previous, look_us = order.playing, None, 0
        for index, row in merged:
            if type(row) is Observation:
                if row.timestamp_us > look_us or playing.get(row.symbol) != index:
                    order.check(index, row, previous)
                    look_us = row.timestamp_us + LONGEST_SILENCE_US
                previous = row
                yield row
            elif isinstance(row, RejectedRow):
                self._rejected.append(row)


def _numbered(index: int, source: Source) -> Iterable[tuple[int, Observation | RejectedRow]]:
    return zip(repeat(index), source, strict=False)


class _Order:
    """Watches that the streams make one history: no long hole, and one stream at a time for each instrument.

    Attributes:
        playing: the stream that each symbol comes from; a row of another one must be looked at.
    """

    def __init__(self) -> None:
        self.playing: dict[str, int] = {}
        self._ended: set[tuple[str, int]] = set()

    def check(self, index: int, row: Observation, previous: Observation | None) -> None:
        if previous is not None and row.timestamp_us - previous.timestamp_us > LONGEST_SILENCE_US:
            raise FeedInputInvalid(
                f"nothing between {format_timestamp(previous.timestamp_us)} and {format_timestamp(row.timestamp_us)}: "
                "over seven days; play the parts as runs of their own, or correct the time"
            )
        playing = self.playing.get(row.symbol)
        if playing == index:
            return
        if (row.symbol, index) in self._ended:
            raise FeedInputInvalid(
                f"two recordings of {row.symbol} overlap at {format_timestamp(row.timestamp_us)}: "
                "its volume would count twice; name one of them"
            )
        if playing is not None:
            self._ended.add((row.symbol, playing))
        self.playing[row.symbol] = index


def carry(withheld: dict[str, Observation], observations: Iterable[Observation]) -> tuple[Observation, ...]:
    """Return observations with those that could not be published before them merged in, marked as a gap.

    Every instrument in `withheld` comes out, also one that has nothing new, so that after a publish nothing is owed.
    """
    merged = dict(withheld)
    for observation in observations:
        earlier = merged.get(observation.symbol)
        merged[observation.symbol] = observation if earlier is None else earlier.then(observation)
    return tuple(
        sorted(
            (replace(o, gap=True) if o.symbol in withheld else o for o in merged.values()),
            key=lambda o: (o.timestamp_us, o.symbol),
        )
    )
