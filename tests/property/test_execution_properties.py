"""What holds for every order on the paper exchange, whatever the market and the operator do."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.codes import ExpiryCode
from services.cdb_execution.market import Sigma
from services.cdb_execution.order_state import TERMINAL, TRANSITIONS
from services.cdb_execution.paper_fills import Obstacle, PaperFill, Request, TopOfBook, attempt_fill
from services.common.events import MarketData, Order, OrderResult
from services.common.portfolio import Portfolio
from services.common.timestamps import MINUTE_US, MS_US
from tests.property.effort import examples
from tests.unit.execution.execution_desk import START_US, Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

QUIET = settings(derandomize=True, deadline=None, max_examples=examples(20))

TICK, LOT = Decimal("0.01"), Decimal("0.000001")

cents = st.integers(min_value=-4_000, max_value=4_000)
sizes = st.one_of(
    st.none(),
    st.integers(min_value=0, max_value=100).map(lambda lots: lots * LOT),
    st.integers(min_value=20_000, max_value=3_000_000).map(lambda lots: lots * LOT),
    st.integers(min_value=20_000, max_value=3_000_000).map(lambda lots: lots * LOT),
)
volumes = st.one_of(
    st.just(Decimal(0)),
    st.integers(min_value=1, max_value=1_000_000).map(lambda lots: lots * LOT),
    st.integers(min_value=1_000_000, max_value=50_000_000).map(lambda lots: lots * LOT),
)
quantities = st.integers(min_value=20, max_value=900_000).map(lambda lots: lots * LOT)

quotes = st.tuples(
    st.just("quote"),
    st.integers(min_value=0, max_value=4_000),
    cents,
    st.one_of(st.integers(min_value=-5, max_value=400), st.integers(min_value=400, max_value=20_000)),
    sizes,
    sizes,
    volumes,
    st.booleans(),
)
entries = st.tuples(st.just("entry"), quantities, st.integers(min_value=0, max_value=40_000))
exits = st.tuples(
    st.just("exit"),
    quantities,
    st.sampled_from(["exit", "stop_loss", "flatten"]),
    st.one_of(st.none(), st.integers(min_value=0, max_value=60_000)),
)
others = st.sampled_from(
    [
        ("tick", 1_000),
        ("tick", 11_000),
        ("tick", 11_000),
        ("halt", False),
        ("halt", True),
        ("resume",),
        ("resume",),
        ("resume",),
        ("repeat",),
        ("late",),
    ]
)
actions = st.lists(st.one_of(quotes, quotes, entries, exits, exits, others), min_size=12, max_size=60)


def play(steps: list[tuple[Any, ...]], **kwargs: Any) -> Desk:
    """Let a desk that holds 2 BTC live through the steps; time only goes on with quotes and ticks."""
    desk = Desk(**kwargs)
    at_ms, orders = desk.hold("2") + 60_000, []
    for step in steps:
        if step[0] == "quote":
            _, passed, moved, spread, bid_size, ask_size, volume, synthetic = step
            at_ms += passed
            bid = Decimal(40_000) + moved * TICK
            quote = {"bid_size": bid_size, "size": ask_size, "volume": volume, "synthetic": synthetic}
            desk.quote(at_ms, str(bid), str(bid + spread * TICK), **{k: v for k, v in quote.items() if v is not None})
        elif step[0] == "entry":
            decision = desk.decision(at_ms, quantity=step[1])
            orders.append(desk.order_of(decision, price=Decimal(40_000) + step[2] * TICK))
            desk.append(decision)
            desk.append(orders[-1])
        elif step[0] == "exit":
            decision = desk.decision(at_ms, quantity=step[1], purpose=step[2], side="SELL")
            price = None if step[3] is None else Decimal(40_000) - step[3] * TICK
            orders.append(desk.order_of(decision, price=price, order_type="LIMIT" if price else "MARKET"))
            desk.append(decision)
            desk.append(orders[-1])
        elif step[0] == "tick":
            at_ms += step[1]
            desk.tick(at_ms)
        elif step[0] == "halt":
            desk.halt(freeze=step[1])
        elif step[0] == "resume":
            desk.resume()
        elif step[0] == "repeat" and orders:
            twin = orders[len(orders) // 2].model_dump() | {"event_id": f"twin-{len(desk.entries)}"}
            desk.append(Order.model_validate(twin))
        elif step[0] == "late":
            desk.quote(max(0, at_ms - 200), size="1000", volume="5")
    return desk


def fills_of(desk: Desk) -> list[OrderResult]:
    """Return the results that report a fill."""
    return [result for result in desk.results if result.last_quantity is not None]


@given(actions)
@QUIET
def test_an_order_goes_by_the_table_and_ends_once(steps: list[tuple[Any, ...]]) -> None:
    """Statuses follow the transitions; what has ended is never heard of again; the sum of fills is what is filled."""
    desk = play(steps)
    desk.tick(10_000_000)
    seen: dict[str, Any] = defaultdict(lambda: None)
    filled: dict[str, Decimal] = defaultdict(Decimal)

    for result in desk.results:
        assert result.status in TRANSITIONS[seen[result.order_id]]
        seen[result.order_id] = result.status
        filled[result.order_id] += result.last_quantity or 0
        assert result.filled_quantity == filled[result.order_id] <= result.quantity
        assert (result.status == "FILLED") == (result.filled_quantity == result.quantity)

    sent = {entry.event.order_id for entry in desk.entries if isinstance(entry.event, Order)}
    assert set(seen) == sent
    assert set(seen.values()) <= TERMINAL
    assert desk.machine.state.working == []


@given(actions)
@QUIET
def test_a_fill_is_bounded_by_order_market_and_protection(steps: list[tuple[Any, ...]]) -> None:
    """At each fill, worked out anew from the journal: Q <= 4A, Q <= cap, worst price within the protection, on grids.

    The price is never better than the touch, and the quote comes from after the order and its latency.
    """
    desk = play(steps)
    by_event = {entry.event.event_id: entry.event for entry in desk.entries}
    firsts = {event.order_id: event for event in reversed(by_event.values()) if isinstance(event, Order)}
    results = defaultdict(list)
    for result in fills_of(desk):
        results[result.causation_id].append(result)

    volumes_seen: list[tuple[int, Decimal]] = []
    own: list[tuple[int, Decimal]] = []
    shown = {"BUY": (Decimal(0), Decimal(0)), "SELL": (Decimal(0), Decimal(0))}
    taken = {"BUY": Decimal(0), "SELL": Decimal(0)}
    now = START_US
    for entry in desk.entries:
        event = entry.event
        if event.producer == "cdb_ws":
            now = max(now, event.timestamp)
        if not isinstance(event, MarketData):
            continue
        volumes_seen.append((event.timestamp, event.volume))
        for side, price, size in (("BUY", event.ask, event.ask_size), ("SELL", event.bid, event.bid_size)):
            assert price is not None
            if price != shown[side][0] or (size or 0) > shown[side][1]:
                taken[side] = Decimal(0)
            shown[side] = (price, size or Decimal(0))
        for result in results[event.event_id]:
            order = firsts[result.order_id]
            side = result.side
            touch, size = shown[side]
            available = max(Decimal(0), size - taken[side])
            volume = sum((v for at, v in volumes_seen if at > now - MINUTE_US), Decimal(0))
            ours = sum((v for at, v in own if at > now - MINUTE_US), Decimal(0))
            quantity, price = result.last_quantity, result.last_price
            assert quantity is not None
            assert price is not None
            assert 0 < quantity <= 4 * available
            assert quantity <= (volume / 10 - ours if volume else available)
            assert quantity % LOT == 0
            assert price % TICK == 0
            assert result.fill is not None
            worst = result.fill["worst_price"]
            used = result.fill["touch"]
            if not event.synthetic:
                assert used == touch
            else:
                assert result.slippage_bps is not None
                assert result.slippage_bps > 0
            if side == "BUY":
                assert touch <= used <= price <= worst
                assert order.price is not None
                assert worst <= order.price
            else:
                assert touch >= used >= price >= worst
                assert worst >= (order.price or used * Decimal("0.98"))
            assert event.timestamp >= order.timestamp + 250 * MS_US
            assert event.event_id not in {e.event.event_id for e in desk.entries[: _place(desk, order)]}
            own.append((now, quantity))
            taken[side] += min(quantity, available)


def _place(desk: Desk, order: Order) -> int:
    return next(n for n, entry in enumerate(desk.entries) if entry.event.event_id == order.event_id)


@given(actions)
@QUIET
def test_nothing_is_sold_that_is_not_held(steps: list[tuple[Any, ...]]) -> None:
    """The ledger books every result without a fault, and agrees with execution's own position."""
    desk = play(steps)
    ledger = Portfolio.with_cash(Decimal(10_000_000))

    for result in desk.results:
        ledger.book(result)
        assert ledger.position("mexc_spot", "BTCUSDT").quantity >= 0

    held = desk.machine.state.positions.get("mexc_spot:BTCUSDT", Decimal(0))
    assert ledger.position("mexc_spot", "BTCUSDT").quantity == held


