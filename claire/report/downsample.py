"""Long series made short enough for a screen, the same way each time and without losing an extreme."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

__all__ = ["BUCKETS", "thin"]

BUCKETS: Final = 400
"""Stretches of equal time that a series is cut into: about one for each two pixels of a wide screen."""


def thin(times: Sequence[int], values: Sequence[float], buckets: int = BUCKETS) -> list[int]:
    """Return the positions to keep: of each stretch the first, the lowest, the highest and the last.

    So the line has its true extremes, no value is invented, and equal series are thinned equally. A series of at most
    four values a stretch stays whole.

    Args:
        times: growing, any unit.
        values: as many.
        buckets: number of stretches.
    """
    count = len(times)
    if count <= 4 * buckets:
        return list(range(count))
    first, span = times[0], times[-1] - times[0] + 1
    kept: list[int] = []
    begins = 0
    while begins < count:
        bucket = (times[begins] - first) * buckets // span
        ends = bisect_left(times, first - (-(bucket + 1) * span // buckets), begins)
        stretch = range(begins, ends)
        low, high = min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)
        kept += sorted({begins, low, high, ends - 1})
        begins = ends
    return kept
