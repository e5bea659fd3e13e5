"""Conflation: at most so many market data events per second and instrument, with nothing lost from their sums."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from services.cdb_ws.observation import Observation, merge
from services.common.errors import FeedInputInvalid
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["Conflator", "conflate"]

_PLACE: Final = attrgetter("timestamp_us", "symbol")


class Conflator:
    """Merges the observations of each instrument within one slot of feed time.

    Slots are `floor(time * max_hz)`, the same for all instruments and for every start, so that what comes out is a
    function of what went in and every whole second is the border of a slot.

    Args:
        max_hz: slots per second of feed time, at least 1.
    """

    def __init__(self, max_hz: int) -> None:
        self._max_hz = max_hz
        self._slot = -1
        self._pending: list[Observation] = []

    @property
    def border_us(self) -> int:
        """The first feed time after the current slot, microseconds."""
        return -(-(self._slot + 1) * SECOND_US // self._max_hz)

    def advance(self, timestamp_us: int) -> tuple[Observation, ...]:
        """Return what the slots that ended at or before this time have, in order of time, then of symbol.

        Raises:
            FeedInputInvalid: the time lies in a slot before the current one.
        """
        slot = timestamp_us * self._max_hz // SECOND_US
        if slot == self._slot:
            return ()
        if slot < self._slot:
            raise FeedInputInvalid(f"feed time goes back to {format_timestamp(timestamp_us)}")
        self._slot = slot
        return self.flush()

    def add(self, observation: Observation) -> tuple[Observation, ...]:
        """Take one observation in; return what the slots before its own have.

        Raises:
            FeedInputInvalid: its time lies in a slot before the current one.
        """
        ended = self.advance(observation.timestamp_us)
        self._pending.append(observation)
        return ended

    def flush(self) -> tuple[Observation, ...]:
        """Return what is pending, as the end of the feed does."""
        ended = conflate(self._pending)
        self._pending.clear()
        return ended


def conflate(rows: Sequence[Observation]) -> tuple[Observation, ...]:
    """Return the observations of one slot, one an instrument, in order of time, then of symbol."""
    if len(rows) == 1:
        return (rows[0],)
    if len(rows) == 2 and rows[0].symbol != rows[1].symbol:  # as most slots are; sorting costs three times as much
        first, second = rows
        return (first, second) if _PLACE(first) < _PLACE(second) else (second, first)
    if len({row.symbol for row in rows}) < len(rows):
        by_symbol: dict[str, list[Observation]] = {}
        symbol = None
        for row in rows:
            if row.symbol is not symbol:
                symbol = row.symbol
                append = by_symbol.setdefault(symbol, []).append
            append(row)
        rows = list(map(merge, by_symbol.values()))
    return tuple(sorted(rows, key=_PLACE))
