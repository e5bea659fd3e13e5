"""Curves that were read, one a span of time: each is read again when it is time for it, and kept when it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from claire.page.archive import Archive, ArchiveAway, ArchiveBusy
from claire.page.past import CurvePoint, Mark, read_curve

__all__ = ["Drawn", "Shelf"]

EVERY_SEC: Final = 10.0
YOUNG_SEC: Final = 1.0
FEW_POINTS: Final = 60
"""A curve that has just begun is read at every look."""
SHARE: Final = 20
"""A curve is read at most so often that it takes the twentieth part of the database's time."""


@dataclass(frozen=True)
class Drawn:
    """A curve.

    Attributes:
        due: when it is to be read again, in the shelf's seconds.
        fault: why it could not be read last time; empty when it could.
    """

    points: Sequence[CurvePoint] = ()
    marks: Sequence[Mark] = ()
    due: float = 0.0
    fault: str = ""


class Shelf:
    """The curves of the run going on."""

    def __init__(self, archive: Archive, wall: Callable[[], float]) -> None:
        """Begin empty; `wall` gives seconds that only grow."""
        self._archive = archive
        self._wall = wall
        self._curves: dict[str, Drawn] = {}

    def clear(self) -> None:
        """Forget the curves: another run has begun."""
        self._curves.clear()

    def curve(self, span: str) -> Drawn:
        """Return the curve of a span, read now if it is time."""
        known = self._curves.get(span, Drawn())
        began = self._wall()
        if span in self._curves and began < known.due:
            return known
        points, marks, fault = known.points, known.marks, ""
        try:
            points, marks = self._archive.ask(lambda connection: read_curve(connection, span))
        except (ArchiveAway, ArchiveBusy) as away:
            fault = str(away)
        pause = EVERY_SEC if len(points) > FEW_POINTS else YOUNG_SEC
        due = began + max(pause, SHARE * (self._wall() - began))
        self._curves[span] = Drawn(points, marks, due, fault)
        return self._curves[span]