@given(actions)
@QUIET
def test_no_entry_is_accepted_or_filled_while_halted(steps: list[tuple[Any, ...]]) -> None:
    """Between the operator's halt and resume no entry becomes NEW and none fills; frozen, only flatten does."""
    desk = play(steps)
    purposes = {e.event.order_id: e.event.purpose for e in desk.entries if isinstance(e.event, Order)}
    outputs = iter(desk.outputs)
    state = "ACTIVE"
    by_cause: dict[str | None, list[OrderResult]] = defaultdict(list)
    for output in outputs:
        if isinstance(output, OrderResult):
            by_cause[output.causation_id].append(output)

    for entry in desk.entries:
        event = entry.event
        if event.type == "control" and event.producer == "operator":
            frozen = state == "FROZEN" or (event.action == "halt" and event.details.get("freeze") is True)
            state = "ACTIVE" if event.action == "resume" else "FROZEN" if frozen else "HALTED"
        for result in by_cause[event.event_id]:
            if result.status in {"NEW", "PARTIALLY_FILLED", "FILLED"}:
                purpose = purposes[result.order_id]
                assert state == "ACTIVE" or purpose == "flatten" or (state == "HALTED" and purpose == "stop_loss")


@given(actions)
@settings(QUIET, max_examples=examples(10))
def test_a_restart_at_any_point_changes_nothing(steps: list[tuple[Any, ...]]) -> None:
    """Dumped and restored before every entry, a machine gives the same bytes and ends in the same state."""
    undisturbed, restarted = play(steps), play(steps, restarting=True)

    assert [event.data for event in restarted.outputs] == [event.data for event in undisturbed.outputs]
    assert restarted.machine.dump() == undisturbed.machine.dump()


