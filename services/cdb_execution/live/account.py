"""The account at the exchange as one snapshot in the journal, and how it differs from what the fills say.

Balances are compared only when no order works and nothing was booked since the snapshot was begun (`revision`): then
every unit has to be accounted for. What no order of ours explains (an open order, a fill) is a difference at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.cdb_execution.codes import shown
from services.cdb_execution.exchange import OrderRules, Trade
from services.common.currencies import base_and_quote, fee_kind
from services.common.decimals import ZERO
from services.common.errors import ContractViolation
from services.common.events import Control, NonNegative, Number, Symbol
from services.common.instruments import InstrumentSpec, Venue

__all__ = [
    "NEVER_ACCEPTED",
    "Account",
    "Difference",
    "DifferenceKind",
    "Held",
    "Ledger",
    "OpenOrder",
    "compare_balances",
    "describe",
    "read_account",
    "strangers",
]

DifferenceKind = Literal[
    "balance",
    "position",
    "open_order",
    "trade",
    "entry",
    "margin",
    "margin_mode",
    "leverage",
    "available",
    "equity",
    "position_mode",
]
NEVER_ACCEPTED: Final = frozenset[DifferenceKind]({"position_mode"})
"""What no word of an operator makes right: under it no order of ours could mean what it says."""

_QUOTE_DUST: Final = Decimal("0.01")
_COIN_DUST: Final = Decimal("0.01")
_HEDGE_MODE: Final = (
    "the account is in hedge mode, and only one-way mode is traded: set the position mode of the futures account to "
    "one-way (which needs no open position and no open order), then claire resume"
)


class OpenOrder(BaseModel):
    """An order that works at the exchange."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol
    exchange_order_id: str
    client_order_id: str | None = None
    quantity: NonNegative
    filled_quantity: NonNegative


class Held(BaseModel):
    """A perpetual position at the exchange; signed base units. What a snapshot does not tell is not compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Symbol
    quantity: Number
    entry_price: NonNegative
    margin: Number | None = None
    leverage: int | None = None
    isolated: bool | None = None


class Account(BaseModel):
    """The details of `control/account`.

    Attributes:
        revision: of the books when the snapshot was begun.
        balances: free and locked together, by currency.
        foreign_trades: ids of fills that no order of ours made, with a sentence about each.
        covered: by order id, the fills that an operator's word stands for.
        rules: which orders the exchange takes, where that is new.
        available, equity: of perpetuals, by currency: what orders could be placed of; with unrealised profit.
        hedge_mode: whether long and short of one perpetual are kept apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: Venue
    revision: int = Field(ge=0)
    balances: dict[str, Number]
    open_orders: list[OpenOrder]
    positions: list[Held]
    foreign_trades: dict[str, str]
    covered: dict[str, list[str]] = {}
    rules: list[OrderRules] | None = None
    available: dict[str, Number] = {}
    equity: dict[str, Number] = {}
    hedge_mode: bool = False

    @field_validator("rules")
    @classmethod
    def _steps_are_above_zero(cls, rules: list[OrderRules] | None) -> list[OrderRules] | None:
        for each in rules or []:
            if min(each.tick_size, each.lot_size) <= 0:
                raise ValueError(f"{each.symbol}: steps of price {each.tick_size} and quantity {each.lot_size}")
        return rules


def read_account(event: Control) -> Account:
    """Return what a snapshot says.

    Raises:
        ContractViolation: naming what is wrong.
    """
    details: dict[str, Any] = dict(event.details)
    try:
        return Account.model_validate(details)
    except ValidationError as error:
        raise ContractViolation(f"account {event.event_id}: {error}") from error


