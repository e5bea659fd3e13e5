"""Where the journal may be cut into transactions: never inside what one publish has appended.

Redis appends all outputs of one cause at once. If half of them were stored and Redis then lost its tail, the recovery
would take the cause for done, and the other half would never be published again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.common.journal.entry import Entry

__all__ = ["last_boundary", "whole_batches"]


def _same_publish(entry: Entry, following: Entry) -> bool:
    return (entry.producer, entry.cause) == (following.producer, following.cause)


def last_boundary(entries: Sequence[Entry]) -> int:
    """Return how many entries are certainly whole publishes when more may follow: all but those of the last cause."""
    end = len(entries)
    while end and _same_publish(entries[end - 1], entries[-1]):
        end -= 1
    return end


def whole_batches(entries: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    """Yield the entries in parts of about `size` that each end where a publish ends.

    A part is longer than `size` only when a single publish is.

    Args:
        entries: whole publishes, contiguous.
        size: events a transaction is meant to hold, at least 1.
    """
    start = 0
    while start < len(entries):
        end = min(start + size, len(entries))
        while start < end < len(entries) and _same_publish(entries[end - 1], entries[end]):
            end -= 1
        if end == start:  # one publish longer than a part
            end = start + size
            while end < len(entries) and _same_publish(entries[end - 1], entries[end]):
                end += 1
        yield entries[start:end]
        start = end
