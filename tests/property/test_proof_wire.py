"""Whatever comes over the wire into risk and execution: never a crash, never an absurd order, on every channel.

A valid event of each type is disfigured (missing, wrongly typed, negative, huge, tiny, nested, NaN and Infinity as
words) and goes through the bytes of the wire. What the contract refuses reaches no machine; all the rest is folded by
both. Facts of our own services that contradict the books are the one exception: those must stop it by a named error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common import channels
from services.common.errors import ClaireError, ContractViolation, NumberOutOfContract
from services.common.events import EVENT_BY_CHANNEL, Event, Order, OrderResult, parse_event
from services.common.instruments import PERPETUAL
from tests.property.effort import examples
from tests.property.trading_floor import TradingFloor

pytestmark = [pytest.mark.unit, pytest.mark.risk]

HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, -0.0, 0.05, 5.0, -50_000.5, 10**12, 10**27, -(10**27), 10**40, 1e-18, 1e308, 1e-320,
    "", "NaN", "Infinity", "-Infinity", "sNaN", "1e400", "entry", "flatten", "FROZEN", "ACTIVE", "BUY", "x" * 300,
    "\x00", "\ud800", "2021-05-19T12:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z",
    [], [[]], [1, None, "NaN"], {}, {"a": {"b": {"c": [1e300]}}}, {"quantity": "NaN"}, [["x"] * 6], [[0] * 6],
]  # fmt: skip
RAW = ["NaN", "Infinity", "-Infinity", "1e999", "00", "[" * 50 + "]" * 50]
"""Put in unquoted, as no encoder of ours would."""

PRODUCERS = [channels.WS, channels.CORE, channels.RISK, channels.EXECUTION, channels.OPERATOR, "cdb_nobody"]
DETAILS = ["freeze", "pressure", "order_id", "outcome", "quantity", "price", "fee", "state", "causes", "amount",
           "venue", "symbol", "bars", "settings", "settings_hash"]  # fmt: skip
ACTIONS = ["tick", "warmup", "finished", "started", "config", "start_of_day", "trading_state", "heartbeat", "funding",
           "liquidation", "halt", "resume", "flatten", "reset_breaker", "resolve_order"]  # fmt: skip


def busy_floor(venue: str) -> TradingFloor:
    """Return a closed loop that holds BTC and has an order of ETH working; the same in every example."""
    floor, dumps = _prepared(venue)
    floor.restore(dumps)
    return floor


@cache
def _prepared(venue: str) -> tuple[TradingFloor, list[bytes]]:
    floor = TradingFloor(venue, hostile=False, ENTRY_SPACING_SEC=0)
    floor.quote_all()
    floor.signal("BTCUSDT", "buy", "entry")
    floor.quote("BTCUSDT", 1_000, 1_000, "good")
    floor.quote_all()
    floor.signal("ETHUSDT", "buy", "entry")
    assert floor.auditor.books[f"{venue}:BTCUSDT"].held > 0
    assert floor.auditor.working
    return floor, [machine.dump() for machine in floor.machines]


def templates(floor: TradingFloor) -> dict[str, dict[str, Any]]:
    """Return the last event of each channel in the journal as plain values; an alert is made up."""
    found: dict[str, dict[str, Any]] = {}
    for entry in floor.journal:
        found[entry.channel] = json.loads(entry.data)
    found.setdefault(channels.ALERTS, {"type": "alert", "event_id": "a", "timestamp": 0, "producer": "cdb_core",
                                       "level": "INFO", "code": "X_Y", "message": ""})  # fmt: skip
    return found


@st.composite
def disfigurements(draw: st.DrawFn) -> list[tuple[str, str, list[tuple[int, Any]], str | None, str]]:
    """Draw a few events: channel, producer, which fields become what, perhaps raw text, and a control's action."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(EVENT_BY_CHANNEL)),
                st.sampled_from(PRODUCERS),
                st.lists(st.tuples(st.integers(0, 60), st.sampled_from(HOSTILE)), max_size=3),
                st.none() | st.sampled_from(RAW),
                st.sampled_from(ACTIONS),
            ),
            min_size=1,
            max_size=6,
        )
    )


def bytes_of(base: dict[str, Any], changes: list[tuple[int, Any]], raw: str | None) -> bytes:
    """Return the bytes of a disfigured event; a place beyond its fields drops one."""
    event = {**base, "details": dict(base.get("details", {}))} if base["type"] == "control" else dict(base)
    for place, value in changes:
        names = [*event, *(f"details.{name}" for name in DETAILS if base["type"] == "control")]
        name = names[place % len(names)]
        if place >= len(names):
            event.pop(name, None)
        elif name.startswith("details."):
            if isinstance(event.get("details"), dict):
                event["details"][name.removeprefix("details.")] = value
        else:
            event[name] = value
    text = json.dumps(event)
    if raw is not None:
        text = text.replace(": 0.0", f": {raw}", 1) if ": 0.0" in text else text.replace(": null", f": {raw}", 1)
    return text.encode()


