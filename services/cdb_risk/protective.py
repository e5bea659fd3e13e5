"""Exits that stay until the position is flat: stops, flatten, and strategy exits that could not be sent or filled.

An exit is latched once and retried on valid quotes, at most every two seconds with one working order, until the
position is flat or dust. The price recovering does not undo it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.common.decimals import ONE, divide, floor_to
from services.common.events import Purpose
from services.common.instruments import InstrumentSpec
from services.common.portfolio import Position
from services.common.timestamps import SECOND_US

__all__ = ["RETRY_US", "LatchedExit", "is_dust", "latch", "sellable", "stop_hit", "stop_price"]

RETRY_US: Final = 2 * SECOND_US

_URGENCY: Final[dict[Purpose, int]] = {
    "entry": 0,
    "exit": 1,
    "take_profit": 2,
    "trailing_stop": 2,
    "stop_loss": 2,
    "liquidation_guard": 3,
    "flatten": 4,
}


@dataclass
class LatchedExit:
    """An exit that is wanted until the position is gone.

    Attributes:
        signal_id, correlation_id: of the event that asked for it; None where there is none.
        since: when it was latched, microseconds.
        attempts: orders sent for it.
        last_attempt_at: when the last was sent, microseconds; None before the first.
        reason: what triggered it, in words.
    """

    purpose: Purpose
    signal_id: str | None
    correlation_id: str | None
    since: int
    reason: str
    attempts: int = 0
    last_attempt_at: int | None = None

    @property
    def protective(self) -> bool:
        """Whether it is a stop, guard or flatten rather than the strategy's wish."""
        return self.purpose != "exit"

    def may_retry(self, now: int) -> bool:
        """Whether two seconds have passed since the last order."""
        return self.last_attempt_at is None or now - self.last_attempt_at >= RETRY_US


def latch(current: LatchedExit | None, wanted: LatchedExit) -> LatchedExit:
    """Return the exit that stays: the more urgent one; an equally urgent one does not start anew."""
    if current is None or _URGENCY[wanted.purpose] > _URGENCY[current.purpose]:
        if current is not None:
            wanted.last_attempt_at = current.last_attempt_at
        return wanted
    return current


def stop_price(position: Position, stop_loss_pct: Decimal) -> Decimal | None:
    """Return the bid at which a long is stopped: average entry price * (1 - stop); None while flat."""
    return divide(position.cost * (ONE - stop_loss_pct), position.quantity) if position.quantity > 0 else None


def stop_hit(position: Position, bid: Decimal, stop_loss_pct: Decimal) -> bool:
    """Whether a long's stop is reached: bid <= entry * (1 - stop), by products alone."""
    return position.quantity > 0 and bid * position.quantity <= position.cost * (ONE - stop_loss_pct)


def sellable(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return what of a quantity lies on the lot grid."""
    return floor_to(quantity, spec.lot_size)


def is_dust(quantity: Decimal, price: Decimal, spec: InstrumentSpec) -> bool:
    """Whether a holding is below the exchange's minimum order, so that it cannot be sold."""
    lots = sellable(quantity, spec)
    return lots < spec.min_quantity or lots * price < spec.min_notional