requests = st.builds(
    Request,
    side=st.sampled_from(["BUY", "SELL"]),
    quantity=quantities,
    protection=st.integers(min_value=3_980_000, max_value=4_020_000).map(lambda n: n * TICK),
    participation=st.sampled_from([Decimal("0.05"), Decimal("0.1"), Decimal(1)]),
    max_levels=st.integers(min_value=1, max_value=6),
    tick_size=st.just(TICK),
    lot_size=st.just(LOT),
)
books = st.builds(
    lambda bid, spread, **rest: TopOfBook(bid=bid * TICK, ask=(bid + spread) * TICK, **rest),
    bid=st.integers(min_value=3_990_000, max_value=4_010_000),
    spread=st.one_of(st.integers(min_value=1, max_value=400), st.integers(min_value=1, max_value=20_000)),
    displayed=st.integers(min_value=1_000, max_value=3_000_000).map(lambda n: n * LOT),
    taken=st.integers(min_value=0, max_value=100_000).map(lambda n: n * LOT),
    volume_60s=volumes,
    own_60s=st.integers(min_value=0, max_value=50_000).map(lambda n: n * LOT),
    sigma_1m=st.integers(min_value=0, max_value=5_000).map(lambda n: Sigma(n * LOT, known=True)),
)


@given(requests, books)
@settings(QUIET, max_examples=examples(120))
def test_a_fill_is_the_largest_that_the_rules_let(request: Request, book: TopOfBook) -> None:
    """One lot more would break a rule: the order, the cap, the levels or the protective price."""
    made = attempt_fill(request, book)
    available = max(Decimal(0), book.displayed - book.taken)
    cap = max(Decimal(0), request.participation * book.volume_60s - book.own_60s) if book.volume_60s else available
    most = min(request.quantity, cap, request.max_levels * available)

    if isinstance(made, PaperFill):
        assert made.quantity <= most
        assert (made.numbers["worst_price"] - request.protection) * request.direction <= 0
        unprotected = Request(**{**vars(request), "protection": Decimal(10**9) if request.side == "BUY" else TICK})
        larger = Request(**{**vars(unprotected), "quantity": made.quantity + LOT})
        again = attempt_fill(larger, book)
        assert isinstance(again, PaperFill)
        if made.quantity + LOT <= most:
            assert made.limited_by == "protection"
            assert again.quantity == made.quantity + LOT
            assert (again.numbers["worst_price"] - request.protection) * request.direction > 0
        else:
            assert again.quantity in {made.quantity, made.quantity + LOT}
    elif made.code == ExpiryCode.PROTECTION_PRICE:
        assert most >= LOT
    else:
        assert isinstance(made, Obstacle)
        assert most < LOT


@given(requests, books, st.integers(min_value=1, max_value=20_000))
@settings(QUIET, max_examples=examples(120))
def test_a_wilder_market_never_fills_better(request: Request, book: TopOfBook, wilder: int) -> None:
    """More volatility means an equal or a worse price for an equal quantity, and never more quantity."""
    calm = attempt_fill(request, book)
    sigma = Sigma(book.sigma_1m.value + wilder * LOT, known=True)
    rough = attempt_fill(request, TopOfBook(**{**vars(book), "sigma_1m": sigma}))

    if isinstance(rough, PaperFill):
        assert isinstance(calm, PaperFill)
        assert rough.quantity <= calm.quantity
        if rough.quantity == calm.quantity:
            assert (rough.price - calm.price) * request.direction >= 0
