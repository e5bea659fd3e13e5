"""MEXC's perpetual answers and pushes as our words: contracts become base units, ids stay whole. Pure.

Source: MEXC API documentation (perpetual v1), "Account and Trading Endpoints" and "WebSocket API" (personal.*).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal

from services.cdb_execution.adapters.spot_reading import read_symbol
from services.cdb_execution.exchange import (
    Balance,
    ExchangeStatus,
    FundingPayment,
    OrderReport,
    PositionReport,
    Trade,
    TradeKind,
)
from services.common.decimals import FIXED, ZERO
from services.common.errors import ExchangeAnswerInvalid
from services.common.instruments import PERPETUAL
from services.common.mexc.rows import (
    Row,
    as_row,
    flag,
    identifier,
    integer,
    milliseconds,
    number,
    optional_identifier,
    optional_number,
    positive,
    text,
)

__all__ = ["SizeOf", "read_asset", "read_funding", "read_order", "read_position", "read_trade"]

SizeOf = Callable[[str], Decimal]
"""Returns the base units of one contract of a symbol; raises ExchangeAnswerInvalid when it is not known."""

_SIDES: Final[dict[int, Literal["BUY", "SELL"]]] = {1: "BUY", 2: "BUY", 3: "SELL", 4: "SELL"}
"""Open long and close short buy; open short and close long sell."""
_STATUS: Final[dict[int, ExchangeStatus]] = {1: "NEW", 2: "NEW", 3: "FILLED", 4: "CANCELED", 5: "REJECTED"}
_KINDS: Final[dict[str, TradeKind]] = {
    "2": "liquidation",
    "3": "liquidation",
    "4": "deleveraging",
    "5": "delivery",
    "6": "liquidation",
}
"""Categories of orders of the exchange's own: taken over, closed after that, deleveraged, delivered, hedged."""
_ISOLATED: Final = 1
_GIVEN_BY_EXCHANGE: Final = "_m_"
"""How the client id begins that the exchange makes up for an order without one."""


def read_order(value: Any, size_of: SizeOf) -> OrderReport:
    """Return an order as it is asked for or pushed.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "order")
    symbol, state = read_symbol(row), integer(row, "state")
    if state not in _STATUS:
        raise ExchangeAnswerInvalid(f"state={state}: 1 to 5 is meant")
    size, dealt = size_of(symbol), number(row, "dealVol")
    filled = FIXED.multiply(dealt, size)
    average = number(row, "dealAvgPriceStr" if row.get("dealAvgPriceStr") else "dealAvgPrice")
    error = optional_identifier(row, "errorCode")
    return OrderReport(
        venue=PERPETUAL,
        symbol=symbol,
        side=_side(row),
        client_order_id=_client_id(row),
        exchange_order_id=identifier(row, "orderId"),
        status=_status(state, dealt),
        quantity=FIXED.multiply(number(row, "vol"), size),
        filled_quantity=filled,
        filled_notional=FIXED.multiply(filled, average),
        time=milliseconds(row, "updateTime" if row.get("updateTime") else "createTime"),
        error_code=None if error == "0" else error,
    )


def _status(state: int, dealt: Decimal) -> ExchangeStatus:
    if dealt > ZERO and state in {1, 2}:
        return "PARTIALLY_FILLED"
    return "CANCELED" if dealt > ZERO and state == 5 else _STATUS[state]


def _side(row: Row) -> Literal["BUY", "SELL"]:
    side = integer(row, "side")
    if side not in _SIDES:
        raise ExchangeAnswerInvalid(f"side={side}: 1 to 4 is meant")
    return _SIDES[side]


def _client_id(row: Row) -> str | None:
    given = optional_identifier(row, "externalOid")
    return None if given is None or given.startswith(_GIVEN_BY_EXCHANGE) else given


def read_trade(value: Any, size_of: SizeOf) -> Trade:
    """Return one fill, asked for (`taker`) or pushed (`isTaker`).

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "fill")
    symbol = read_symbol(row)
    return Trade(
        venue=PERPETUAL,
        symbol=symbol,
        side=_side(row),
        trade_id=identifier(row, "id"),
        exchange_order_id=identifier(row, "orderId"),
        client_order_id=_client_id(row),
        quantity=FIXED.multiply(positive(row, "vol"), size_of(symbol)),
        price=positive(row, "price"),
        fee=number(row, "fee"),
        fee_currency=text(row, "feeCurrency"),
        liquidity="taker" if flag(row, "taker" if "taker" in row else "isTaker") else "maker",
        time=milliseconds(row, "timestamp"),
        kind=_KINDS.get(optional_identifier(row, "category") or "", "order"),
    )


def read_position(value: Any, size_of: SizeOf) -> PositionReport:
    """Return a position; a closed one has the quantity 0.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "position")
    symbol, kind = read_symbol(row), integer(row, "positionType")
    if kind not in {1, 2}:
        raise ExchangeAnswerInvalid(f"positionType={kind}: 1 (long) or 2 (short) is meant")
    held = FIXED.multiply(number(row, "holdVol"), size_of(symbol))
    liquidation = optional_number(row, "liquidatePrice")
    return PositionReport(
        symbol=symbol,
        quantity=held if kind == 1 else FIXED.minus(held),
        entry_price=number(row, "holdAvgPrice"),
        margin=number(row, "im"),
        leverage=integer(row, "leverage"),
        liquidation_price=liquidation or None,
        isolated=integer(row, "openType") == _ISOLATED if "openType" in row else True,
    )


def read_asset(value: Any) -> Balance:
    """Return what the perpetual account holds of one coin; `locked` is in orders and as margin of positions.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "asset")
    return Balance(
        venue=PERPETUAL,
        currency=text(row, "currency"),
        free=number(row, "availableBalance"),
        locked=number(row, "frozenBalance") + number(row, "positionMargin"),
        equity=optional_number(row, "equity"),
    )


def read_funding(value: Any) -> FundingPayment:
    """Return one settlement of funding.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "funding")
    return FundingPayment(
        symbol=read_symbol(row),
        payment_id=identifier(row, "id"),
        amount=number(row, "funding"),
        rate=number(row, "rate"),
        time=milliseconds(row, "settleTime"),
    )
