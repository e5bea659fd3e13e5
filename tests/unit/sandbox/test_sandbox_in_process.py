"""The sandbox over real sockets, in one process."""

from __future__ import annotations

import json
import time

import pytest
import requests
from websockets.sync.client import connect

from services.cdb_sandbox.clock import SteppedClock
from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.house import SandboxOptions
from services.cdb_sandbox.sandbox import SandboxExchange
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper
from services.common.mexc.signing import perpetual_login_signature, spot_signature

pytestmark = pytest.mark.integration


def signed(mexc: SandboxExchange, method: str, name: str, query: str = "") -> requests.Response:
    """Send a signed spot request."""
    query = f"{query}&timestamp={mexc.now_ms()}".lstrip("&")
    url = f"{mexc.rest_url}/api/v3/{name}?{query}&signature={spot_signature(mexc.api_secret, query)}"
    return requests.request(method, url, headers={"X-MEXC-APIKEY": mexc.api_key}, timeout=5)


def test_rest_and_both_streams_answer_on_one_port_and_faults_strike() -> None:
    """An order placed over REST is told on the private stream; a cut answer or a late arrival is an order, too."""
    with SandboxExchange(SandboxOptions(clock=SteppedClock())) as mexc:
        key = signed(mexc, "POST", "userDataStream").json()["listenKey"]
        order = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=0.1&price=60000.01&newClientOrderId="
        with connect(f"{mexc.spot_ws_url}?listenKey={key}") as spot, connect(mexc.perpetual_ws_url) as perpetual:
            channels = ["spot@private.deals.v3.api.pb", "spot@public.limit.depth.v3.api.pb@BTCUSDT@5", "spot@nope"]
            spot.send(json.dumps({"method": "SUBSCRIPTION", "params": channels, "id": 7}))
            acknowledged = json.loads(spot.recv(timeout=5))
            depth = PushDataV3ApiWrapper.FromString(spot.recv(timeout=5))
            placed = signed(mexc, "POST", "order", f"{order}bot-1").json()
            deal = next(
                m
                for m in iter(lambda: PushDataV3ApiWrapper.FromString(spot.recv(timeout=5)), None)
                if m.privateDeals.tradeId
            )

            now = str(mexc.now_ms())
            login = {"apiKey": mexc.api_key, "reqTime": now}
            login["signature"] = perpetual_login_signature(mexc.api_secret, mexc.api_key, now)
            perpetual.send(json.dumps({"method": "login", "param": login}))
            logged_in = json.loads(perpetual.recv(timeout=5))
            perpetual.send(json.dumps({"method": "sub.ticker", "param": {"symbol": "BTC_USDT"}}))
            subscribed, ticker = (json.loads(perpetual.recv(timeout=5)) for _ in range(2))

        mexc.inject(Fault(kind=FaultKind.CUT_AFTER, where="POST /api/v3/order"))
        with pytest.raises(requests.RequestException):
            signed(mexc, "POST", "order", f"{order}bot-2")
        mexc.inject(Fault(kind=FaultKind.SERVER_ERROR_BEFORE, where="POST /api/v3/order"))
        broken = signed(mexc, "POST", "order", f"{order}bot-3")
        mexc.inject(Fault(kind=FaultKind.LATE, where="POST /api/v3/order", delay_ms=1))
        with pytest.raises(requests.RequestException):
            signed(mexc, "POST", "order", f"{order}bot-4")
        until = time.monotonic() + 10
        while len(mexc.orders()) < 3 and time.monotonic() < until:
            mexc.now_ms()
        truth = requests.get(f"{mexc.rest_url}/sandbox/ledger", timeout=5).json()
        health = requests.get(f"{mexc.rest_url}/health", timeout=5)

    assert acknowledged["id"] == 7
    assert "Not Subscribed successfully! [spot@nope]." in acknowledged["msg"]
    assert depth.publicLimitDepths.bids[0].price == "60000"
    assert (deal.privateDeals.clientOrderId, deal.privateDeals.feeCurrency) == ("bot-1", "BTC")
    assert deal.privateDeals.orderId == placed["orderId"]
    assert (logged_in["channel"], subscribed["channel"]) == ("rs.login", "rs.sub.ticker")
    assert (ticker["channel"], ticker["data"]["bid1"]) == ("push.ticker", 60000)
    assert (broken.status_code, broken.text[:6]) == (502, "<html>")
    assert [o["client_order_id"] for o in truth["orders"]] == ["bot-1", "bot-2", "bot-4"]
    assert [f["kind"] for f in truth["faults"]] == ["cut_after", "server_error_before", "late"]
    assert health.json()["status"] == "ok"


def test_a_test_can_move_the_exchange_from_its_own_thread() -> None:
    """Quotes, trades, marks, time, faults and streams; what the clock cannot do is said."""
    with SandboxExchange(SandboxOptions(clock=SteppedClock())) as mexc:
        began = mexc.now_ms()
        mexc.quote("BTCUSDT", "59990", "1", "60000", "2")
        mexc.trade("BTCUSDT", "59990", "0.5", taker="SELL")
        mexc.mark("BTCUSDT", "60010", funding_rate="0.0002")
        mexc.advance(1000)
        number = mexc.inject(Fault(kind=FaultKind.SLOW, delay_ms=1, where="GET /api/v3/time"))
        slow = requests.get(f"{mexc.rest_url}/api/v3/time", timeout=5).json()
        mexc.inject(Fault(kind=FaultKind.TIMEOUT_BEFORE, delay_ms=1, where="GET /api/v3/time"))
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{mexc.rest_url}/api/v3/time", timeout=5)
        struck = mexc.injected()
        mexc.clear_faults()
        with connect(f"{mexc.spot_ws_url}?listenKey=none") as stream:
            refused = stream.recv(timeout=5)
        with connect(mexc.perpetual_ws_url) as stream:
            stream.send('{"method":"ping"}')
            stream.recv(timeout=5)
            joined = mexc.connections()
            mexc.expire_listen_keys()
            mexc.disconnect_streams()
        with pytest.raises(TypeError):
            mexc.skew(5)
        truth, orders, fills, port = mexc.ledger(), mexc.orders(), mexc.fills(), mexc.port
        marks = mexc.call(lambda house: dict(house.exchange.marks))

    with SandboxExchange() as real:
        real.skew(3_600_000)
        ahead = real.now_ms()
        with pytest.raises(TypeError):
            real.advance(1)
        with pytest.raises(OSError, match="address"), SandboxExchange(port=real.port):
            pass

    assert (slow["serverTime"], number) == (began + 1000, 1)
    assert [injection.kind.value for injection in struck] == ["slow", "timeout_before"]
    assert refused == "Invalid listen key"
    assert joined == 1
    assert (truth["orders"], orders, fills) == ([], [], [])
    assert port > 0
    assert marks["mexc_perpetual:BTCUSDT"] == 60010
    assert ahead > 1_700_000_000_000