@dataclass
class Ledger:
    """What the exchange must hold of each currency, by all fills (and funding) since the first snapshot.

    Attributes:
        fee_coins: coins beside base and quote in which fees were paid.
    """

    totals: dict[str, Decimal] = field(default_factory=dict)
    fee_coins: list[str] = field(default_factory=list)

    def book(self, symbol: str, side: str, quantity: Decimal, price: Decimal) -> None:
        """Exchange base for quote currency."""
        base, quote = base_and_quote(symbol)
        signed = quantity if side == "BUY" else -quantity
        self.add(base, signed)
        self.add(quote, -signed * price)

    def pay(self, symbol: str, fee: Decimal, currency: str | None) -> None:
        """Pay a fee, in whatever coin."""
        base, quote = base_and_quote(symbol)
        kind = fee_kind(symbol, currency)
        coin = base if kind == "base" else quote if kind == "quote" else str(currency)
        if kind == "other" and coin not in self.fee_coins:
            self.fee_coins.append(coin)
        self.add(coin, -fee)

    def add(self, currency: str, amount: Decimal) -> None:
        """Change what must be there of a currency."""
        self.totals[currency] = self.totals.get(currency, ZERO) + amount


@dataclass
class Difference:
    """One thing on which books and exchange do not agree.

    Attributes:
        kind: what it is about.
        subject: currency, symbol, or id at the exchange.
        expected, actual: amounts; None for what has none.
        price, leverage: at which the change of a perpetual makes the books the exchange's.
        detail: for people.
    """

    kind: DifferenceKind
    subject: str
    detail: str
    expected: Decimal | None = None
    actual: Decimal | None = None
    price: Decimal | None = None
    leverage: int | None = None

    @property
    def name(self) -> str:
        """How the operator names it; the same difference has the same name each time."""
        return f"{self.kind}:{self.subject}"

    def shown(self) -> dict[str, Any]:
        """Return what stands in an event."""
        return {"name": self.name, "expected": self.expected, "actual": self.actual, "detail": self.detail}


def strangers(account: Account, is_working: Callable[[OpenOrder], bool], accepted: Iterable[str]) -> list[Difference]:
    """Return the open orders and fills that no order of ours explains, but for those that an operator has accepted.

    And a position mode in which no order of ours can be meant.

    Args:
        account: as the exchange has it.
        is_working: whether an open order is one of ours that has not ended.
        accepted: names of differences.
    """
    known = frozenset(accepted)
    found = [
        Difference(
            "open_order",
            order.exchange_order_id,
            f"{shown(order.quantity - order.filled_quantity)} {order.symbol} works there, and is none of ours",
        )
        for order in account.open_orders
        if not is_working(order)
    ]
    found += [Difference("trade", trade_id, detail) for trade_id, detail in account.foreign_trades.items()]
    if account.hedge_mode:
        found.append(Difference("position_mode", account.venue, _HEDGE_MODE))
    return [difference for difference in found if difference.name not in known]


def compare_balances(account: Account, ledger: Ledger, specs: Mapping[str, InstrumentSpec]) -> list[Difference]:
    """Return where the exchange's balances on spot are not what the fills say.

    Args:
        account: taken while nothing worked.
        ledger: of the fills.
        specs: by symbol; less than a lot of a coin is dust.
    """
    dust = {spec.base: spec.lot_size for spec in specs.values()} | dict.fromkeys(
        (spec.quote for spec in specs.values()), _QUOTE_DUST
    )
    watched = {currency: (ledger.totals.get(currency, ZERO), dust.get(currency, _COIN_DUST))
               for currency in (*dust, *ledger.fee_coins)}  # fmt: skip
    return [
        _balance(currency, expected, account.balances.get(currency, ZERO))
        for currency, (expected, least) in sorted(watched.items())
        if abs(account.balances.get(currency, ZERO) - expected) >= least
    ]


def _balance(currency: str, expected: Decimal, actual: Decimal) -> Difference:
    detail = f"the exchange has {shown(actual)} {currency}, the fills say {shown(expected)}"
    return Difference("balance", currency, detail, expected, actual)


def describe(trade: Trade) -> str:
    """Return a sentence about a fill."""
    by = "" if trade.kind == "order" else f"{trade.kind} by the exchange: "
    made = f"{trade.side} {shown(trade.quantity)} {trade.symbol} at {shown(trade.price)}"
    return f"{by}{made}, order {trade.exchange_order_id}"