def fold(floor: TradingFloor, channel: str, data: bytes, producer: str, number: int) -> Iterator[Event]:
    """Give risk and execution what the wire carried and yield what they make of it, to the end."""
    try:
        event = parse_event(channel, data).model_copy(update={"event_id": f"fuzz-{number}", "producer": producer})
        assert event.data
    except (ContractViolation, NumberOutOfContract):
        return  # to the dead letters: it cannot be read, or could not be written again
    pending = [event]
    while pending:
        event = pending.pop(0)
        floor.number += 1
        entry = floor.entry_of(event)
        for machine in floor.machines:
            said = machine.plainly(entry) if hasattr(machine, "plainly") else machine.handle(entry)
            yield from said
            pending += said


def sane(floor: TradingFloor, order: Order) -> None:
    """An order is within the limits of the portfolio that risk itself holds, and closes no more than is held."""
    account = floor.risk.state.account
    held = account.portfolio.position(order.venue, order.symbol).quantity
    assert order.quantity > 0
    if order.purpose == "entry":
        assert order.price is not None
        assert account.equity is not None
        assert order.quantity * order.price <= Decimal("0.10") * account.equity
        assert floor.risk.state.trading.mode == "ACTIVE"
    else:
        assert order.quantity <= abs(held)


@pytest.mark.parametrize("venue", ["mexc_spot", PERPETUAL])
@given(drawn=disfigurements())
@settings(max_examples=examples(20), deadline=None)
def test_nothing_on_the_wire_crashes_or_is_approved_in_absurdity(venue: str, drawn: list[Any]) -> None:
    """Disfigured events of all channels and producers, one after the other, on a floor that is trading."""
    floor = busy_floor(venue)
    bases = templates(floor)
    for number, (channel, producer, changes, raw, action) in enumerate(drawn):
        base = dict(bases[channel]) | ({"action": action} if channel == channels.CONTROL else {})
        try:
            for event in fold(floor, channel, bytes_of(base, changes, raw), producer, number):
                assert event.data, "what is said has canonical bytes"
                if isinstance(event, Order):
                    sane(floor, event)
        except ClaireError:
            # A fault by name, and only from a producer whose word is a fact here; it would stop the service loudly.
            assert producer in {channels.WS, channels.EXECUTION, channels.RISK}
            assert channel in {channels.CONTROL, channels.ORDER_RESULTS}
            return
        for machine in floor.machines:
            machine.dump()


results = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "UNKNOWN"]),
        "filled_quantity": st.sampled_from(["0", "0.000001", "0.05", "0.149", "1000000000000", "0.000000000000000001"]),
        "last_quantity": st.sampled_from([None, "0.000001", "0.05", "0.149", "1000000000000"]),
        "last_price": st.sampled_from([None, "0.000000000000000001", "49000", "999999999999999999"]),
        "fee": st.sampled_from([None, "-1000000", "0.01", "999999999999"]),
        "fee_currency": st.sampled_from([None, "USDT", "BTC", "MX"]),
        "side": st.sampled_from(["BUY", "SELL"]),
    }
)


@given(told=results, known=st.booleans())
@settings(max_examples=examples(30), deadline=None)
def test_a_contradictory_result_freezes_or_stops_by_name(told: dict[str, Any], known: bool) -> None:
    """A result that contradicts its order is booked and freezes trading, or is a fault by name."""
    floor = busy_floor("mexc_spot")
    order = next(iter(floor.auditor.working.values())).order
    numbers = {"filled_quantity", "last_quantity", "last_price", "fee"}
    fields: dict[str, Any] = {
        name: Decimal(value) if name in numbers and value is not None else value for name, value in told.items()
    }
    fields |= {"order_id": order.order_id if known else "ord-nobody", "client_order_id": order.client_order_id}
    fields |= {"venue": order.venue, "symbol": order.symbol, "quantity": order.quantity}
    try:
        result = OrderResult(event_id="hostile", timestamp=floor.now, producer=channels.EXECUTION, **fields)
        floor.risk.plainly(floor.entry_of(result))
    except (ValueError, ClaireError):
        return
    state = floor.risk.state
    booked = state.account.portfolio.booked.get(result.order_id)
    assert booked in {None, result.filled_quantity}
    if booked and (not known or result.side != order.side or result.filled_quantity > order.quantity):
        assert state.trading.mode == "FROZEN"
