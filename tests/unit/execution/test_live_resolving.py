"""An operator's word on an order, crossing what the exchange says of it: no fill is lost, none counts twice."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.exchange import Trade
from services.cdb_execution.live.facts import state_next
from services.cdb_execution.live.intake import Answered
from services.common import channels
from services.common.events import Control
from services.common.portfolio import Portfolio
from tests.property.effort import examples
from tests.unit.execution.live_world import World
from tests.unit.execution.test_live_corners import echo
from tests.unit.execution.test_live_machine import fold_all, opened, report, statuses, stuck, trade

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC = "mexc_spot:BTCUSDT"
PRICE = Decimal(40_000)


def commanded(world: World, order: Any, outcome: str, quantity: str | None = None) -> tuple[dict[str, Any], Any]:
    """Journal the operator's command, and return its details and the event."""
    details: dict[str, Any] = {"order_id": order.order_id, "outcome": outcome}
    if outcome == "filled":
        details |= {"price": PRICE, "fee": Decimal(0), "quantity": None if quantity is None else Decimal(quantity)}
    world.control("resolve_order", producer=channels.OPERATOR, by="ada", reason="seen", details=details)
    return details, world.entries[-1].event


def answered(world: World, order: Any, command: tuple[dict[str, Any], Any], filled: Decimal) -> None:
    """Journal risk's answer to a command."""
    details = {name: value for name, value in command[0].items() if name != "quantity"}
    if command[0]["outcome"] == "filled":
        filled = command[0]["quantity"] or order.quantity
    details |= {"quantity": order.quantity, "filled_quantity": filled, **echo(order)}
    told: dict[str, Any] = {"producer": channels.RISK, "by": "ada", "reason": "seen", "details": details}
    world.control("resolve_order", causation_id=command[1].event_id, **told)


def resolved(world: World, order: Any, outcome: str, quantity: str | None = None) -> None:
    """Have an order ended by an operator's word, with both keys."""
    answered(world, order, commanded(world, order, outcome, quantity), order.filled_quantity)
    fold_all(world)


def fills_there(world: World, order: Any, quantity: str, number: str, **more: Any) -> Trade:
    """Let the exchange fill a part of an order, and return the fill."""
    made = trade(
        order, quantity, number, **{"fee": Decimal(0), "fee_currency": "USDT", "time": world.exchange.now} | more
    )
    sign = 1 if made.side == "BUY" else -1
    world.exchange.booked.append(made)
    world.exchange.totals["BTC"] += sign * made.quantity
    world.exchange.totals["USDT"] -= sign * made.quantity * made.price
    return made


def hear(world: World, *messages: Any) -> None:
    """Let messages come and everything that follows from them be folded."""
    for message in messages:
        world.desk.inbox.append(message)
    for _ in range(8):
        world.state()
        fold_all(world)


@pytest.mark.parametrize(("outcome", "status"), [("canceled", "CANCELED"), ("never_arrived", "EXPIRED")])
def test_a_fill_after_an_operator_said_there_was_none_is_booked_and_freezes(outcome: str, status: str) -> None:
    """The exchange is believed: the fill counts, once; a CRITICAL alert says so, and trading is frozen."""
    world = opened()
    order = stuck(world)
    resolved(world, order, outcome)
    late = fills_there(world, order, "0.1", "T1")

    hear(world, late, late)
    world.settle(70)

    assert statuses(world)[1:] == [status, status]
    assert (world.results[-1].trade_id, world.results[-1].last_quantity) == ("T1", Decimal("0.1"))
    assert world.machine.state.held(BTC) == Decimal("0.1")
    assert world.alerts().count("LATE_FILL") == 1
    assert world.machine.state.trading_state == "FROZEN"
    frozen = [e.event for e in world.entries if isinstance(e.event, Control) and e.event.action == "halt"]
    assert frozen[-1].details["freeze"] is True
    assert world.verdicts()[-1] == "agreed"


