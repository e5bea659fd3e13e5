"""The way in: from a raw request to an endpoint, past limits and signatures, and back to an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.house import House
from services.cdb_sandbox.limits import Limit
from services.cdb_sandbox.rest import perp_account, perp_orders, perp_public, spot_account, spot_orders, spot_public
from services.cdb_sandbox.rest.auth import authenticate_perpetual, authenticate_spot, parameters_of
from services.cdb_sandbox.rest.request import Answer, RawRequest, Request
from services.cdb_sandbox.rest.unbuilt import UNBUILT, refuser
from services.cdb_sandbox.wire import to_json
from services.common.decimals import ONE
from services.common.errors import SandboxRefusal

__all__ = ["ENDPOINTS", "Endpoint", "answer", "particulars"]

_IP: Final = Limit(300, 10_000)
_UID: Final = Limit(500, 10_000)
_ORDERS: Final = Limit(12, 1_000)
_PERPETUAL: Final = Limit(20, 2_000)
_PERPETUAL_SLOW: Final = Limit(10, 2_000)
_PERPETUAL_ORDERS: Final = Limit(4, 2_000)
_LEVERAGE: Final = Limit(10, 10_000)

Handler = Callable[[House, Request], Any]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: `{name}` in the path is an argument; `bucket` shares its limit with others of that name."""

    method: str
    path: str
    handler: Handler
    signed: bool = False
    weight: int = 1
    limit: Limit | None = None
    bucket: str = ""

    @property
    def is_perpetual(self) -> bool:
        """Whether it belongs to the perpetual interface."""
        return self.path.startswith("/api/v1/")

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the path's arguments; None when it is another endpoint."""
        theirs, ours = path.split("/"), self.path.split("/")
        if method != self.method or len(theirs) != len(ours):
            return None
        arguments = {}
        for their, our in zip(theirs, ours, strict=True):
            if our.startswith("{"):
                arguments[our[1:-1]] = their
            elif our != their:
                return None
        return arguments


def _spot(method: str, name: str, handler: Handler, weight: int = 1) -> Endpoint:
    return Endpoint(method, f"/api/v3/{name}", handler, weight=weight)


def _spot_signed(method: str, name: str, handler: Handler, weight: int = 1, limit: Limit | None = None) -> Endpoint:
    bucket = "orders" if limit is _ORDERS else name
    return Endpoint(method, f"/api/v3/{name}", handler, signed=True, weight=weight, limit=limit, bucket=bucket)


def _contract(name: str, handler: Handler, limit: Limit = _PERPETUAL) -> Endpoint:
    return Endpoint("GET", f"/api/v1/contract/{name}", handler, limit=limit)


def _private(method: str, name: str, handler: Handler, limit: Limit = _PERPETUAL) -> Endpoint:
    return Endpoint(method, f"/api/v1/private/{name}", handler, signed=True, limit=limit)


