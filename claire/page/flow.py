"""How much goes through the pipeline: counts of the run, and their rates over the last minute of wall time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

__all__ = ["Rates"]

WINDOW_SEC: Final = 60.0


class Rates:
    """Remembers counts of the last minute."""

    def __init__(self) -> None:
        """Begin without any."""
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def note(self, at: float, counts: Mapping[str, int]) -> dict[str, Decimal]:
        """Take the counts of a moment; returns how many a second each had since the oldest moment within a minute.

        A count that was not there before, or has become smaller (another run), has no rate.

        Args:
            at: seconds that only grow.
            counts: by name.
        """
        while self._seen and at - self._seen[0][0] > WINDOW_SEC:
            self._seen.popleft()
        rates = {}
        for name, count in counts.items():
            before = next(((then, seen[name]) for then, seen in self._seen if name in seen), None)
            if before is not None and at - before[0] >= 1 and count >= before[1]:
                rates[name] = Decimal(count - before[1]) / Decimal(str(round(at - before[0], 3)))
        self._seen.append((at, dict(counts)))
        return rates
