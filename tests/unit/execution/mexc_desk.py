"""MEXC as a script: answers by method and path, every request kept, no socket and no waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import PerpetualDialect, SpotDialect
from services.cdb_execution.adapters.keys import Keys
from services.cdb_execution.adapters.limits import PERPETUAL_LIMITS, SPOT_LIMITS, RateLimiter
from services.cdb_execution.adapters.perpetual import PERPETUAL_TIME, MexcPerpetual
from services.cdb_execution.adapters.server_clock import ServerClock
from services.cdb_execution.adapters.spot import SPOT_TIME, MexcSpot
from services.cdb_execution.adapters.transport import HttpAnswer, HttpRequest, TransportFailure
from services.cdb_execution.exchange import OrderRequest
from tests.unit.mexc.published import CONTRACT_DETAIL, EXCHANGE_INFO

ACCESS = "access-for-tests"
SECRET = "secret-for-tests"
KEYS = Keys(ACCESS, SECRET)
NOW_MS = 1_765_342_336_768

Reply = HttpAnswer | TransportFailure


def answer(body: Any, status: int = 200, **headers: str) -> HttpAnswer:
    """Return an answer with this body: text as it is, anything else as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    return HttpAnswer(status, text.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def data(value: Any) -> HttpAnswer:
    """Return a successful answer of the perpetual interface; text is taken as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return answer(f'{{"success":true,"code":0,"data":{text}}}')


def error(code: int, message: str = "no") -> HttpAnswer:
    """Return an error of the perpetual interface."""
    return answer({"success": False, "code": code, "message": message})


class Script:
    """A transport: replies by `METHOD path`; the last of several is repeated."""

    def __init__(self, **replies: Reply) -> None:
        self.replies: dict[str, list[Reply]] = {
            "GET /api/v3/time": [answer({"serverTime": NOW_MS})],
            "GET /api/v1/contract/ping": [data(NOW_MS)],
            "GET /api/v3/exchangeInfo": [answer(EXCHANGE_INFO)],
            "GET /api/v1/contract/detail": [data(CONTRACT_DETAIL)],
        }
        self.sent: list[HttpRequest] = []

    def on(self, what: str, *replies: Reply) -> Script:
        """Reply so to a method and path."""
        self.replies[what] = list(replies)
        return self

    def send(self, request: HttpRequest, timeout_sec: float) -> Reply:
        """Keep the request and give the next reply."""
        self.sent.append(request)
        replies = self.replies[f"{request.method} {request.path}"]
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def to(self, path: str) -> list[HttpRequest]:
        """Return the requests to a path."""
        return [request for request in self.sent if request.path == path]


class Time:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        """Let seconds pass."""
        self.waited.append(seconds)
        self.now += seconds


def _clock(ask: Callable[[], int]) -> ServerClock:
    return ServerClock(ask, wall=lambda: NOW_MS - 250)


def spot(script: Script, time: Time | None = None) -> MexcSpot:
    """Return a spot account behind a script."""
    time = time or Time()
    limiter = RateLimiter(SPOT_LIMITS, clock=lambda: time.now, wait=time.wait)
    caller = MexcCaller(
        SpotDialect(5_000), script, KEYS, "https://mexc.test", limiter, clock=_clock,
        read_time=(SPOT_TIME, lambda body: int(body["serverTime"])),
    )  # fmt: skip
    return MexcSpot(caller)


def perpetual(script: Script, time: Time | None = None, *, ask: bool = True) -> MexcPerpetual:
    """Return a perpetual account behind a script, its contract asked for unless told otherwise."""
    time = time or Time()
    limiter = RateLimiter(PERPETUAL_LIMITS, clock=lambda: time.now, wait=time.wait)
    caller = MexcCaller(
        PerpetualDialect(), script, KEYS, "https://mexc.test", limiter, clock=_clock, read_time=(PERPETUAL_TIME, int)
    )
    exchange = MexcPerpetual(caller)
    if ask:
        exchange.instruments(["BTCUSDT"])
    script.sent.clear()
    return exchange


def order(**changes: Any) -> OrderRequest:
    """Return a buy of 0.001 BTC at 50 000 on spot, with some fields changed."""
    fields: dict[str, Any] = {
        "client_order_id": "cdb-1", "venue": "mexc_spot", "symbol": "BTCUSDT", "side": "BUY", "order_type": "LIMIT",
        "time_in_force": "IOC", "quantity": Decimal("0.001"), "price": Decimal("50000.00"),
    }  # fmt: skip
    return OrderRequest(**{**fields, **changes})


def contract_order(**changes: Any) -> OrderRequest:
    """Return the same as a perpetual order with leverage 2."""
    return order(**{"venue": "mexc_perpetual", "price": Decimal("50000.0"), "leverage": 2, **changes})
