"""Which epoch a journal number belongs to, and whether a place in the journal still exists.

Whenever Redis has restarted, the journal goes on in a new epoch. An id of an older epoch is valid up to where the next
one began; beyond that it names an event that Redis lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from services.common.journal.entry import JournalId

__all__ = ["BEGINNING", "Epochs"]

BEGINNING = JournalId(0, 0)
"""The place before the first entry."""


class Epochs:
    """The first journal number of each epoch.

    Args:
        first_n: epoch to the number of its first entry; an epoch may have stayed empty.
    """

    def __init__(self, first_n: Mapping[int, int]) -> None:
        self.first_n = dict(sorted(first_n.items()))
        # An epoch may begin before an older one did (its entries were lost as well): then nothing of the older is left.
        present: list[tuple[int, int]] = []
        for epoch, start in self.first_n.items():
            while present and present[-1][0] >= start:
                present.pop()
            present.append((start, epoch))
        self._starts = [start for start, _ in present]
        self._numbers = [epoch for _, epoch in present]

    def id_of(self, n: int) -> JournalId:
        """Return the id of journal number `n`; numbers before the first epoch are the beginning."""
        place = bisect_right(self._starts, n)
        return JournalId(self._numbers[place - 1], n) if place else BEGINNING

    def contains(self, place: JournalId, head: int) -> bool:
        """Return whether `place` exists in the journal whose last number is `head`."""
        if place.n == 0:
            return True
        return place.n <= head and self.id_of(place.n) == place

    def lost_after(self, epoch: int) -> int | None:
        """Return the greatest number that `epoch` and its successors share, or None when it is the newest epoch."""
        starts = [start for number, start in self.first_n.items() if number > epoch]
        return min(starts) - 1 if starts else None