def test_what_an_operator_told_is_not_booked_again_and_what_is_more_is() -> None:
    """He told 0.1: 0.05 and 0.05 are that; another 0.04 is booked late; when all agrees, all are known."""
    world = opened()
    order = stuck(world)
    resolved(world, order, "filled", "0.1")
    told = [fills_there(world, order, "0.05", number) for number in ("T1", "T2")]
    hear(world, *told)
    assert world.machine.state.held(BTC) == Decimal("0.1")

    world.settle(70)
    assert world.verdicts()[-1] == "agreed"
    assert world.machine.state.trading_state == "ACTIVE"
    assert sorted(order.live.trades) == ["T1", "T2"]

    hear(world, fills_there(world, order, "0.04", "T3"))
    assert world.machine.state.held(BTC) == Decimal("0.14")
    assert world.alerts().count("LATE_FILL") == 1
    world.settle(70)
    assert world.verdicts()[-1] == "agreed"


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_beyond_an_operator_s_word_is_booked_in_part(*, asked: bool) -> None:
    """He told 0.1 and the exchange tells 0.06 and 0.06: 0.02 of the last are new, however often it is said."""
    world = opened()
    order = stuck(world)
    resolved(world, order, "filled", "0.1")
    trades = tuple(fills_there(world, order, "0.06", number) for number in ("T1", "T2"))

    if asked:
        hear(world, *[Answered(order.order_id, report(order, "FILLED", "0.12"), trades)] * 2)
    else:
        world.settle(70)

    assert (world.results[-1].trade_id, world.results[-1].last_quantity) == ("T2", Decimal("0.02"))
    world.settle(70)
    assert world.machine.state.held(BTC) == Decimal("0.12")
    assert world.verdicts()[-1] == "agreed"


def test_more_than_an_operator_s_whole_order_is_a_difference() -> None:
    """He told the whole order and the exchange tells more still: a fill with a name that somebody has to look at."""
    world = opened()
    order = stuck(world)
    resolved(world, order, "filled")
    for number in ("T1", "T2"):
        fills_there(world, order, "0.15", number)

    world.settle(70)

    assert "trade:T2" in world.machine.state.live.difference_names()
    assert world.machine.state.trading_state == "FROZEN"


def test_an_operator_who_told_too_much_is_found_out() -> None:
    """He told 0.2 and the exchange has only 0.1: nothing is lost or invented, the balance is a difference."""
    world = opened()
    order = stuck(world)
    resolved(world, order, "filled")
    fills_there(world, order, "0.1", "T1")

    world.settle(80)

    assert "balance:BTC" in world.machine.state.live.difference_names()
    assert world.machine.state.held(BTC) == Decimal("0.2")


def test_a_late_sale_of_what_is_gone_is_named_and_stops_nobody() -> None:
    """An exit ended by hand, a second one sold all, then the first fills: no book can hold that, a name can."""
    world = opened()
    bought = stuck(world)
    hear(world, fills_there(world, bought, "0.2", "B1"))
    exits = []
    for _ in range(2):
        world.order("SELL", "0.2", "stop_loss", price=None, order_type="MARKET")
        fold_all(world)
        world.jobs.clear()
        [order] = world.machine.state.working
        exits.append(order)
        if len(exits) == 1:
            resolved(world, order, "canceled")
    hear(world, fills_there(world, exits[1], "0.2", "S2", side="SELL", exchange_order_id="C3"))
    assert world.machine.state.held(BTC) == 0

    hear(world, fills_there(world, exits[0], "0.2", "S1", side="SELL", exchange_order_id="C2"))
    world.settle(70)

    assert world.machine.state.held(BTC) == 0
    assert "trade:S1" in world.machine.state.live.difference_names()
    assert world.machine.state.trading_state == "FROZEN"


