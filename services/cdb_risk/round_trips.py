"""Round trips, flat to flat and net of fees and funding, and how many in a row were lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.common.portfolio import Position

__all__ = ["RoundTrips", "net_result"]


def net_result(position: Position) -> Decimal:
    """Return what an instrument has brought so far, quote currency: closed profits less fees, with funding."""
    return position.realized_pnl - position.fees + position.funding


@dataclass
class RoundTrips:
    """The open round trips, and the losses in a row.

    Attributes:
        before: net result of each instrument when its open round trip began, by instrument key.
        lost: round trips lost since the last one that was not, or since the last pause began.
    """

    before: dict[str, Decimal] = field(default_factory=dict)
    lost: int = 0

    def begin(self, key: str, net: Decimal) -> None:
        """Note a fill; the first one from flat begins a round trip, and `net` is the result before that fill."""
        self.before.setdefault(key, net)

    def end(self, key: str, net: Decimal) -> Decimal | None:
        """Note that an instrument is flat, and return what its round trip brought; None when none was open.

        A loss is below zero; what comes out even ends a streak.
        """
        before = self.before.pop(key, None)
        if before is None:
            return None
        result = net - before
        self.lost = self.lost + 1 if result < 0 else 0
        return result
