"""What MEXC pushes of a spot account, as our words: protobuf frames of the three private channels. Pure.

Source: MEXC API documentation (spot v3), "Websocket User Data Streams", field tables of the private messages.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from google.protobuf.message import DecodeError

from services.cdb_execution.adapters.spot_reading import read_symbol
from services.cdb_execution.exchange import Balance, ExchangeStatus, OrderReport, Trade
from services.common.errors import ExchangeAnswerInvalid
from services.common.mexc import push_pb2
from services.common.mexc.rows import milliseconds, number, optional_identifier, positive, text

__all__ = ["CHANNELS", "decode_push"]

CHANNELS: Final = (
    "spot@private.orders.v3.api.pb",
    "spot@private.deals.v3.api.pb",
    "spot@private.account.v3.api.pb",
)
_SIDES: Final[dict[int, Literal["BUY", "SELL"]]] = {1: "BUY", 2: "SELL"}
_STATUS: Final[dict[int, ExchangeStatus]] = {1: "NEW", 2: "FILLED", 3: "PARTIALLY_FILLED", 4: "CANCELED", 5: "CANCELED"}


def decode_push(frame: bytes) -> OrderReport | Trade | Balance | None:
    """Return what one frame tells; None for what is not about the account.

    Raises:
        ExchangeAnswerInvalid: it is no message, or a field of it cannot be.
    """
    wrapper = push_pb2.PushDataV3ApiWrapper()
    try:
        wrapper.ParseFromString(frame)
    except DecodeError:
        raise ExchangeAnswerInvalid(f"frame of {len(frame)} bytes: a protobuf message is meant") from None
    kind = wrapper.WhichOneof("body")
    if kind == "privateOrders":
        return _order(wrapper)
    if kind == "privateDeals":
        return _deal(wrapper)
    return _account(wrapper) if kind == "privateAccount" else None


def _fields(message: Any) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


def _side(row: dict[str, Any]) -> Literal["BUY", "SELL"]:
    side = row.get("tradeType")
    if side not in _SIDES:
        raise ExchangeAnswerInvalid(f"tradeType={side!r}: 1 (buy) or 2 (sell) is meant")
    return _SIDES[side]


def _order(wrapper: Any) -> OrderReport:
    row = {**_fields(wrapper.privateOrders), "symbol": wrapper.symbol, "sendTime": wrapper.sendTime}
    status = row.get("status")
    if status not in _STATUS:
        raise ExchangeAnswerInvalid(f"status={status!r}: 1 to 5 is meant")
    return OrderReport(
        venue="mexc_spot",
        symbol=read_symbol(row),
        side=_side(row),
        client_order_id=optional_identifier(row, "clientId"),
        exchange_order_id=text(row, "id"),
        status=_STATUS[status],
        quantity=number(row, "quantity"),
        filled_quantity=number({"cumulativeQuantity": "0", **row}, "cumulativeQuantity"),
        filled_notional=number({"cumulativeAmount": "0", **row}, "cumulativeAmount"),
        time=milliseconds(row, "sendTime" if row["sendTime"] else "createTime"),
    )


def _deal(wrapper: Any) -> Trade:
    row = {**_fields(wrapper.privateDeals), "symbol": wrapper.symbol}
    return Trade(
        venue="mexc_spot",
        symbol=read_symbol(row),
        side=_side(row),
        trade_id=text(row, "tradeId"),
        exchange_order_id=text(row, "orderId"),
        client_order_id=optional_identifier(row, "clientOrderId"),
        quantity=positive(row, "quantity"),
        price=positive(row, "price"),
        fee=number({"feeAmount": "0", **row}, "feeAmount"),
        fee_currency=text(row, "feeCurrency"),
        liquidity="maker" if row.get("isMaker") else "taker",
        time=milliseconds(row, "time"),
    )


def _account(wrapper: Any) -> Balance:
    row = {"balanceAmount": "0", "frozenAmount": "0", **_fields(wrapper.privateAccount)}
    return Balance(
        venue="mexc_spot",
        currency=text(row, "vcoinName"),
        free=number(row, "balanceAmount"),
        locked=number(row, "frozenAmount"),
    )
