"""What the strategy found when a bar closed: the numbers, and why it gave a signal or gave none."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Self

from services.common.codec import decode, encode_value
from services.common.fixed_point import from_e8, from_e12
from services.common.timestamps import MINUTE_US

__all__ = ["Action", "Evaluation", "Reason", "percent"]


class Action(StrEnum):
    """What followed from a closed bar."""

    NONE = "none"
    ENTRY = "entry"
    EXIT = "exit"


class Reason(StrEnum):
    """Why a closed bar gave no entry, or what made it an exit. All that hold are recorded, in this order."""

    IN_POSITION = "IN_POSITION"
    """The strategy already holds its virtual position, and nothing ended it."""
    WARMING_UP = "WARMING_UP"
    """Too few bars for momentum or volatility, or no market data yet in this run."""
    NOT_IN_SYMBOLS = "NOT_IN_SYMBOLS"
    """The symbol was taken out of SYMBOLS: it is only watched until its position has ended."""
    GAP = "GAP"
    """Market data were missing within the last L minutes."""
    STALE_BAR = "STALE_BAR"
    """The bar was closed late, after a later minute had passed: too old to enter on."""
    BELOW_THRESHOLD = "BELOW_THRESHOLD"
    """|m| is under T."""
    SHORT_NOT_ALLOWED = "SHORT_NOT_ALLOWED"
    """Momentum is down, and this instrument is not sold short."""
    NOT_ARMED = "NOT_ARMED"
    """Since the last entry |m| has not yet fallen under SIGNAL_REARM_FRACTION of T while flat."""
    COOLDOWN = "COOLDOWN"
    """Too soon after the last entry or the last stop."""
    VOLUME = "VOLUME"
    """Too little traded within L."""

    VIRTUAL_STOP = "VIRTUAL_STOP"
    """Exit: the price went SIGNAL_STOP_PCT against the virtual entry."""
    MAX_HOLD = "MAX_HOLD"
    """Exit: held for SIGNAL_MAX_HOLD_MIN."""
    MOMENTUM_FADED = "MOMENTUM_FADED"
    """Exit: momentum in the direction held fell to SIGNAL_EXIT_PCT."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One closed bar as the strategy saw it.

    Attributes:
        minute: number of the UTC minute that closed.
        close: its closing price, quote currency.
        momentum_e12: m = close / close L bars before - 1, in units of 10^-12; None before there are L bars.
        threshold_e12: T, in units of 10^-12, rounded up; None before there are enough returns.
        volatility_e12: s, the root mean square of the one-minute returns, in units of 10^-12.
        volume_e8: traded within L, in units of 10^-8 quote currency.
        action: what followed.
        reasons: why no entry, or what made it an exit; empty for an entry.
    """

    minute: int
    close: Decimal
    momentum_e12: int | None
    threshold_e12: int | None
    volatility_e12: int | None
    volume_e8: int
    action: Action
    reasons: tuple[Reason, ...]

    @property
    def close_time_us(self) -> int:
        """End of the bar, microseconds since the epoch."""
        return (self.minute + 1) * MINUTE_US

    @property
    def momentum_pct(self) -> Decimal | None:
        """Momentum m, a fraction."""
        return None if self.momentum_e12 is None else from_e12(self.momentum_e12)

    @property
    def threshold_pct(self) -> Decimal | None:
        """Threshold T, a fraction."""
        return None if self.threshold_e12 is None else from_e12(self.threshold_e12)

    @property
    def volatility_pct(self) -> Decimal | None:
        """One-minute volatility s, a fraction."""
        return None if self.volatility_e12 is None else from_e12(self.volatility_e12)

    @property
    def volume_usdt(self) -> Decimal:
        """Traded within L, quote currency."""
        return from_e8(self.volume_e8)

    @property
    def way_pct(self) -> int | None:
        """How far |m| has come to T, in whole percent, cut; 0 for a fall where nothing is sold short.

        None while either is unknown.
        """
        if self.momentum_e12 is None or self.threshold_e12 is None:
            return None
        if Reason.SHORT_NOT_ALLOWED in self.reasons:
            return 0
        return abs(self.momentum_e12) * 100 // self.threshold_e12

    def row(self) -> str:
        """Return this evaluation as the one text that stands in a machine's state."""
        numbers = (self.momentum_e12, self.threshold_e12, self.volatility_e12, self.volume_e8)
        return encode_value([self.minute, self.close, *numbers, self.action, *self.reasons])

    @classmethod
    def from_row(cls, row: str) -> Self:
        """Read what `row` wrote."""
        minute, close, momentum, threshold, volatility, volume, action, *reasons = decode(row)
        return cls(minute, close, momentum, threshold, volatility, volume, Action(action), tuple(map(Reason, reasons)))

    def text(self) -> str:
        """Return one line for a person: `m 0.31 %, T 0.52 %, 60 % of the way: BELOW_THRESHOLD`."""
        if self.momentum_e12 is None:
            line = "m unknown"
        elif self.threshold_e12 is None:
            line = f"m {percent(self.momentum_e12)}, T unknown"
        else:
            line = f"m {percent(self.momentum_e12)}, T {percent(self.threshold_e12)}, {self.way_pct} % of the way"
        if self.action is not Action.NONE:
            line = f"{line}: {self.action}"
        return f"{line}: {', '.join(self.reasons)}" if self.reasons else line


def percent(units_e12: int) -> str:
    """Return units of 10^-12 as percent with two decimals: `-0.31 %`."""
    return f"{from_e12(units_e12 * 100):.2f} %"
