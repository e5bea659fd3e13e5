"""A sandbox without sockets: signed requests go straight through the gate."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from services.cdb_sandbox.clock import SteppedClock
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.faults import Fault
from services.cdb_sandbox.house import DEFAULT_CUSTOMER, House, SandboxOptions
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.cdb_sandbox.rest.gate import answer
from services.cdb_sandbox.rest.request import Answer, RawRequest
from services.common.mexc.signing import perpetual_signature, sorted_query, spot_signature

KEY, SECRET = DEFAULT_CUSTOMER.api_key, DEFAULT_CUSTOMER.api_secret


class SandboxDesk:
    """A house on a stepped clock, and requests as a client would sign them."""

    def __init__(self, **options: Any) -> None:
        self.clock = SteppedClock()
        self.house = House(SandboxOptions(**({"clock": self.clock, "enforce_limits": False} | options)))
        self.house.tick()

    def raw(self, method: str, path: str, fault: Fault | None = None, **fields: Any) -> Answer:
        """Send a request past the sockets."""
        return answer(self.house, RawRequest(method=method, path=path, **fields), fault)

    def spot(self, method: str, name: str, *, fault: Fault | None = None, **params: Any) -> Any:
        """Send a signed spot request and return its JSON."""
        answered = self.spot_answer(method, name, fault=fault, **params)
        return json.loads(answered.body)

    def spot_answer(self, method: str, name: str, *, fault: Fault | None = None, **params: Any) -> Answer:
        """Send a signed spot request."""
        query = urlencode({"timestamp": self.clock.now_ms(), **params})
        query += f"&signature={spot_signature(SECRET, query)}"
        return self.raw(method, f"/api/v3/{name}", fault, query=query, headers={"x-mexc-apikey": KEY})

    def public(self, path: str, **params: Any) -> Any:
        """Send a public request and return its JSON."""
        return json.loads(self.raw("GET", path, query=urlencode(params)).body)

    def contract(self, method: str, name: str, body: Any = None, *, fault: Fault | None = None, **params: Any) -> Any:
        """Send a signed perpetual request and return its JSON."""
        now, text = str(self.clock.now_ms()), ""
        if method == "POST":
            text = json.dumps(body)
        signed = text or sorted_query({k: str(v) for k, v in params.items()})
        headers = {"apikey": KEY, "request-time": now, "signature": perpetual_signature(SECRET, KEY, now, signed)}
        path = f"/api/v1/private/{name}"
        query = urlencode(params) if method == "GET" else ""
        return json.loads(self.raw(method, path, fault, query=query, body=text, headers=headers).body)

    def limit(self, side: str, quantity: str, price: str, kind: str = "LIMIT", **more: Any) -> Any:
        """Place a spot order of BTCUSDT with a price."""
        fields = {"symbol": "BTCUSDT", "side": side, "type": kind, "quantity": quantity, "price": price}
        return self.spot("POST", "order", **fields, **more)

    def order(self, placed: dict[str, Any]) -> Any:
        """Return what the exchange says of a placed spot order."""
        return self.spot("GET", "order", symbol="BTCUSDT", orderId=placed["orderId"])

    def quote(self, bid: str, bid_size: str, ask: str, ask_size: str, key: str = "mexc_spot:BTCUSDT") -> None:
        """Show a touch with nothing behind it."""
        quote = Quote(Decimal(bid), Decimal(bid_size), Decimal(ask), Decimal(ask_size), flat=True)
        self.house.apply(MarketEvent(key=key, quote=quote))

    def trade(self, price: str, quantity: str, taker: Any = None, key: str = "mexc_spot:BTCUSDT") -> None:
        """Let others trade."""
        self.house.apply(MarketEvent(key=key, trade=MarketTrade(Decimal(price), Decimal(quantity), taker)))

    def free(self, asset: str) -> Decimal:
        """Return a free spot balance."""
        return self.house.exchange.wallets["claire"].free[asset]
