"""What live trading folds beside the orders themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_execution.exchange import OrderRules
from services.cdb_execution.live.account import Difference, Ledger
from services.cdb_execution.live.ramp import Canary, DayLoss
from services.common.decimals import ZERO
from services.common.portfolio import Portfolio
from services.common.timestamps import MINUTE_US, SECOND_US

__all__ = ["RECONCILE_AGAIN_US", "RECONCILE_EVERY_US", "LiveState", "Reconciliation", "trade_name"]

RECONCILE_EVERY_US: Final = MINUTE_US
RECONCILE_AGAIN_US: Final = 5 * SECOND_US
"""What could not be compared, or differs for the first time, is looked at again after this."""
_STALE_US: Final = 5 * MINUTE_US
_FUNDING_TOLD_WITHIN_US: Final = 10 * MINUTE_US
_STILL_ASKED_US: Final = 10 * MINUTE_US
"""Fills of so long before the books agreed are asked for once more: an exchange may tell one late."""
_BOOKED_REMEMBERED: Final = 2_048


def trade_name(trade_id: str, exchange_order_id: str | None) -> str:
    """Return what tells a fill from all others: both sides of one trade may have its id."""
    return f"{trade_id}/{exchange_order_id}"


@dataclass
class Reconciliation:
    """The last comparison, for people and for the ramp."""

    at: int
    verdict: str


@dataclass
class LiveState:
    """What live trading folds.

    Attributes:
        opened: whether the exchange's balances have become the starting ledger.
        revision: grows with everything that changes what the exchange must hold.
        reconciles: how often the account has to have been looked at.
        reconcile_at: when it is due next, microseconds; None: at once.
        agreed_at: when books and exchange last agreed since the last start; None before.
        last: the last comparison.
        trades_since: fills of the account before this (microseconds) are none of ours, or have been compared.
        booked: ids of the last fills that are booked (see `trade_name`).
        ledger: what the exchange must hold on spot.
        suspected: names of differences that were seen once.
        differences: what an operator has to accept before trading goes on.
        accepted: names of orders and fills of others that an operator has accepted.
        portfolio: of the live fills alone, for today's profit and loss.
        day: how the day began.
        canary: the first fills.
        rules: which orders the exchange takes, by symbol; told since the last start.
        leverages: of the last entry of each perpetual, by symbol.
        payments: ids of the last fundings that are booked.
        funding_due: by instrument key, the settlement (microseconds) whose funding the exchange has not told yet.
        waiting_since: the last verdict, or the last start, microseconds.
        overdue: whether it was told that no verdict came for too long.
        mode: the trading mode in which the orders of this run were sent; None before the first.
    """

    opened: bool = False
    revision: int = 0
    reconciles: int = 0
    reconcile_at: int | None = None
    agreed_at: int | None = None
    last: Reconciliation | None = None
    trades_since: int = 0
    booked: list[str] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    suspected: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    portfolio: Portfolio = field(default_factory=Portfolio)
    day: DayLoss = field(default_factory=DayLoss)
    canary: Canary = field(default_factory=Canary)
    rules: dict[str, OrderRules] = field(default_factory=dict)
    leverages: dict[str, int] = field(default_factory=dict)
    payments: list[str] = field(default_factory=list)
    funding_due: dict[str, int] = field(default_factory=dict)
    waiting_since: int = 0
    overdue: bool = False
    mode: str | None = None

    def not_reconciled(self, now: int) -> str | None:
        """Return why books and exchange cannot be said to agree; None when they do."""
        if self.agreed_at is None:
            return "books and exchange have not been compared since the start"
        if now - self.agreed_at > _STALE_US:
            return f"books and exchange have not agreed for {(now - self.agreed_at) // SECOND_US} s"
        return None

    def is_overdue(self, now: int) -> bool:
        """Return whether no verdict has come for too long; once, until one comes."""
        found = not self.overdue and bool(self.waiting_since) and now - self.waiting_since > _STALE_US
        self.overdue = self.overdue or found
        return found

    @property
    def pnl(self) -> Decimal | None:
        """Profit and loss of all live fills, in quote currency, fees counted; None while a position has no mark."""
        return self.portfolio.equity

    def remember_trades(self, names: Sequence[str]) -> None:
        """Keep fills among those that are booked."""
        self.booked = [*self.booked, *names][-_BOOKED_REMEMBERED:]

    def agree(self, now: int, *, all_seen: bool) -> None:
        """Note that books and exchange agree; older fills need not be asked for again, if `all_seen` by their ids."""
        self.differences, self.agreed_at = [], now
        if all_seen:
            self.trades_since = max(self.trades_since, now - _STILL_ASKED_US)

    @property
    def wallet(self) -> Decimal:
        """Cash and margin by all live fills and settlements, without unrealised profit; begins at 0."""
        return self.portfolio.cash + self.portfolio.margin

    def awaits_funding(self, now: int) -> bool:
        """Whether a settlement has passed whose funding may still be told."""
        return any(now - settlement <= _FUNDING_TOLD_WITHIN_US for settlement in self.funding_due.values())

    def difference_names(self) -> list[str]:
        """Return what an operator has to name."""
        return [difference.name for difference in self.differences]

    def quote_total(self, currency: str) -> Decimal:
        """Return what the ledger has of a quote currency."""
        return self.ledger.totals.get(currency, ZERO)
