"""The live ramp: small amounts in USDT, few instruments, and the first fills under watch. Exits pass it all."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.cdb_execution.codes import Refusal, RejectCode, shown
from services.cdb_execution.settings import ExecutionSettings
from services.common.decimals import ZERO
from services.common.events import Order

__all__ = ["Canary", "DayLoss", "Exposure", "check_ramp"]

_JUDGED_FROM: Final = 5
"""One bad fill says little; the mean of five says something."""
_LEAST_EXPECTED_BPS: Final = Decimal("0.5")


@dataclass
class Canary:
    """The first fills, judged by what the paper exchange would have given; sums in basis points.

    Attributes:
        fills: how many were watched.
        slippage, expected: sums over them.
        paused: entries wait for an operator's `resume`.
    """

    fills: int = 0
    slippage: Decimal = ZERO
    expected: Decimal = ZERO
    paused: bool = False

    def add(self, slippage_bps: Decimal, expected_bps: Decimal, settings: ExecutionSettings) -> bool:
        """Fold one fill and return whether entries pause because of it."""
        if self.paused or self.fills >= settings.LIVE_CANARY_FILLS:
            return False
        self.fills += 1
        self.slippage += slippage_bps
        self.expected += max(expected_bps, _LEAST_EXPECTED_BPS)
        judged = self.fills >= min(_JUDGED_FROM, settings.LIVE_CANARY_FILLS)
        self.paused = judged and self.slippage > settings.LIVE_CANARY_SLIPPAGE * self.expected
        return self.paused

    def resume(self) -> None:
        """Begin to watch anew after an operator has looked at it."""
        if self.paused:
            self.fills, self.slippage, self.expected, self.paused = 0, ZERO, ZERO, False


@dataclass
class DayLoss:
    """Profit and loss at the first event of the UTC day; None when it is not known."""

    day: int | None = None
    start: Decimal | None = None

    def roll(self, day: int, pnl: Decimal | None) -> None:
        """Begin a new day; while the profit and loss is not known it has no beginning, and this is tried again."""
        if day != self.day or self.start is None:
            self.day, self.start = day, pnl

    def shift(self, before: Decimal | None, after: Decimal | None) -> None:
        """Move the start with what came or went without a trade, which is no profit or loss; unknown: begin anew."""
        if self.start is not None:
            self.start = None if before is None or after is None else self.start + after - before

    def lost(self, pnl: Decimal | None) -> Decimal | None:
        """Return what was lost today, negative for a profit; None when unknown."""
        return None if pnl is None or self.start is None else self.start - pnl


@dataclass(frozen=True)
class Exposure:
    """What an entry meets.

    Attributes:
        held, entering: base units held and being entered, signed.
        lost_today: quote currency; None when unknown.
        reconciled: None when the books agree with the exchange, else why that is not known.
        paused: the canary's word.
    """

    held: Decimal
    entering: Decimal
    lost_today: Decimal | None
    reconciled: str | None
    paused: bool


def check_ramp(order: Order, settings: ExecutionSettings, exposure: Exposure) -> Refusal | None:
    """Return why the ramp refuses an order; None for what is within it, and for every exit."""
    if order.purpose != "entry":
        return None
    assert order.price is not None, "an entry without a protective price was refused"
    if exposure.reconciled is not None:
        return Refusal(RejectCode.NOT_RECONCILED, exposure.reconciled)
    if order.symbol not in settings.LIVE_SYMBOLS:
        return Refusal(RejectCode.LIVE_SYMBOL, f"{order.symbol}; allowed are {', '.join(settings.LIVE_SYMBOLS)}")
    if exposure.paused:
        return Refusal(RejectCode.CANARY, "the first fills cost too much; `claire resume` after a look at them")
    value = order.quantity * order.price
    if value > settings.LIVE_MAX_ORDER_USDT:
        return Refusal(RejectCode.LIVE_ORDER_CAP, f"{shown(value)} USDT, at most {shown(settings.LIVE_MAX_ORDER_USDT)}")
    whole = value + (abs(exposure.held) + abs(exposure.entering)) * order.price
    if whole > settings.LIVE_MAX_POSITION_USDT:
        return Refusal(
            RejectCode.LIVE_POSITION_CAP,
            f"{shown(whole)} USDT in all, at most {shown(settings.LIVE_MAX_POSITION_USDT)}",
        )
    if exposure.lost_today is None:
        return Refusal(RejectCode.LIVE_DAILY_LOSS, "what was lost today is not known")
    if exposure.lost_today >= settings.LIVE_MAX_DAILY_LOSS_USDT:
        return Refusal(
            RejectCode.LIVE_DAILY_LOSS,
            f"{shown(exposure.lost_today)} USDT lost today, limit {shown(settings.LIVE_MAX_DAILY_LOSS_USDT)}",
        )
    return None