def test_a_fill_that_crosses_another_fact_and_cannot_be_held_is_not_booked() -> None:
    """It was stated when there was room and folded when there is none: CRITICAL and frozen, no fault."""
    world = opened()
    bought = stuck(world)
    hear(world, fills_there(world, bought, "0.2", "B1"))
    world.order("SELL", "0.2", "stop_loss", price=None, order_type="MARKET")
    fold_all(world)
    world.jobs.clear()
    world.machine.state.positions[BTC] = Decimal("0.1")

    sold = {"status": "FILLED", "causation_id": None, "filled_quantity": Decimal("0.2"), "trade_id": "S1"}
    sold |= {"last_quantity": Decimal("0.2"), "last_price": PRICE, "event_id": "crossing"}
    world.append(world.results[-1].model_copy(update=sold), "exchange:99")
    fold_all(world)

    assert "FILL_NOT_BOOKED" in world.alerts()
    assert world.machine.state.trading_state == "FROZEN"
    assert world.machine.state.held(BTC) == Decimal("0.1")


def test_an_order_that_execution_never_saw_is_followed_once_an_operator_ended_it() -> None:
    """What risk had reserved and execution has no memory of: a fill of it is booked, not passed over."""
    world = opened()
    order = stuck(world)
    state = world.machine.state
    state.working.clear()
    state.known_orders.clear()
    resolved(world, order, "canceled")

    hear(world, fills_there(world, order, "0.1", "T1"))

    assert state.held(BTC) == Decimal("0.1")
    assert "LATE_FILL" in world.alerts()


@pytest.mark.parametrize("outcome", ["canceled", "never_arrived"])
def test_a_fill_without_our_id_of_an_order_never_heard_of_is_found_by_asking(outcome: str) -> None:
    """Perpetuals tell fills by the exchange's order id alone: an order that ended unheard of is asked for once more."""
    world = opened()
    order = stuck(world)
    resolved(world, order, outcome)
    fills_there(world, order, "0.1", "T1", client_order_id=None)
    world.exchange.orders[order.client_order_id] = report(order, "CANCELED", "0.1")

    world.settle(70)

    assert world.machine.state.held(BTC) == Decimal("0.1")
    assert world.alerts().count("LATE_FILL") == 1
    assert world.machine.state.live.differences == []


def test_fills_of_orders_long_gone_are_known_by_their_ids_and_asked_for_no_longer() -> None:
    """An order that is not followed any more: its booked fills are no strangers, a fill that was not booked is one."""
    world = opened()
    order = stuck(world)
    hear(world, fills_there(world, order, "0.2", "T1"))
    hear(world, fills_there(world, order, "0.2", "T2"))
    state = world.machine.state
    state.ended.clear()

    world.settle(70)
    assert state.live.difference_names() == ["trade:T2"]

    world.exchange.booked = world.exchange.booked[:1]
    world.exchange.totals["BTC"] -= Decimal("0.2")
    world.exchange.totals["USDT"] += Decimal("0.2") * PRICE
    world.settle(660)
    assert world.verdicts()[-1] == "agreed"
    assert state.live.trades_since > world.exchange.booked[0].time


@given(
    parts=st.lists(st.sampled_from(["0.02", "0.05", "0.08"]), max_size=4),
    outcome=st.sampled_from(["canceled", "never_arrived", "filled", "filled"]),
    told=st.sampled_from(["0.05", "0.1", None]),
    order_of=st.permutations(["command", "answer", "fold", "fold", "hear", "hear", "hear", "again", "look", "tick"]),
)
@settings(max_examples=examples(15), deadline=None)
def test_in_whatever_order_they_come(parts: list[str], outcome: str, told: str | None, order_of: list[str]) -> None:
    """Command, answer, fills, repetitions, comparisons in any order: each fill once, or a difference that freezes."""
    world = opened()
    order = stuck(world)
    waiting = [
        fills_there(world, order, part, f"T{n}")
        for n, part in enumerate(parts)
        if sum(map(Decimal, parts[: n + 1])) <= Decimal("0.2")
    ]
    real = sum((made.quantity for made in waiting), Decimal(0))
    heard: list[Trade] = []
    command: Any = None
    for step in order_of:
        if step == "command":
            command = commanded(world, order, outcome, told)
        elif step == "answer" and command is not None:
            answered(world, order, command, order.filled_quantity)
            command = None
        elif step == "fold":
            world.fold()
        elif step == "hear" and waiting:
            heard.append(waiting.pop())
            world.desk.inbox.append(heard[-1])
            world.state()
        elif step == "again" and heard:
            world.desk.inbox.append(heard[0])
        elif step == "tick":
            world.tick()
    if command is not None:
        answered(world, order, command, order.filled_quantity)
    world.exchange.orders[order.client_order_id] = report(
        order, "FILLED" if real == order.quantity else "CANCELED", str(real)
    )
    world.settle(160)

    state, books = world.machine.state, Portfolio.with_cash(Decimal(10**9))
    for result in world.results:
        books.book(result)
    assert books.position("mexc_spot", "BTCUSDT").quantity == state.held(BTC)
    ids = [result.trade_id for result in world.results if result.last_quantity]
    assert len(ids) == len(set(ids))
    if state.held(BTC) == real:
        assert world.verdicts()[-1] == "agreed"
    else:
        assert "balance:BTC" in state.live.difference_names()
        assert state.trading_state == "FROZEN"
    assert not state.working


