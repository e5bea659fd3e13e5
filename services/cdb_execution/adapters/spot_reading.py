"""MEXC's spot REST answers as our words. Pure.

Source: MEXC API documentation (spot v3), "Spot Account/Trade"; `cummulativeQuoteQty` is its own spelling.
"""

from __future__ import annotations

from typing import Any, Final

from services.cdb_execution.exchange import Balance, ExchangeStatus, OrderReport, Trade
from services.common.decimals import ZERO
from services.common.errors import ContractViolation, ExchangeAnswerInvalid
from services.common.instruments import normalise_symbol
from services.common.mexc.rows import (
    Row,
    as_row,
    as_rows,
    flag,
    identifier,
    milliseconds,
    number,
    optional_identifier,
    optional_number,
    positive,
    text,
)

__all__ = ["read_balances", "read_order", "read_symbol", "read_trade"]

_STATUS: Final[dict[str, ExchangeStatus]] = {
    "NEW": "NEW",
    "PENDING": "NEW",
    "PENDING_NEW": "NEW",
    "PENDING_CANCEL": "NEW",
    "PARTIALLY_FILLED": "PARTIALLY_FILLED",
    "FILLED": "FILLED",
    "CANCELED": "CANCELED",
    "PARTIALLY_CANCELED": "CANCELED",
    "EXPIRED": "CANCELED",
    "REJECTED": "REJECTED",
}
"""Statuses of MEXC, and some that clients have seen beside them."""


def read_symbol(row: Row, field: str = "symbol") -> str:
    """Return the symbol as it stands on our wire.

    Raises:
        ExchangeAnswerInvalid: it is none.
    """
    try:
        return normalise_symbol(text(row, field))
    except ContractViolation as error:
        raise ExchangeAnswerInvalid(f"{field}: {error}") from None


def read_order(value: Any) -> OrderReport:
    """Return an order as `GET order`, `openOrders` or `allOrders` tell it.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "order")
    status, side = text(row, "status"), text(row, "side")
    if status not in _STATUS:
        raise ExchangeAnswerInvalid(f"status={status!r}: one of {', '.join(_STATUS)} is meant")
    filled = number(row, "executedQty")
    meant = _STATUS[status]
    return OrderReport(
        venue="mexc_spot",
        symbol=read_symbol(row),
        side=_side(side),
        client_order_id=optional_identifier(row, "clientOrderId"),
        exchange_order_id=identifier(row, "orderId"),
        status="PARTIALLY_FILLED" if meant == "NEW" and filled > ZERO else meant,
        quantity=number(row, "origQty" if "origQty" in row else "Qty"),
        filled_quantity=filled,
        filled_notional=optional_number(row, "cummulativeQuoteQty"),
        time=milliseconds(row, "updateTime" if row.get("updateTime") else "time"),
        error_code=optional_identifier(row, "cancelReason"),
    )


def _side(side: str) -> Any:
    if side not in {"BUY", "SELL"}:
        raise ExchangeAnswerInvalid(f"side={side!r}: BUY or SELL is meant")
    return side


def read_trade(value: Any) -> Trade:
    """Return one fill of `myTrades`.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    row = as_row(value, "trade")
    return Trade(
        venue="mexc_spot",
        symbol=read_symbol(row),
        side="BUY" if flag(row, "isBuyer") else "SELL",
        trade_id=identifier(row, "id"),
        exchange_order_id=identifier(row, "orderId"),
        client_order_id=optional_identifier(row, "clientOrderId"),
        quantity=positive(row, "qty"),
        price=positive(row, "price"),
        fee=number(row, "commission"),
        fee_currency=text(row, "commissionAsset"),
        liquidity="maker" if flag(row, "isMaker") else "taker",
        time=milliseconds(row, "time"),
    )


def read_balances(value: Any) -> list[Balance]:
    """Return what `GET account` says is held; currencies of which there is nothing are left out.

    Raises:
        ExchangeAnswerInvalid: a field is missing or cannot be.
    """
    rows = as_rows(as_row(value, "account").get("balances"), "balances")
    held = [
        Balance(venue="mexc_spot", currency=text(row, "asset"), free=number(row, "free"), locked=number(row, "locked"))
        for row in rows
    ]
    return [balance for balance in held if balance.free or balance.locked]