ENDPOINTS: Final = (
    _spot("GET", "ping", spot_public.ping),
    _spot("GET", "time", spot_public.server_time),
    _spot("GET", "defaultSymbols", spot_public.default_symbols),
    _spot("GET", "exchangeInfo", spot_public.exchange_info, 25),
    _spot("GET", "depth", spot_public.depth, 3),
    _spot("GET", "trades", spot_public.trades, 5),
    _spot("GET", "aggTrades", spot_public.agg_trades),
    _spot("GET", "klines", spot_public.klines),
    _spot("GET", "avgPrice", spot_public.average_price),
    _spot("GET", "ticker/24hr", spot_public.ticker_day, 25),
    _spot("GET", "ticker/price", spot_public.price_ticker),
    _spot("GET", "ticker/bookTicker", spot_public.book_ticker),
    _spot_signed("POST", "order", spot_orders.place_order, limit=_ORDERS),
    _spot_signed("POST", "order/test", spot_orders.test_order),
    _spot_signed("POST", "batchOrders", spot_orders.place_batch, limit=Limit(2, 1_000)),
    _spot_signed("DELETE", "order", spot_orders.cancel_order, limit=_ORDERS),
    _spot_signed("DELETE", "openOrders", spot_orders.cancel_open, limit=_ORDERS),
    _spot_signed("DELETE", "order/all", spot_orders.cancel_all, limit=_ORDERS),
    _spot_signed("GET", "order", spot_orders.query_order, 2),
    _spot_signed("GET", "openOrders", spot_orders.open_orders, 3),
    _spot_signed("GET", "allOrders", spot_orders.all_orders, 10),
    _spot_signed("GET", "myTrades", spot_orders.my_trades, 10),
    _spot_signed("GET", "account", spot_account.account, limit=Limit(2, 1_000)),
    _spot_signed("GET", "tradeFee", spot_account.trade_fee, 20),
    _spot_signed("GET", "capital/config/getall", spot_account.currencies, 10),
    _spot_signed("POST", "userDataStream", spot_account.create_listen_key),
    _spot_signed("GET", "userDataStream", spot_account.listen_keys),
    _spot_signed("PUT", "userDataStream", spot_account.refresh_listen_key),
    _spot_signed("DELETE", "userDataStream", spot_account.close_listen_key),
    _contract("ping", perp_public.contract_ping),
    _contract("detail", perp_public.detail, _PERPETUAL_SLOW),
    _contract("depth/{symbol}", perp_public.depth, _PERPETUAL_SLOW),
    _contract("depth_commits/{symbol}/{limit}", perp_public.depth_commits),
    _contract("deals/{symbol}", perp_public.deals),
    _contract("kline/{symbol}", perp_public.klines),
    _contract("ticker", perp_public.ticker, _PERPETUAL_SLOW),
    _contract("index_price/{symbol}", perp_public.index_price),
    _contract("fair_price/{symbol}", perp_public.fair_price),
    _contract("funding_rate/history", perp_public.funding_rate_history),
    _contract("funding_rate/{symbol}", perp_public.funding_rate),
    _private("POST", "order/create", perp_orders.create_order, _PERPETUAL_ORDERS),
    _private("POST", "order/submit", perp_orders.submit_order, _PERPETUAL_ORDERS),
    _private("POST", "order/cancel", perp_orders.cancel_orders),
    _private("POST", "order/cancel_with_external", perp_orders.cancel_by_external),
    _private("POST", "order/batch_cancel_with_external", perp_orders.cancel_by_external),
    _private("POST", "order/cancel_all", perp_orders.cancel_all_orders),
    _private("GET", "order/get/{order_id}", perp_orders.get_order),
    _private("GET", "order/external/{symbol}/{external_oid}", perp_orders.order_by_external),
    _private("GET", "order/batch_query", perp_orders.batch_query, Limit(5, 2_000)),
    _private("GET", "order/list/open_orders", perp_orders.open_orders),
    _private("GET", "order/list/open_orders/{symbol}", perp_orders.open_orders),
    _private("GET", "order/list/history_orders", perp_orders.history_orders),
    _private("GET", "order/deal_details/{order_id}", perp_orders.deal_details),
    _private("GET", "order/list/order_deals", perp_orders.order_deals),
    _private("GET", "order/list/order_deals/v3", perp_orders.order_deals),
    _private("GET", "position/open_positions", perp_account.open_positions),
    _private("GET", "position/list/history_positions", perp_account.history_positions),
    _private("GET", "position/funding_records", perp_account.funding_records),
    _private("GET", "position/leverage", perp_account.leverage),
    _private("POST", "position/change_leverage", perp_account.change_leverage, _LEVERAGE),
    _private("GET", "position/position_mode", perp_account.position_mode),
    _private("POST", "position/change_position_mode", perp_account.change_position_mode),
    _private("POST", "position/change_margin", perp_account.change_margin),
    _private("POST", "position/close_all", perp_account.close_all, _PERPETUAL_ORDERS),
    _private("GET", "account/assets", perp_account.assets),
    _private("GET", "account/asset/{currency}", perp_account.asset),
    _private("GET", "account/tiered_fee_rate", perp_account.fee_rate),
    _private("GET", "account/tiered_fee_rate/v2", perp_account.fee_rate_v2),
    _private("GET", "account/risk_limit", perp_account.risk_limit),
    *(_private(method, name, refuser(*refusal)) for (method, name), refusal in UNBUILT.items()),
)


