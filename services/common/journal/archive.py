"""Where events are read that the stream no longer has."""

from __future__ import annotations

from typing import Protocol

from services.common.journal.entry import Entry, JournalId

__all__ = ["EventArchive"]


class EventArchive(Protocol):
    """The event store as the journal sees it."""

    def head(self) -> JournalId | None:
        """Return the id of the last archived event, None when there is none."""

    def epochs(self) -> dict[int, int]:
        """Return epoch to the number of its first event, for all epochs that were ever opened."""

    def read(self, after: int, count: int) -> list[Entry]:
        """Return up to `count` events with numbers above `after`, in order; a dropped range may be missing."""

    def high_water(self) -> dict[str, int]:
        """Return the high-water marks (fields as in the `hw` hash) of all events."""

    def last_ids(self) -> dict[str, JournalId]:
        """Return the last id of each channel."""

    def run_id(self) -> str | None:
        """Return the run_id of the last `started` of cdb_ws, None when there is none."""

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Make a new epoch durable; called before the journal writes in it."""
