"""Spot v3, orders: place, test, cancel, query, and the account's trades."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from services.cdb_sandbox.core.exchange import OrderDraft
from services.cdb_sandbox.core.orders import Fill, Order, OrderType
from services.cdb_sandbox.house import House
from services.cdb_sandbox.rest.request import Request
from services.cdb_sandbox.rest.unbuilt import refuse_unbuilt_spot_fields
from services.cdb_sandbox.wire import number
from services.common.decimals import ZERO
from services.common.errors import SandboxRefusal

__all__ = [
    "all_orders",
    "cancel_all",
    "cancel_open",
    "cancel_order",
    "my_trades",
    "open_orders",
    "place_batch",
    "place_order",
    "query_order",
    "test_order",
]

SPOT: Final = "mexc_spot"
_DAY_MS: Final = 24 * 3600 * 1000
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


def _draft(house: House, request: Request) -> OrderDraft:
    listing = house.listing(SPOT, request.text("symbol"))
    side = request.text("side")
    refuse_unbuilt_spot_fields(request.params)
    name = {"LIMIT_ORDER": "LIMIT"}.get(request.text("type"), request.text("type"))
    if side not in {"BUY", "SELL"} or name not in OrderType.__members__:
        raise SandboxRefusal(33333, "Parameter error: side or type")
    client_id = request.params.get("newClientOrderId") or None
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        raise SandboxRefusal(700008, "Illegal characters found in parameter 'newClientOrderId'.")
    order_type = OrderType[name]
    quantity, price = request.decimal("quantity"), request.decimal("price")
    spend = request.decimal("quoteOrderQty")
    if order_type is OrderType.MARKET:
        price = None
        spend = None if side == "SELL" else spend
        if quantity is None and spend is None:
            raise SandboxRefusal(-1128, "Combination of optional parameters invalid.")
        if spend is not None:
            quantity = None
    elif quantity is None or price is None:
        raise SandboxRefusal(-1128, "Combination of optional parameters invalid.")
    else:
        spend = None
    return OrderDraft(
        account=request.account,
        listing=listing,
        side="BUY" if side == "BUY" else "SELL",
        order_type=order_type,
        quantity=quantity if quantity is not None else ZERO,
        price=price,
        quote_quantity=spend,
        client_order_id=client_id,
    )


def place_order(house: House, request: Request) -> Any:
    """Place an order: an acknowledgement without status and fills."""
    order = house.exchange.place(_draft(house, request), request.now_ms, fill_at_most=request.fill_at_most)
    return {
        "symbol": order.listing.name,
        "orderId": order.order_id,
        "orderListId": -1,
        "price": number(order.price or ZERO),
        "origQty": number(order.quantity),
        "type": order.order_type.value,
        "side": order.side,
        "stpMode": "",
        "transactTime": request.now_ms,
    }


def test_order(house: House, request: Request) -> Any:
    """Check an order without placing it."""
    house.exchange.test(_draft(house, request), request.now_ms)
    return {}


def place_batch(house: House, request: Request) -> Any:
    """Place up to 20 orders; each one answers for itself."""
    try:
        rows = json.loads(request.text("batchOrders"))
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not 1 <= len(rows) <= 20:
        raise SandboxRefusal(33333, "Parameter error: batchOrders")
    answers: list[dict[str, Any]] = []
    for row in rows:
        params = {name: str(value) for name, value in row.items()}
        single = Request(params=params, account=request.account, now_ms=request.now_ms)
        client_id = {"newClientOrderId": params["newClientOrderId"]} if params.get("newClientOrderId") else {}
        try:
            placed = place_order(house, single)
        except SandboxRefusal as refusal:
            answers.append(client_id | {"msg": str(refusal), "code": refusal.code})
        else:
            answers.append({name: placed[name] for name in ("symbol", "orderId", "orderListId")} | client_id)
    return answers


def _find(house: House, request: Request, code: int, message: str) -> Order:
    order_id = request.params.get("orderId") or None
    client_id = request.params.get("origClientOrderId") or None
    if order_id is None and client_id is None:
        raise SandboxRefusal(700004, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    order = house.exchange.records.find(request.account, SPOT, order_id=order_id, client_order_id=client_id)
    symbol = request.params.get("symbol")
    if order is None or (symbol and order.listing.name != symbol):
        raise SandboxRefusal(code, message)
    return order


def _canceled(order: Order, request: Request) -> dict[str, Any]:
    return {
        "symbol": order.listing.name,
        "origClientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "clientOrderId": request.params.get("newClientOrderId") or "",
        "price": number(order.price or ZERO),
        "origQty": number(order.quantity),
        "executedQty": number(order.filled),
        "cummulativeQuoteQty": number(order.filled_notional),
        "status": order.status.value,
        "type": order.order_type.value,
        "side": order.side,
    }


def cancel_order(house: House, request: Request) -> Any:
    """Cancel an order; -2011 when it is unknown or has ended."""
    request.text("symbol")
    order = _find(house, request, -2011, "Unknown order sent.")
    if not order.is_open:
        raise SandboxRefusal(-2011, "Unknown order sent.")
    house.exchange.cancel(order, request.now_ms)
    return _canceled(order, request)


def cancel_open(house: House, request: Request) -> Any:
    """Cancel all open orders of up to five symbols."""
    names = request.text("symbol").split(",")
    for name in names:
        house.listing(SPOT, name)
    answers = []
    for order in house.exchange.records.open_orders(request.account, SPOT):
        if order.listing.name in names:
            house.exchange.cancel(order, request.now_ms)
            answers.append(_canceled(order, request))
    return answers


def cancel_all(house: House, request: Request) -> Any:
    """Cancel all open orders of the account."""
    for order in house.exchange.records.open_orders(request.account, SPOT):
        house.exchange.cancel(order, request.now_ms)
    return {"code": 0, "msg": "success", "data": None, "timestamp": request.now_ms}


def _queried(order: Order) -> dict[str, Any]:
    return {
        "symbol": order.listing.name,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "price": number(order.price or ZERO),
        "origQty": number(order.quantity),
        "executedQty": number(order.filled),
        "cummulativeQuoteQty": number(order.filled_notional),
        "status": order.status.value,
        "timeInForce": None,
        "type": order.order_type.value,
        "side": order.side,
        "stopPrice": None,
        "icebergQty": None,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
        "stpMode": "",
        "cancelReason": "",
        "origQuoteOrderQty": number(order.quote_quantity or (order.price or ZERO) * order.quantity),
    }


def query_order(house: House, request: Request) -> Any:
    """Return an order; -2013 when it is unknown."""
    return _queried(_find(house, request, -2013, "Order does not exist."))


def open_orders(house: House, request: Request) -> Any:
    """Return the open orders, of one symbol or of all."""
    symbol = request.params.get("symbol")
    if symbol:
        house.listing(SPOT, symbol)
    orders = house.exchange.records.open_orders(request.account, SPOT)
    return [_queried(order) for order in orders if not symbol or order.listing.name == symbol]


def all_orders(house: House, request: Request) -> Any:
    """Return all orders of a symbol within a span (by default the last 24 hours), newest first."""
    listing = house.listing(SPOT, request.text("symbol"))
    begin = request.integer("startTime", request.now_ms - _DAY_MS)
    end = request.integer("endTime", request.now_ms + 1)
    orders = [
        order
        for order in house.exchange.records.of_account(request.account, SPOT)
        if order.listing is listing and begin <= order.created_ms <= end
    ]
    return [_queried(order) for order in reversed(orders[-request.integer("limit", 500, most=1000) :])]


def my_trades(house: House, request: Request) -> Any:
    """Return the account's trades of a symbol within a span, newest first, at most 100."""
    listing = house.listing(SPOT, request.text("symbol"))
    order_id = request.params.get("orderId")
    begin, end = request.integer("startTime", 0), request.integer("endTime", request.now_ms + 1)
    fills = [
        fill
        for fill in house.exchange.records.fills
        if fill.account == request.account
        and fill.listing is listing
        and (not order_id or fill.order_id == order_id)
        and begin <= fill.time_ms <= end
    ]
    return [_trade(fill) for fill in reversed(fills[-request.integer("limit", 100, most=100) :])]


def _trade(fill: Fill) -> dict[str, Any]:
    return {
        "symbol": fill.listing.name,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "quoteQty": number(fill.notional),
        "commission": number(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
        "isBuyer": fill.side == "BUY",
        "isMaker": fill.maker,
        "isBestMatch": True,
        "isSelfTrade": fill.self_trade,
        "clientOrderId": fill.client_order_id,
    }