def particulars(raw: RawRequest) -> tuple[str | None, str | None]:
    """Return symbol and client order id of a request, as far as it names them: what faults are matched with."""
    fields: dict[str, Any] = dict(parameters_of(raw))
    if raw.body.lstrip().startswith(("{", "[")):
        try:
            body = json.loads(raw.body)
        except ValueError:
            body = None
        first = body[0] if isinstance(body, list) and body else body
        if isinstance(first, dict):
            fields |= first
    if raw.path.startswith("/api/v1/private/order/external/"):
        fields["symbol"], fields["externalOid"] = [*raw.path.split("/"), "", ""][6:8]
    names = ("newClientOrderId", "origClientOrderId", "externalOid")
    client_id = next((str(fields[name]) for name in names if fields.get(name)), None)
    return (str(fields["symbol"]) if fields.get("symbol") else None), client_id


def answer(house: House, raw: RawRequest, fault: Fault | None = None) -> Answer:
    """Do what a request asks and return the answer; every refusal is one, too."""
    is_perpetual = raw.path.startswith("/api/v1/")
    try:
        house.tick()
        data = _handle(house, raw, fault)
    except SandboxRefusal as refusal:
        return _refused(refusal, is_perpetual=is_perpetual)
    finally:
        house.tell()
    if not is_perpetual:
        return Answer(status=200, body=to_json(data))
    envelope: dict[str, Any] = {"success": True, "code": 0}
    return Answer(status=200, body=to_json(envelope if data is None else envelope | {"data": data}))


def _refused(refusal: SandboxRefusal, *, is_perpetual: bool) -> Answer:
    body: dict[str, Any] = {"code": refusal.code, "msg": str(refusal)}
    if is_perpetual:
        body = {"success": False, "code": refusal.code, "message": str(refusal)}
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return Answer(status=refusal.status, body=to_json(body), headers=headers)


def _handle(house: House, raw: RawRequest, fault: Fault | None) -> Any:
    now_ms = house.now_ms()
    found = ((e, e.match(raw.method, raw.path)) for e in ENDPOINTS)
    endpoint, arguments = next(((e, a) for e, a in found if a is not None), (None, None))
    if endpoint is None or arguments is None:
        raise SandboxRefusal(404, f"{raw.method} {raw.path} is not part of this sandbox", status=404)
    if fault is not None:
        _refuse_by_fault(fault, endpoint)
        now_ms += fault.skew_ms if fault.kind is FaultKind.CLOCK_SKEW else 0
    name = endpoint.bucket or endpoint.path
    if not endpoint.signed and not endpoint.is_perpetual:
        house.limits.admit_spot(raw.address, ("ip", raw.address, name), endpoint.weight, _IP, now_ms)
    account = ""
    if endpoint.signed:
        authenticate = authenticate_perpetual if endpoint.is_perpetual else authenticate_spot
        account = authenticate(house, raw, now_ms).name
    if endpoint.is_perpetual:
        who = account or raw.address
        house.limits.admit_perpetual((who, name), endpoint.limit or _PERPETUAL, now_ms)
    elif endpoint.signed:
        limit = endpoint.limit or _UID
        house.limits.admit_spot(account, ("uid", account, name), endpoint.weight, limit, now_ms)
    share = fault.share if fault is not None and fault.kind is FaultKind.PARTIAL_FILL else ONE
    request = Request(
        params=parameters_of(raw),
        json=_body_json(raw) if endpoint.is_perpetual and raw.method == "POST" else None,
        arguments=arguments,
        account=account,
        now_ms=now_ms,
        fill_at_most=share,
    )
    return endpoint.handler(house, request)


def _refuse_by_fault(fault: Fault, endpoint: Endpoint) -> None:
    perpetual = endpoint.is_perpetual
    if fault.kind is FaultKind.REJECT:
        raise SandboxRefusal(fault.code, fault.message, status=fault.status or (200 if perpetual else 400))
    if fault.kind is FaultKind.RATE_LIMIT:
        if perpetual and fault.status is None:
            raise SandboxRefusal(510, "Requests are too frequent, please try again later!", status=200)
        raise SandboxRefusal(429, "Too Many Requests", status=429, retry_after=fault.retry_after)
    if fault.kind is FaultKind.BAN:
        raise SandboxRefusal(418, "IP banned", status=418, retry_after=fault.retry_after)


def _body_json(raw: RawRequest) -> Any:
    if not raw.body:
        return None
    try:
        return json.loads(raw.body, parse_float=Decimal)
    except ValueError:
        raise SandboxRefusal(601, "Data parsing error", status=200) from None
