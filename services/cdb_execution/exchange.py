"""What live execution and an exchange say to each other: plain data and one Protocol, no protocol of any exchange.

The live machine decides with these words, the shell speaks them, and the adapters translate them into MEXC's requests
and out of its answers. Quantities are base units (contracts are the adapter's business), prices and money are exact,
times are microseconds since the epoch on the exchange's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, Protocol

from services.common.instruments import InstrumentSpec, Venue

__all__ = [
    "Balance",
    "Exchange",
    "ExchangeStatus",
    "FundingPayment",
    "OrderReport",
    "OrderRequest",
    "OrderRules",
    "PlaceOutcome",
    "PositionReport",
    "Pushed",
    "StreamState",
    "Trade",
    "TradeKind",
    "UserStream",
]

ExchangeStatus = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED"]
"""What an order is at the exchange; `CANCELED` may have filled in part."""


TradeKind = Literal["order", "liquidation", "deleveraging", "delivery"]
"""Why there was a fill: somebody's order, or the exchange closing a position of the account by itself."""


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """One order as it is to be sent, exactly once.

    Attributes:
        price: limit price; None for MARKET.
        quantity: base units, on the lot grid.
        leverage: 1 on spot.
        not_after: wall time of this machine, microseconds, after which it must not leave any more; None: no such time.
        wanted: asked just before it leaves; False when it was withdrawn meanwhile (a halt).
    """

    client_order_id: str
    venue: Venue
    symbol: str
    side: Literal["BUY", "SELL"]
    order_type: Literal["LIMIT", "MARKET"]
    time_in_force: Literal["IOC", "GTC", "FOK"]
    quantity: Decimal
    price: Decimal | None
    reduce_only: bool = False
    leverage: int = 1
    not_after: int | None = None
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class PlaceOutcome:
    """What is known after one attempt to send an order.

    Attributes:
        verdict: `accepted` (the exchange has it), `refused` (it certainly has not and never will), `unknown` (anything
            else: only asking tells), `not_sent` (not a byte left this machine, for example too old or rate limited).
        exchange_order_id: of an accepted order.
        code: the exchange's error code, or a name of what went wrong on the way (`timeout`, `http_502`).
        detail: for people; never holds a key or a signature.
    """

    verdict: Literal["accepted", "refused", "unknown", "not_sent"]
    exchange_order_id: str | None = None
    code: str | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class OrderReport:
    """What the exchange says of an order, pushed or asked for.

    Attributes:
        client_order_id: None when the order was not placed with one.
        filled_quantity: cumulative.
        filled_notional: quote currency paid or received so far, without fees; None where it is not told.
        error_code: why it ended, where the exchange says so.
    """

    venue: Venue
    symbol: str
    side: Literal["BUY", "SELL"]
    client_order_id: str | None
    exchange_order_id: str
    status: ExchangeStatus
    quantity: Decimal
    filled_quantity: Decimal
    filled_notional: Decimal | None
    time: int
    error_code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One fill of one of the account's orders; `trade_id` is counted once.

    Attributes:
        fee: paid when positive, in `fee_currency` (base, quote or another coin).
        kind: other than `order` on perpetuals, when the exchange closed a position by itself.
    """

    venue: Venue
    symbol: str
    side: Literal["BUY", "SELL"]
    trade_id: str
    exchange_order_id: str
    client_order_id: str | None
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Literal["maker", "taker"]
    time: int
    kind: TradeKind = "order"


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What the account holds of one currency.

    Attributes:
        free: of which orders could be placed.
        locked: in orders and, on perpetuals, as margin.
        equity: all of it with unrealised profit; None where it is not told.
    """

    venue: Venue
    currency: str
    free: Decimal
    locked: Decimal
    equity: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class PositionReport:
    """A perpetual position as the exchange sees it.

    Attributes:
        quantity: signed base units, short below zero.
        isolated: whether its margin is its own; otherwise all of the account answers for it.
    """

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    margin: Decimal
    leverage: int
    liquidation_price: Decimal | None
    isolated: bool = True


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """The user stream has begun to deliver (again), or has ceased to.

    Attributes:
        connected: what happened before it was `True` may have been missed: it is reconciled.
        reason: for people.
    """

    connected: bool
    reason: str = ""


