"""Our signed orders and ccxt's own, for equal orders: the same parameters, and each one's signature is the other's."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from services.cdb_execution.adapters.transport import HttpRequest
from services.common.mexc.signing import perpetual_signature, spot_signature
from tests.unit.execution.mexc_desk import ACCESS, NOW_MS, SECRET, Script, answer, contract_order, data, order
from tests.unit.execution.mexc_desk import perpetual as our_perpetual
from tests.unit.execution.mexc_desk import spot as our_spot
from tests.unit.mexc.published import contract_row, spot_row

ccxt = pytest.importorskip("ccxt")

pytestmark = pytest.mark.slow


def ccxt_sends(symbol: str, side: str, amount: float, price: float, **params: Any) -> dict[str, Any]:
    """Return the request that ccxt makes of an order: url, method, headers, body."""
    client = ccxt.mexc({"apiKey": ACCESS, "secret": SECRET, "options": {"fetchMarkets": {"types": {}}}})
    client.milliseconds = lambda: NOW_MS
    client.nonce = lambda: NOW_MS
    sent: dict[str, Any] = {}

    def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        if "exchangeInfo" in url:
            return json.loads(json.dumps({"symbols": [spot_row()]}, default=str))
        if "contract/detail" in url:
            return {"success": True, "code": 0, "data": [json.loads(json.dumps(contract_row(), default=float))]}
        if "/order" in url:
            sent.update(url=url, method=method, headers=headers, body=body)
            return {"orderId": "1", "success": True, "code": 0, "data": {"orderId": "1"}}
        return {"data": [], "success": True, "code": 0}

    client.fetch = fetch
    client.create_order(symbol, "limit", side, amount, price, params)
    return sent


def our(script: Script) -> HttpRequest:
    """Return the last request of ours."""
    return script.sent[-1]


def test_a_spot_order_says_what_ccxts_says() -> None:
    """Same address, header and parameters; stamp and window may stand in another order, signed as they stand."""
    script = Script().on("POST /api/v3/order", answer({"orderId": "1"}))
    our_spot(script).place(order(client_order_id="cdb-1"))
    ours = our(script)
    theirs = ccxt_sends("BTC/USDT", "buy", 0.001, 50000, timeInForce="IOC", clientOrderId="cdb-1")

    path, _, query = theirs["url"].partition("?")
    assert path == "https://api.mexc.com" + ours.path
    assert theirs["method"] == ours.method
    mine, other = dict(parse_qsl(ours.query)), dict(parse_qsl(query))
    for signed, text in ((mine, ours.query), (other, query)):
        assert signed.pop("signature") == spot_signature(SECRET, text.rpartition("&signature=")[0])
    assert mine == other
    assert theirs["headers"]["X-MEXC-APIKEY"] == ours.headers["X-MEXC-APIKEY"]
    assert theirs["headers"]["Content-Type"] == ours.headers["Content-Type"]


def test_a_perpetual_order_says_what_ccxts_says() -> None:
    """Same address, headers and order; the body is signed as it is sent. Ours says the account's mode, too."""
    script = Script().on("POST /api/v1/private/order/create", data("1"))
    our_perpetual(script).place(contract_order(client_order_id="cdb-1", time_in_force="GTC"))
    ours = our(script)
    theirs = ccxt_sends("BTC/USDT:USDT", "buy", 10, 50000, marginMode="isolated", leverage=2, clientOrderId="cdb-1")

    assert theirs["url"] == "https://api.mexc.com" + ours.path
    mine, other = json.loads(ours.body, parse_float=Decimal), json.loads(theirs["body"], parse_float=Decimal)
    assert {name: mine[name] for name in other} == other
    assert set(mine) - set(other) == {"positionMode", "reduceOnly"}
    for headers, body in ((ours.headers, ours.body), (theirs["headers"], theirs["body"])):
        assert headers["ApiKey"] == ACCESS
        assert headers["Signature"] == perpetual_signature(SECRET, ACCESS, headers["Request-Time"], body)
