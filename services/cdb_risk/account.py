"""Equity, start of day, peak, daily loss and drawdown: the numbers that layers 3 and 5 look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.cdb_risk.finding import ratio
from services.cdb_risk.rolling import RollingPeak
from services.common.decimals import ZERO, divide
from services.common.portfolio import Portfolio
from services.common.timestamps import DAY_US, MINUTE_US, SECOND_US, day_of

__all__ = ["BREAKER_CONFIRM_US", "MARK_STALE_US", "Account", "Breach", "loss_fraction", "loss_reached"]

BREAKER_CONFIRM_US = SECOND_US
MARK_STALE_US = MINUTE_US
WARNING_LEVELS = (80, 50)
"""Per cent of a loss limit at which a warning is due, highest first."""

_DAY_MIN = DAY_US // MINUTE_US
_LOWEST_SHARE = divide(Decimal(WARNING_LEVELS[-1]), Decimal(100))


def loss_reached(base: Decimal, equity: Decimal, limit_pct: Decimal) -> bool:
    """Whether (base - equity) / base >= limit, by products alone; base > 0."""
    return base - equity >= limit_pct * base


def loss_fraction(base: Decimal, equity: Decimal) -> Decimal | None:
    """Return (base - equity) / base; negative is a profit; None when absurd. base > 0."""
    return ratio(base - equity, base)


@dataclass
class Breach:
    """A loss from the peak that is over the threshold but not yet confirmed.

    Attributes:
        since: time of the first valuation that showed it, microseconds.
        key: instrument whose quote made that valuation; None when it was a fill.
    """

    since: int
    key: str | None


@dataclass
class Account:
    """The portfolio and what is remembered of its equity.

    Attributes:
        day: number of the UTC day that `start_of_day_equity` belongs to.
        start_of_day_equity: equity at the first event of the day, with the marks before it.
        peak_equity: greatest equity so far, since the breaker was last reset.
        rolling: highest equity of the last hours.
        breach: a loss over the breaker's threshold that waits for its second quote.
        daily_warned, drawdown_warned: highest warning given, per cent of the limit.
    """

    portfolio: Portfolio = field(default_factory=Portfolio)
    day: int | None = None
    start_of_day_equity: Decimal | None = None
    peak_equity: Decimal | None = None
    rolling: RollingPeak = field(default_factory=RollingPeak)
    breach: Breach | None = None
    daily_warned: int = 0
    drawdown_warned: int = 0

    @classmethod
    def open(cls, cash: Decimal) -> Account:
        """Return the account of a new run: all cash."""
        return cls(portfolio=Portfolio.with_cash(cash), peak_equity=cash)

    @property
    def equity(self) -> Decimal | None:
        """Cash plus positions at mark, in quote currency; None when unknown."""
        return self.portfolio.equity

    @property
    def invested(self) -> bool:
        """Whether anything is held at all, dust included."""
        for position in self.portfolio.positions.values():  # noqa: SIM110 - with every tick: `any` costs three times as much
            if position.quantity:
                return True
        return False

    def held(self, key: str) -> bool:
        """Whether anything is held of an instrument, dust included."""
        position = self.portfolio.positions.get(key)
        return position is not None and position.quantity != 0

    def in_day(self, minute: int) -> bool:
        """Whether the day that contains a minute (since the epoch) has begun and its start is known."""
        return self.day == minute // _DAY_MIN and self.start_of_day_equity is not None

    def start_day(self, now: int) -> bool:
        """Take the equity as start of day if a new UTC day has begun, and return whether one has.

        While the equity is unknown the day has no start and this is tried again with the next event.
        """
        day = day_of(now)
        if day == self.day and self.start_of_day_equity is not None:
            return False
        if day != self.day:
            self.day, self.start_of_day_equity, self.daily_warned = day, None, 0
        self.start_of_day_equity = self.equity
        return self.start_of_day_equity is not None

    def raise_peak(self, equity: Decimal) -> None:
        """Remember a new greatest equity."""
        if self.peak_equity is None or equity > self.peak_equity:
            self.peak_equity, self.drawdown_warned = equity, 0

    def shift(self, before: Decimal | None) -> None:
        """Move start of day and peak with what came or went without a trade.

        Args:
            before: equity before that; None when it was unknown, then day and peak begin anew.
        """
        equity = self.equity
        if equity is None or before is None:
            self.start_of_day_equity = self.peak_equity = None
            return
        if self.start_of_day_equity is not None:
            self.start_of_day_equity += equity - before
        if self.peak_equity is not None:
            self.peak_equity += equity - before

    def reset_peak(self) -> None:
        """Let the drawdown begin anew at the equity of now (after a reset of the breaker, else it trips at once)."""
        self.peak_equity, self.drawdown_warned, self.breach = self.equity, 0, None

    @property
    def daily_pnl(self) -> Decimal | None:
        """Equity less start-of-day equity; None when unknown."""
        equity = self.equity
        return None if equity is None or self.start_of_day_equity is None else equity - self.start_of_day_equity

    @property
    def drawdown(self) -> Decimal | None:
        """1 - equity / peak equity; None when unknown."""
        equity = self.equity
        if equity is None or self.peak_equity is None or self.peak_equity <= 0:
            return None
        return loss_fraction(self.peak_equity, equity)

    def confirm_breach(self, now: int, key: str | None) -> bool:
        """Fold a valuation that shows a loss over the breaker's threshold; return whether it is confirmed.

        One bad tick must not latch the breaker: a second quote at least a second later has to show the loss too, of
        the same instrument, since another one's quote would still see the bad mark. When that instrument is no longer
        held, or has been silent for a minute, any valuation confirms.

        Args:
            now: time of the valuation, microseconds.
            key: instrument whose good quote made it; None for a fill or the clock.
        """
        if self.breach is None:
            self.breach = Breach(now, key)
            return False
        waited = now - self.breach.since
        first = self.breach.key
        same = key is not None and (first is None or key == first or not self.held(first))
        return waited >= MARK_STALE_US or (same and waited >= BREAKER_CONFIRM_US)

    def stale_marks(self, now: int, ignored: frozenset[str] = frozenset()) -> list[str]:
        """Return the held instruments whose mark is older than 60 seconds or missing, but for those to ignore."""
        stale = []
        for key, position in self.portfolio.positions.items():
            if position.quantity and key not in ignored:
                mark = self.portfolio.marks.get(key)
                if mark is None or now - mark.timestamp > MARK_STALE_US:
                    stale.append(key)
        return stale

    def unworried(self, loss: Decimal, limit: Decimal) -> bool:
        """Whether a loss is far from a limit above 0 (both quote currency): not even the lowest warning is reached."""
        return limit > ZERO and loss < limit * _LOWEST_SHARE

    def warning_due(self, loss: Decimal, limit: Decimal) -> int:
        """Return the highest warning level (per cent of the limit) that a loss has reached; 0 for none.

        Args:
            loss: quote currency.
            limit: the loss at which the limit is reached.
        """
        if loss <= ZERO:
            return 0
        return next((level for level in WARNING_LEVELS if loss * 100 >= limit * level), 0)
