"""What tests may do to the exchange over HTTP, below `/sandbox/`: faults, market, clock, streams, and the ledger.

| request | does |
|---|---|
| GET /sandbox/ledger | the truth: orders, fills, balances, positions, faults that struck |
| GET, POST, DELETE /sandbox/faults | list what is armed and what struck; arm one (fields of `Fault`); disarm all |
| POST /sandbox/market/quote | venue, symbol, bid, bid_size, ask, ask_size (in the exchange's unit) |
| POST /sandbox/market/trade | venue, symbol, price, quantity, taker (BUY, SELL or absent) |
| POST /sandbox/market/mark | symbol, mark and, if given, funding_rate |
| POST /sandbox/clock | advance_ms of a stepped clock, or skew_ms of the real one |
| POST /sandbox/position-mode | account, mode (1: hedge, in which every order is refused; 2: one-way) |
| POST /sandbox/streams/disconnect | end all WebSocket connections; cut: without a closing handshake |
| POST /sandbox/listen-keys/expire | end all listen keys |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from services.cdb_sandbox.clock import RealClock, SteppedClock
from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.core.orders import Side
from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.house import DEFAULT_CUSTOMER, House
from services.cdb_sandbox.ledger import injections, ledger
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.cdb_sandbox.perpetual_rows import HEDGE, ONE_WAY
from services.cdb_sandbox.wire import to_json
from services.common.instruments import instrument_key

__all__ = ["handle", "parse_fault"]

Body = Mapping[str, Any]


def parse_fault(body: Body) -> Fault:
    """Return the fault that a JSON object describes.

    Raises:
        ValueError: an unknown field or kind, or a value of the wrong form.
    """
    known = {field.name for field in fields(Fault)}
    unknown = sorted(set(body) - known)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such field; there are {', '.join(sorted(known))}")
    values = dict(body) | {"kind": FaultKind(str(body.get("kind")))}
    if "share" in body:
        values["share"] = Decimal(str(body["share"]))
    if "probability" in body:
        values["probability"] = float(body["probability"])
    return Fault(**values)


def _faults(house: House) -> Any:
    armed = [
        asdict(fault) | {"kind": fault.kind.value, "id": number, "left": left, "probability": str(fault.probability)}
        for number, fault, left in house.faults.armed()
    ]
    return {"armed": armed, "injected": injections(house)}


def _key(house: House, body: Body, venue: str | None = None) -> str:
    key = instrument_key(venue or str(body.get("venue", "mexc_spot")), str(body.get("symbol")))
    if key not in house.exchange.listings:
        raise ValueError(f"{key} is not listed; there are {', '.join(house.exchange.listings)}")
    return key


def _number(body: Body, name: str) -> Decimal:
    try:
        return Decimal(str(body[name]))
    except (KeyError, InvalidOperation):
        raise ValueError(f"{name}: a number is needed") from None


def _quote(house: House, body: Body) -> None:
    bid, bid_size, ask, ask_size = (_number(body, name) for name in ("bid", "bid_size", "ask", "ask_size"))
    house.apply(MarketEvent(key=_key(house, body), quote=Quote(bid, bid_size, ask, ask_size, flat=True)))


def _trade(house: House, body: Body) -> None:
    takers: dict[Any, Side | None] = {"BUY": "BUY", "SELL": "SELL", None: None}
    taker = takers[body.get("taker")]
    trade = MarketTrade(_number(body, "price"), _number(body, "quantity"), taker)
    house.apply(MarketEvent(key=_key(house, body), trade=trade))


def _mark(house: House, body: Body) -> None:
    rate = _number(body, "funding_rate") if "funding_rate" in body else None
    mark = _number(body, "mark") if "mark" in body else None
    house.apply(MarketEvent(key=_key(house, body, "mexc_perpetual"), mark=mark, funding_rate=rate))


def _clock(house: House, body: Body) -> None:
    if "advance_ms" in body and isinstance(house.clock, SteppedClock):
        house.clock.advance(int(body["advance_ms"]))
        house.tick()
    elif "skew_ms" in body and isinstance(house.clock, RealClock):
        house.clock.skew_ms = int(body["skew_ms"])
    else:
        raise ValueError("advance_ms moves a stepped clock, skew_ms sets the real one ahead")


def _position_mode(house: House, body: Body) -> None:
    account, mode = str(body.get("account", DEFAULT_CUSTOMER.name)), body.get("mode")
    if account not in house.exchange.margins or mode not in {HEDGE, ONE_WAY}:
        raise ValueError(f"account: one of {', '.join(house.exchange.margins)}; mode: {HEDGE} or {ONE_WAY}")
    house.exchange.margins[account].hedged = mode == HEDGE


def _disconnect(house: House, body: Body) -> None:
    house.hub.close_all(cut=bool(body.get("cut", False)))


_ACTIONS: Final[dict[tuple[str, str], Callable[[House, Body], Any]]] = {
    ("GET", "ledger"): lambda house, _: ledger(house),
    ("GET", "faults"): lambda house, _: _faults(house),
    ("POST", "faults"): lambda house, body: {"id": house.faults.add(parse_fault(body))},
    ("DELETE", "faults"): lambda house, _: house.faults.clear(),
    ("POST", "market/quote"): _quote,
    ("POST", "market/trade"): _trade,
    ("POST", "market/mark"): _mark,
    ("POST", "clock"): _clock,
    ("POST", "position-mode"): _position_mode,
    ("POST", "streams/disconnect"): _disconnect,
    ("POST", "listen-keys/expire"): lambda house, _: house.listen_keys.expire_all(),
}


def handle(house: House, method: str, what: str, body: str) -> tuple[int, str]:
    """Do what is asked below `/sandbox/` and return HTTP status and JSON."""
    action = _ACTIONS.get((method, what))
    if action is None:
        known = ", ".join(f"{method} /sandbox/{name}" for method, name in _ACTIONS)
        return 404, to_json({"error": f"there are {known}"})
    try:
        given = json.loads(body) if body else {}
        return 200, to_json(action(house, given) or {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return 400, to_json({"error": str(error)})
