"""Perpetual v1, orders: place, cancel, query, fills. Quantities are contracts, numbers are JSON numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_sandbox.core.exchange import OrderDraft
from services.cdb_sandbox.core.orders import Fill, Order, OrderType, Side
from services.cdb_sandbox.house import House
from services.cdb_sandbox.perpetual_rows import ORDER_STATES, fill_row, order_row
from services.cdb_sandbox.rest.request import Request
from services.cdb_sandbox.rest.unbuilt import refuse_unbuilt_fields
from services.common.errors import IllegalTransition, SandboxRefusal

__all__ = [
    "batch_query",
    "cancel_all_orders",
    "cancel_by_external",
    "cancel_orders",
    "create_order",
    "deal_details",
    "get_order",
    "history_orders",
    "open_orders",
    "order_by_external",
    "order_deals",
    "submit_order",
]

PERPETUAL: Final = "mexc_perpetual"

_TYPES: Final = {
    1: OrderType.LIMIT,
    2: OrderType.LIMIT_MAKER,
    3: OrderType.IMMEDIATE_OR_CANCEL,
    4: OrderType.FILL_OR_KILL,
    5: OrderType.MARKET,
    6: OrderType.MARKET,
}


def _refuse(code: int, message: str) -> SandboxRefusal:
    return SandboxRefusal(code, message, status=200)


def _number(body: dict[str, Any], name: str) -> Decimal | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise _refuse(600, f"Parameter error: {name}")
    try:
        return Decimal(value)
    except ArithmeticError:
        raise _refuse(600, f"Parameter error: {name}") from None


def _whole(body: dict[str, Any], name: str, default: int) -> int:
    value = _number(body, name)
    return default if value is None else int(value)


def _draft(house: House, request: Request) -> OrderDraft:
    body = request.json
    if not isinstance(body, dict):
        raise _refuse(601, "Data parsing error")
    listing = house.listing(PERPETUAL, body.get("symbol"))
    side_code, type_code = _whole(body, "side", 0), _whole(body, "type", 0)
    if side_code not in {1, 2, 3, 4}:
        raise _refuse(2001, "Order side error")
    if type_code not in _TYPES:
        raise _refuse(2029, "Order type error")
    if _whole(body, "openType", 1) != 1:
        raise _refuse(2002, "Open type error: this sandbox has isolated margin only")
    if _whole(body, "positionMode", 2) != 2 or house.exchange.margins[request.account].hedged:
        raise _refuse(7002, "Position mode does not match")
    refuse_unbuilt_fields(body)
    volume, price = _number(body, "vol"), _number(body, "price")
    order_type = _TYPES[type_code]
    if volume is None:
        raise _refuse(2011, "Order quantity error")
    if order_type is OrderType.MARKET:
        price = None
    elif price is None:
        raise _refuse(2007, "Order price error")
    side: Side = "BUY" if side_code in {1, 2} else "SELL"
    margin = house.exchange.margins[request.account]
    position = margin.position(listing)
    leverage = position.leverage if position is not None else margin.leverage_of(listing)
    return OrderDraft(
        account=request.account,
        listing=listing,
        side=side,
        order_type=order_type,
        quantity=volume,
        price=price,
        client_order_id=str(body["externalOid"]) if body.get("externalOid") else None,
        side_code=side_code,
        reduce_only=side_code in {2, 4} or body.get("reduceOnly") in {True, "true"},
        leverage=_whole(body, "leverage", leverage),
    )


def create_order(house: House, request: Request) -> Any:
    """Place an order: an acknowledgement with its id."""
    order = house.exchange.place(_draft(house, request), request.now_ms, fill_at_most=request.fill_at_most)
    return {"orderId": order.order_id, "ts": request.now_ms}


def submit_order(house: House, request: Request) -> Any:
    """Place an order by the older endpoint, which answers with the bare id."""
    return int(create_order(house, request)["orderId"])


def _cancel(house: House, order: Order | None, request: Request, shown: dict[str, Any]) -> dict[str, Any]:
    if order is None:
        return shown | {"errorCode": 2040, "errorMsg": "order not exist"}
    try:
        house.exchange.cancel(order, request.now_ms)
    except IllegalTransition:
        return shown | {"errorCode": 2041, "errorMsg": "order state cannot be cancelled"}
    return shown | {"errorCode": 0, "errorMsg": "success"}


def cancel_orders(house: House, request: Request) -> Any:
    """Cancel up to 50 orders by id; each answers for itself."""
    if not isinstance(request.json, list) or not 1 <= len(request.json) <= 50:
        raise _refuse(600, "Parameter error")
    answers = []
    for value in request.json:
        order = house.exchange.records.find(request.account, PERPETUAL, order_id=str(value))
        answers.append(_cancel(house, order, request, {"orderId": value}))
    return answers


def cancel_by_external(house: House, request: Request) -> Any:
    """Cancel by the client's ids; an object is taken like a list of one."""
    rows = request.json if isinstance(request.json, list) else [request.json]
    answers = []
    for row in rows:
        if not isinstance(row, dict):
            raise _refuse(600, "Parameter error")
        order = house.exchange.records.find(request.account, PERPETUAL, client_order_id=str(row.get("externalOid")))
        shown = {"symbol": row.get("symbol"), "externalOid": row.get("externalOid")}
        answers.append(_cancel(house, order, request, shown))
    return answers