def test_an_end_that_crosses_another_end_changes_nothing() -> None:
    """The exchange's CANCELED, stated before an operator's word was folded, finds the order ended: nothing follows."""
    world = opened()
    order = stuck(world)
    resolved(world, order, "canceled")
    before = len(world.entries)

    crossing = {"status": "CANCELED", "causation_id": None, "event_id": "crossing", "filled_quantity": Decimal(0)}
    world.append(world.results[-1].model_copy(update=crossing), "exchange:99")
    fold_all(world)

    assert len(world.entries) == before + 1
    assert world.machine.state.trading_state == "ACTIVE"


@pytest.mark.parametrize(("told", "agrees"), [("0.08", True), ("0.1", False)])
def test_a_fill_stated_while_the_answer_was_journalled_counts_once_in_every_ledger(told: str, *, agrees: bool) -> None:
    """Risk's answer stands before the fill in the journal, and what follows from it behind: no ledger counts twice."""
    world = opened()
    order = stuck(world)
    hear(world, fills_there(world, order, "0.05", "T1"))
    order.status = "UNKNOWN"
    command = commanded(world, order, "filled", told)
    fold_all(world)
    crossing = state_next(world.machine, fills_there(world, order, "0.03", "T2"), 99).event
    assert crossing is not None

    answered(world, order, command, order.filled_quantity)
    world.append(crossing, "exchange:99")
    fold_all(world)

    books = Portfolio.with_cash(Decimal(10**9))
    for result in world.results:
        books.book(result)
    assert books.position("mexc_spot", "BTCUSDT").quantity == world.machine.state.held(BTC) == Decimal(told)
    world.settle(80)
    assert (world.verdicts()[-1] == "agreed") == agrees
    assert ("balance:BTC" in world.machine.state.live.difference_names()) != agrees


def resumed(world: World) -> None:
    """Give the operator's resume."""
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="seen")
    fold_all(world)


def test_nobody_resumes_over_an_order_that_is_lost() -> None:
    """UNKNOWN for 60 s: resume is refused with the order's id and the way out; resolved, it is taken."""
    world = opened()
    order = stuck(world)
    for _ in range(70):
        world.tick()
        fold_all(world)

    resumed(world)

    refused = [entry.event for entry in world.entries if getattr(entry.event, "code", None) == "RESUME_REFUSED"]
    assert world.machine.state.trading_state == "FROZEN"
    assert order.order_id in refused[-1].message
    assert "claire resolve-order" in refused[-1].message

    resolved(world, order, "canceled")
    resumed(world)
    assert world.machine.state.trading_state == "ACTIVE"


def test_an_order_that_is_lost_again_freezes_again() -> None:
    """Heard of after the freeze and resumed, then UNKNOWN for another 60 s: trading freezes a second time."""
    world = opened()
    order = stuck(world)
    for _ in range(70):
        world.tick()
        fold_all(world)
    hear(world, report(order, "NEW"))
    resumed(world)
    assert world.machine.state.trading_state == "ACTIVE"

    for _ in range(100):
        world.tick()
        fold_all(world)

    assert order.status == "UNKNOWN"
    assert world.machine.state.trading_state == "FROZEN"