Pushed = OrderReport | Trade | Balance | PositionReport | StreamState
"""What a user stream delivers."""


class UserStream(Protocol):
    """What the exchange pushes of one account. It reconnects by itself, in a thread of its own."""

    def start(self, deliver: Callable[[Pushed], None]) -> None:
        """Begin to deliver; `deliver` may be called from any thread and never blocks."""
        ...

    def stop(self) -> None:
        """Deliver nothing more, and give everything back."""
        ...


@dataclass(frozen=True, kw_only=True)
class FundingPayment:
    """One settlement of a perpetual's funding; `amount` is received when positive, in the settlement coin."""

    symbol: str
    payment_id: str
    amount: Decimal
    rate: Decimal
    time: int


@dataclass(frozen=True, kw_only=True)
class OrderRules:
    """Which orders of one instrument the exchange takes, as it publishes it.

    Attributes:
        tick_size, lot_size: steps of price (quote currency) and quantity (base units).
        min_quantity, max_quantity: base units; None where only the value is bounded.
        min_notional, max_notional: value, quote currency.
        sides: that it takes now, in the order of the alphabet.
        market_orders: whether it takes orders without a price.
        closed: why it takes none at all now; None when it does.
        buy_band, sell_band: how far a limit may be beyond the reference price, a fraction; None: any.
    """

    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    max_notional: Decimal
    sides: tuple[str, ...] = ("BUY", "SELL")
    market_orders: bool = True
    max_quantity: Decimal | None = None
    closed: str | None = None
    buy_band: Decimal | None = None
    sell_band: Decimal | None = None


class Exchange(Protocol):
    """One account at one venue.

    Every method but `place` may be repeated. All raise `ExchangeUnreachable` when there is no answer and
    `ExchangeRefused` when the answer is an error; `place` raises neither, it always says what is known.
    """

    def place(self, request: OrderRequest) -> PlaceOutcome:
        """Send one order, once, without any retry."""
        ...

    def test(self, request: OrderRequest) -> PlaceOutcome:
        """Have an order validated without placing it: `accepted` or `refused` as `place` would say."""
        ...

    def cancel(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Cancel what is left of an order; None when the exchange does not know it."""
        ...

    def cancel_all(self, symbol: str) -> None:
        """Cancel every open order of an instrument, also those that are not ours."""
        ...

    def query(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """Return what became of an order; None when the exchange does not know it (yet)."""
        ...

    def open_orders(self, symbols: Sequence[str]) -> list[OrderReport]:
        """Return every open order of the account on these symbols, also those that are not ours."""
        ...

    def trades(self, symbol: str, since: int) -> list[Trade]:
        """Return every fill of the account on a symbol since a time, oldest first, all pages."""
        ...

    def balances(self) -> list[Balance]:
        """Return what the account holds."""
        ...

    def positions(self) -> list[PositionReport]:
        """Return the open perpetual positions; none on spot."""
        ...

    def funding(self, symbol: str, since: int) -> list[FundingPayment]:
        """Return every settlement of funding on a perpetual since a time, oldest first; none on spot."""
        ...

    def hedge_mode(self) -> bool:
        """Return whether the account keeps long and short of one perpetual apart; never on spot."""
        ...

    def clock_offset_ms(self) -> int:
        """Return what the exchange's clock is ahead of this machine's, as last measured; 0 before. Asks nothing."""
        ...

    def silent_for_sec(self) -> float:
        """Return for how long nothing is asked because the exchange wants silence (a limit, a ban); 0 when it may."""
        ...

    def rules(self, symbols: Sequence[str]) -> list[OrderRules]:
        """Return which orders the exchange takes now; an instrument that it does not list is left out."""
        ...

    def instruments(self, symbols: Sequence[str]) -> list[InstrumentSpec]:
        """Return the grids and minimums of instruments as the exchange publishes them now."""
        ...