def cancel_all_orders(house: House, request: Request) -> Any:
    """Cancel all open orders, of one contract or of all."""
    name = request.json.get("symbol") if isinstance(request.json, dict) else None
    for order in house.exchange.records.open_orders(request.account, PERPETUAL):
        if not name or order.listing.name == name:
            house.exchange.cancel(order, request.now_ms)


def _found(order: Order | None) -> Order:
    if order is None:
        raise _refuse(2040, "order not exist")
    return order


def get_order(house: House, request: Request) -> Any:
    """Return an order by its id."""
    order_id = request.arguments["order_id"]
    return order_row(_found(house.exchange.records.find(request.account, PERPETUAL, order_id=order_id)))


def order_by_external(house: House, request: Request) -> Any:
    """Return an order by the client's id."""
    name, client_id = request.arguments["symbol"], request.arguments["external_oid"]
    order = _found(house.exchange.records.find(request.account, PERPETUAL, client_order_id=client_id))
    if order.listing.name != name:
        raise _refuse(2040, "order not exist")
    return order_row(order)


def batch_query(house: House, request: Request) -> Any:
    """Return those of up to 50 orders that exist."""
    ids = request.text("order_ids", code=600).split(",")[:50]
    found = (house.exchange.records.find(request.account, PERPETUAL, order_id=order_id) for order_id in ids)
    return [order_row(order) for order in found if order is not None]


def open_orders(house: House, request: Request) -> Any:
    """Return the open orders, of one contract or of all, newest first."""
    name = request.arguments.get("symbol") or request.params.get("symbol")
    orders = house.exchange.records.open_orders(request.account, PERPETUAL)
    return request.page([order_row(o) for o in reversed(orders) if not name or o.listing.name == name])[0]


def _span(request: Request) -> tuple[int, int]:
    begin = request.params.get("start_time") or request.params.get("startTime") or "0"
    end = request.params.get("end_time") or request.params.get("endTime") or str(request.now_ms + 1)
    if not (begin.isdecimal() and end.isdecimal()):
        raise _refuse(600, "Parameter error: start_time or end_time")
    return int(begin), int(end)


def history_orders(house: House, request: Request) -> Any:
    """Return orders that have ended (or those of the given states), newest first."""
    name = request.params.get("symbol")
    states = {int(text) for text in (request.params.get("states") or "3,4").split(",") if text.isdecimal()}
    begin, end = _span(request)
    rows = [
        order_row(order)
        for order in reversed(house.exchange.records.of_account(request.account, PERPETUAL))
        if (not name or order.listing.name == name)
        and ORDER_STATES[order.status] in states
        and begin <= order.created_ms <= end
    ]
    return request.page(rows)[0]


def _fills(house: House, request: Request) -> list[Fill]:
    fills = house.exchange.records.fills
    return [f for f in reversed(fills) if f.account == request.account and f.listing.is_perpetual]


def deal_details(house: House, request: Request) -> Any:
    """Return an order's fills, newest first."""
    return [fill_row(f) for f in _fills(house, request) if f.order_id == request.arguments["order_id"]]


def order_deals(house: House, request: Request) -> Any:
    """Return the fills of a contract within a span, newest first."""
    name = request.params.get("symbol")
    begin, end = _span(request)
    rows = [
        fill_row(fill)
        for fill in _fills(house, request)
        if (not name or fill.listing.name == name) and begin <= fill.time_ms <= end
    ]
    return request.page(rows)[0]
