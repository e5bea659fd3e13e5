"""An order of this exchange and the states it may take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal

from services.cdb_sandbox.core.listing import Listing
from services.common.decimals import ZERO, divide
from services.common.errors import IllegalTransition

__all__ = ["Fill", "Order", "OrderStatus", "OrderType", "Side"]

Side = Literal["BUY", "SELL"]


class OrderType(StrEnum):
    """Time in force is part of the type at MEXC."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIMIT_MAKER = "LIMIT_MAKER"
    IMMEDIATE_OR_CANCEL = "IMMEDIATE_OR_CANCEL"
    FILL_OR_KILL = "FILL_OR_KILL"


class OrderStatus(StrEnum):
    """What has become of an order; the last three are final."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    PARTIALLY_CANCELED = "PARTIALLY_CANCELED"


_OPEN: Final = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


@dataclass(kw_only=True)
class Order:
    """One order; quantities in the exchange's unit (base on spot, contracts on perpetuals).

    Attributes:
        order_id: text of digits, on spot behind `C02__`.
        sequence: of arrival; time priority among equal prices.
        price: limit; None for MARKET.
        quote_quantity: quote currency to spend, of a spot MARKET buy; then `quantity` is what it bought.
        queue_ahead: recorded quantity at its price that was there first.
        reserved: what is still locked for it: quote or base on spot, margin and fee on perpetuals.
        side_code: perpetual 1 open long, 2 close short, 3 open short, 4 close long; 0 on spot.
        category: perpetual 1 normal, 2 liquidation.
        cancel_code: perpetual `errorCode` of the order: 0, or why it was cancelled.
    """

    order_id: str
    sequence: int
    account: str
    listing: Listing
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    created_ms: int
    client_order_id: str | None = None
    quote_quantity: Decimal | None = None
    updated_ms: int = 0
    status: OrderStatus = OrderStatus.NEW
    filled: Decimal = ZERO
    filled_notional: Decimal = ZERO
    last_fill: Decimal = ZERO
    fee_paid: Decimal = ZERO
    maker: bool = False
    queue_ahead: Decimal = ZERO
    reserved: Decimal = ZERO
    side_code: int = 0
    reduce_only: bool = False
    leverage: int = 1
    category: int = 1
    cancel_code: int = 0
    profit: Decimal = ZERO
    position_id: int = 0
    version: int = 1

    @property
    def remaining(self) -> Decimal:
        """Quantity not filled yet."""
        return self.quantity - self.filled

    @property
    def is_open(self) -> bool:
        """Whether it may still fill."""
        return self.status in _OPEN

    @property
    def average_price(self) -> Decimal:
        """Mean price of its fills; 0 before the first."""
        base = self.filled * self.listing.unit_value
        return divide(self.filled_notional, base) if base else ZERO

    def fill(self, quantity: Decimal, notional: Decimal, now_ms: int, *, maker: bool) -> None:
        """Count a fill.

        Raises:
            IllegalTransition: it is not open or would fill over its quantity.
        """
        if not self.is_open or not ZERO < quantity <= self.remaining:
            raise IllegalTransition(f"order {self.order_id} ({self.status}): fill of {quantity} of {self.remaining}")
        self.filled += quantity
        self.filled_notional += notional
        self.last_fill, self.maker, self.updated_ms = quantity, maker, now_ms
        self.version += 1
        self.status = OrderStatus.FILLED if self.remaining == ZERO else OrderStatus.PARTIALLY_FILLED

    def cancel(self, now_ms: int, code: int = 0) -> None:
        """End what is left of it.

        Raises:
            IllegalTransition: it has ended before.
        """
        if not self.is_open:
            raise IllegalTransition(f"order {self.order_id} ({self.status}): cancelled again")
        self.status = OrderStatus.PARTIALLY_CANCELED if self.filled else OrderStatus.CANCELED
        self.updated_ms, self.cancel_code, self.last_fill = now_ms, code, ZERO
        self.version += 1


@dataclass(frozen=True, kw_only=True)
class Fill:
    """One fill of one order.

    Attributes:
        notional: quote value.
        fee: paid when positive, in `fee_asset`.
        profit: realised by a reduction of a perpetual position, without the fee.
    """

    trade_id: str
    order_id: str
    client_order_id: str | None
    account: str
    listing: Listing
    side: Side
    side_code: int
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    self_trade: bool
    time_ms: int
    profit: Decimal = ZERO
    category: int = 1
