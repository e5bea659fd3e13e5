"""The recorded feed: several recordings become one deterministic sequence of numbered batches.

Batch k is a function of the recordings and the settings alone, so a restart goes on after batch k by making the
sequence again, whatever was in memory when the process died.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, NamedTuple, cast

from services.cdb_ws.clock import Clock
from services.cdb_ws.conflation import conflate
from services.cdb_ws.merging import LONGEST_SILENCE_US, Block, BlockSource, Source, merge_sources
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.stretches import divide_at, slots_of
from services.cdb_ws.warmup import MinuteBar, WarmupBars
from services.common.errors import FeedInputInvalid
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["LONGEST_SILENCE_US", "Batch", "BatchKind", "BlockSource", "Fact", "Note", "RecordedFeed", "Source", "carry"]

BatchKind = Literal["warmup", "fact", "market_data", "tick", "finished"]

Fact = tuple[Literal["instruments", "symbols"], dict[str, Any]]
"""Action and details of a control event in which the feed tells what it learnt of the exchange."""


class Batch(NamedTuple):
    """What is published in one call.

    Attributes:
        number: 1, 2, 3 ... over the recording: the number of the source `feed`.
        timestamp_us: feed time at which it is due.
        observations: of `market_data`, at most one an instrument.
        bars: of `warmup`, (symbol, closed one-minute bars) for each event.
        rejected: rows skipped since the batch before, for the dead letters.
        facts: of `fact`.
    """

    number: int
    timestamp_us: int
    kind: BatchKind
    observations: tuple[Observation, ...] = ()
    bars: tuple[tuple[str, list[MinuteBar]], ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """What a feed told beside its market data, and when: facts, and bars by symbol, each in order of time."""

    timestamp_us: int
    facts: tuple[Fact, ...] = ()
    bars: tuple[tuple[str, MinuteBar], ...] = ()


class RecordedFeed:
    """Merges the streams of recordings by time and plays them against the clock. Iterated once.

    Args:
        sources: streams in order of time; rows of the same time keep the order of the streams.
        max_hz: market data events per second and instrument, at most.
        tick_us: distance of the clock's ticks, microseconds.
        warmup_min: minutes of the recording that become bars and are not played.
        play_from_us: feed time at which play begins instead, whatever there is before it becoming bars.
        begun_us: feed time at which the clock begins, if that is before the first row and nothing else says when.
        bars: closed bars by symbol from before the first row, in order of time.
        notes: what is told beside the market data, in order of time.

    Attributes:
        start_us: feed time at which play begins: the end of the warm-up, else the first row.

    Raises:
        FeedInputInvalid: no row to play, a hole over seven days, or two streams that overlap in an instrument's time.
    """

    def __init__(
        self,
        sources: Sequence[BlockSource],
        *,
        max_hz: int,
        tick_us: int,
        warmup_min: int = 0,
        play_from_us: int | None = None,
        begun_us: int | None = None,
        bars: Iterable[tuple[str, MinuteBar]] = (),
        notes: Iterable[Note] = (),
    ) -> None:
        self._rejected: list[RejectedRow] = []
        self._blocks = merge_sources(sources, self._rejected.append)
        self._max_hz = max_hz
        self._number = 0
        self._notes = deque(notes)
        self._first = next(self._blocks, None)
        if self._first is None:
            period = "" if play_from_us is None else f" in the period from {format_timestamp(play_from_us)}"
            raise FeedInputInvalid(f"the recording has no row of the symbols in SYMBOLS{period}")
        self.start_us = min(stretch.first_us for stretch in self._first)
        self._warmup = WarmupBars(bars)
        if begun_us is not None and play_from_us is None:
            self.start_us = min(self.start_us, begun_us)
        if warmup_min and play_from_us is None:
            play_from_us = self.start_us // MINUTE_US * MINUTE_US + warmup_min * MINUTE_US
        if play_from_us is not None and play_from_us > self.start_us:
            self.start_us = play_from_us
            self._first = self._warm_up(self._first)
            if self._first is None:
                raise FeedInputInvalid(
                    f"RECORDED_WARMUP_MIN={warmup_min}: the recording has nothing to play after its warm-up; "
                    "take fewer minutes"
                    if warmup_min
                    else f"the recording has nothing to play from {format_timestamp(play_from_us)}"
                )
        self._clock = Clock(tick_us, self.start_us)

    def _warm_up(self, block: Block | None) -> Block | None:
        """Make bars of everything before the start; return what is left of the block that reaches it."""
        while block is not None:
            early, rest = divide_at(self.start_us, block)
            for stretch in early:
                for row in stretch.rows():
                    self._warmup.add(cast("Observation", row))
            if rest:
                return rest
            block = next(self._blocks, None)
        return None

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch: warm-up, market data and ticks in order of time, a last tick, and `finished`."""
        if bars := tuple(self._warmup.chunks()):
            yield self._batch("warmup", self.start_us, bars=bars)
        yield from self._tell(self.start_us)
        assert self._first is not None, "there is something to play"
        slot, seen, next_tick_us = -1, [], self._clock.next_us
        for block in chain((self._first,), self._blocks):
            for first_us, number, more in slots_of(block, self._max_hz):
                if number == slot:
                    seen += more
                    continue
                if seen:
                    yield self._market_data(seen)
                slot, seen = number, more
                if self._notes:
                    yield from self._tell(first_us)
                if first_us >= next_tick_us:
                    yield from self._ticks(first_us)
                    next_tick_us = self._clock.next_us
        yield self._market_data(seen)
        yield from self._tell(next_tick_us)
        yield from self._ticks(next_tick_us)
        yield self._batch("finished", next_tick_us)

    def _market_data(self, seen: list[Observation]) -> Batch:
        observations = conflate(seen)
        self._number += 1
        # straight, for every slot: a named tuple's own way takes four times as long
        return _new(
            Batch,
            (self._number, observations[-1].timestamp_us, "market_data", observations, (), self._skipped(), ()),
        )

    def _skipped(self) -> tuple[RejectedRow, ...]:
        """Return the rows skipped since the batch before."""
        if not self._rejected:
            return ()
        rejected = tuple(self._rejected)
        self._rejected.clear()
        return rejected

    def _ticks(self, timestamp_us: int) -> Iterator[Batch]:
        """Yield the ticks that are due: they stand at whole seconds, which are borders of slots."""
        for tick_us in self._clock.until(timestamp_us):
            yield self._batch("tick", tick_us)

    def _tell(self, timestamp_us: int) -> Iterator[Batch]:
        while self._notes and self._notes[0].timestamp_us <= timestamp_us:
            note = self._notes.popleft()
            if note.facts:
                yield self._batch("fact", timestamp_us, facts=note.facts)
            if note.bars:
                yield self._batch("warmup", timestamp_us, bars=tuple(WarmupBars(note.bars).chunks()))

    def _batch(
        self,
        kind: BatchKind,
        timestamp_us: int,
        *,
        bars: tuple[tuple[str, list[MinuteBar]], ...] = (),
        facts: tuple[Fact, ...] = (),
    ) -> Batch:
        self._number += 1
        return Batch(self._number, timestamp_us, kind, (), bars, self._skipped(), facts)


_new = tuple.__new__


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
