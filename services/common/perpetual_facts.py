"""Funding and liquidation: facts of the exchange that cdb_execution journals as `control` events.

They change the books like fills do, but belong to no order: every ledger folds them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.instruments import PERPETUAL, instrument_key
from services.common.portfolio import Portfolio
from services.common.timestamps import format_timestamp

__all__ = ["Funding", "Liquidation", "Payment", "book_fact", "read_payment"]


@dataclass(frozen=True)
class Funding:
    """One settlement of one position.

    Attributes:
        settlement: its time, microseconds.
        rate: a fraction of the notional; longs pay shorts when it is positive.
        rate_known: false when the feed did not say, so that the assumed rate is against us.
        mark: at the settlement, quote currency.
        quantity: held then, base units, signed.
        amount: received (negative: paid), quote currency.
    """

    symbol: str
    settlement: int
    rate: Decimal
    rate_known: bool
    mark: Decimal
    quantity: Decimal
    amount: Decimal

    def details(self) -> dict[str, Any]:
        """Return the details of the control event."""
        return {
            "venue": PERPETUAL,
            "symbol": self.symbol,
            "settlement": format_timestamp(self.settlement),
            "rate": self.rate,
            "rate_known": self.rate_known,
            "flagged": not self.rate_known,
            "mark": self.mark,
            "quantity": self.quantity,
            "amount": self.amount,
        }


@dataclass(frozen=True)
class Liquidation:
    """A position that the exchange has taken over.

    Attributes:
        entry: average entry price, quote currency.
        price: at which it was due.
        mark: that reached it.
        margin: isolated margin, quote currency: what is lost.
        quantity: taken over, base units, signed.
        maintenance: mu, share of the notional that margin and PnL have to keep.
    """

    symbol: str
    entry: Decimal
    price: Decimal
    mark: Decimal
    margin: Decimal
    quantity: Decimal
    maintenance: Decimal

    def details(self) -> dict[str, Any]:
        """Return the details of the control event."""
        return {
            "venue": PERPETUAL,
            "symbol": self.symbol,
            "entry": self.entry,
            "price": self.price,
            "mark": self.mark,
            "margin": self.margin,
            "quantity": self.quantity,
            "maintenance": self.maintenance,
            "loss": self.margin,
        }


@dataclass(frozen=True)
class Payment:
    """A settlement that the exchange has told; `amount` is received (negative: paid), quote currency."""

    symbol: str
    payment_id: str
    amount: Decimal


def read_payment(event: Control) -> Payment:
    """Return what a `funding` event says that states a record of the exchange.

    Raises:
        ContractViolation: the event does not say what it must.
    """
    symbol, payment_id, amount = (event.details.get(name) for name in ("symbol", "payment_id", "amount"))
    if not (isinstance(symbol, str) and isinstance(payment_id, str) and isinstance(amount, Decimal | int)):
        raise ContractViolation(f"funding {event.event_id}: {symbol!r}, {payment_id!r}, {amount!r} is no payment")
    return Payment(symbol, payment_id, Decimal(amount))


def book_fact(portfolio: Portfolio, event: Control) -> str:
    """Book a `funding` or `liquidation` event and return the key of its instrument.

    Raises:
        ContractViolation: the event does not say what it must.
        IllegalTransition: nothing of the instrument was traded, or is held.
    """
    details = event.details
    venue, symbol, amount = details.get("venue"), details.get("symbol"), details.get("amount")
    if venue != PERPETUAL or not isinstance(symbol, str):
        raise ContractViolation(f"{event.action} {event.event_id}: {venue!r}, {symbol!r} is no perpetual")
    key = instrument_key(venue, symbol)
    if event.action == "liquidation":
        portfolio.liquidate(key)
    elif isinstance(amount, Decimal):
        portfolio.fund(key, amount)
    else:
        raise ContractViolation(f"{event.action} {event.event_id}: amount={amount!r} is no number")
    return key
