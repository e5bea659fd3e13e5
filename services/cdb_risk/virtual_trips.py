"""Virtual round trips: what core's intents would have made, whether or not risk let them through.

The strategy's own record decides the Kelly fraction: real fills would leave out what was refused, and so would make
the size depend on itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_risk.market import plausible_price
from services.common.decimals import divide
from services.common.events import Signal
from services.common.fixed_point import change_e12, from_e12, to_e12
from services.common.instruments import instrument_key

__all__ = ["LEAST_TRIPS", "TripStatistics", "VirtualEntry", "VirtualTrips"]

LEAST_TRIPS: Final = 30
"""Round trips that a win rate needs."""


@dataclass(slots=True)
class VirtualEntry:
    """An entry that core has signalled and not yet exited; the price in quote currency."""

    signal_type: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class TripStatistics:
    """What the last round trips were like.

    Attributes:
        win_rate: share with a net profit, 0 to 1.
        avg_win: mean net profit of those, as a fraction of the notional; None without any.
        avg_loss: mean net loss of the others, as a positive fraction; None without any.
        seen, needed: how many there are, and how many it takes.
        of_what: what is counted, in words.
    """

    win_rate: Decimal | None
    avg_win: Decimal | None
    avg_loss: Decimal | None
    seen: int
    needed: int = LEAST_TRIPS
    of_what: str = "round trips"


@dataclass(slots=True)
class VirtualTrips:
    """The last round trips of all instruments together: three majors and one strategy are one record.

    Attributes:
        open: by instrument key.
        nets_e12: result of each, net of both fees, as a fraction of the notional in units of 10^-12; oldest first.
    """

    open: dict[str, VirtualEntry] = field(default_factory=dict)
    nets_e12: deque[int] = field(default_factory=deque)

    def add(self, signal: Signal, fee: Decimal, window: int) -> None:
        """Fold one of core's signals; an exit without its entry, or against another direction, tells nothing.

        Args:
            signal: of core, decided on or not.
            fee: rate of one side.
            window: round trips to keep.
        """
        key = instrument_key(signal.venue, signal.symbol)
        if not plausible_price(signal.price):
            self.open.pop(key, None)
            return
        if signal.intent == "entry":
            self.open[key] = VirtualEntry(signal.signal_type, signal.price)
            return
        entry = self.open.get(key)
        if entry is None or entry.signal_type == signal.signal_type:
            return
        del self.open[key]
        self.nets_e12.append(_net_e12(entry, signal.price, fee))
        while len(self.nets_e12) > window:
            self.nets_e12.popleft()

    def statistics(self) -> TripStatistics:
        """Return win rate, mean win and mean loss; unknown under 30 round trips."""
        count = len(self.nets_e12)
        if count < LEAST_TRIPS:
            return TripStatistics(None, None, None, count)
        wins = [net for net in self.nets_e12 if net > 0]
        losses = [-net for net in self.nets_e12 if net <= 0]
        return TripStatistics(divide(Decimal(len(wins)), Decimal(count)), _mean(wins), _mean(losses), count)


def _net_e12(entry: VirtualEntry, exit_price: Decimal, fee: Decimal) -> int:
    """Return (exit / entry - 1) * direction - fee * (1 + exit / entry), in units of 10^-12."""
    change = change_e12(exit_price, entry.price)
    direction = 1 if entry.signal_type == "buy" else -1
    return direction * change - (to_e12(fee) * (2 * 10**12 + change)) // 10**12


def _mean(values_e12: list[int]) -> Decimal | None:
    return from_e12(sum(values_e12) // len(values_e12)) if values_e12 else None
