"""What an attacker would try: an order that leaves although it must not, a fact that stops the machine, a lost word."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.exchange import Balance, OrderRequest, PlaceOutcome, PositionReport, StreamState
from services.cdb_execution.live.facts import state_next
from services.cdb_execution.live.intake import Answered
from services.cdb_execution.live.ramp import Canary
from services.cdb_execution.live.said import Snapshot
from services.cdb_execution.machine import ExecutionMachine
from services.common import channels
from services.common.errors import ExchangeUnreachable, IllegalTransition
from services.common.events import Control
from tests.property.effort import examples
from tests.unit.execution.live_world import RULES, World, live_settings
from tests.unit.execution.perpetual_world import PerpetualWorld
from tests.unit.execution.test_live_machine import fold_all, opened, report, statuses, stuck, trade, whole
from tests.unit.execution.test_live_resolving import fills_there
from tests.unit.execution.test_live_shell import shell_of

pytestmark = [pytest.mark.unit, pytest.mark.risk]

FREEZE: dict[str, Any] = {"producer": channels.OPERATOR, "by": "ada", "reason": "x", "details": {"freeze": True}}


def look(world: World) -> None:
    """Let the desk see the state."""
    world.desk.look(world.machine.state, world.machine.now)


# no order leaves that must not


def test_an_order_that_waits_for_its_turn_does_not_leave_once_trading_is_halted() -> None:
    """Frozen between SUBMITTING and the sending: not sent, and that is what the journal says."""
    world = opened()
    world.order()
    fold_all(world)
    waiting = list(world.jobs)
    world.control("halt", **FREEZE)
    fold_all(world)
    look(world)

    waiting[0]()
    world.settle(2)

    assert not world.exchange.posts
    assert (world.results[-1].status, world.results[-1].reason) == (
        "REJECTED", "NOT_SENT: withdrawn: trading was halted before it left",
    )  # fmt: skip


def test_the_last_look_before_it_leaves_is_at_the_halt_too() -> None:
    """While the adapter waits for its turn within the rate limit a halt takes the wish back."""
    world = opened()
    asked: list[bool] = []

    def place(request: OrderRequest) -> PlaceOutcome:
        asked.append(request.wanted())
        world.control("halt", **FREEZE)
        fold_all(world)
        look(world)
        asked.append(request.wanted())
        return PlaceOutcome(verdict="not_sent", code="too_late")

    world.exchange.place = place  # type: ignore[method-assign]
    world.order()
    world.settle()

    assert asked == [True, False]


def test_a_cancel_waits_for_the_order_to_have_left() -> None:
    """Halted while it leaves: the exchange would not know it yet; it is cancelled as soon as it has answered."""
    world = opened()
    cancelled: list[str] = []
    cancel, place = world.exchange.cancel, world.exchange.place

    def halted_meanwhile(request: OrderRequest) -> PlaceOutcome:
        world.control("halt", **FREEZE)
        fold_all(world)
        look(world)
        assert not world.jobs, "nothing is asked or cancelled while it leaves"
        return place(request)

    world.exchange.place = halted_meanwhile  # type: ignore[method-assign]
    world.exchange.cancel = lambda symbol, name: (cancelled.append(name), cancel(symbol, name))[1]  # type: ignore[func-returns-value,method-assign]
    order = world.order()
    world.settle(3)

    assert cancelled == [order.client_order_id]
    assert max(world.exchange.posts.values()) == 1


def test_a_cancel_that_is_wanted_while_a_question_is_under_way_is_not_forgotten() -> None:
    """The question ends first, then the cancel goes out."""
    world = opened()
    order = stuck(world)
    cancelled: list[str] = []
    world.exchange.cancel = lambda _symbol, name: cancelled.append(name)  # type: ignore[func-returns-value,method-assign]
    for _ in range(7):
        world.tick()
        fold_all(world)
    look(world)
    assert world.jobs
    world.control("halt", **FREEZE)
    fold_all(world)
    look(world)
    world.settle(2)

    assert cancelled == [order.client_order_id]


@given(st.permutations(["halt", "look", "send", "look", "fold"]))
@settings(max_examples=examples(20), deadline=None)
def test_whenever_the_halt_comes_it_is_sent_before_or_not_at_all(steps: list[str]) -> None:
    """Any order of halt, look and sending: what is sent was not yet seen as halted, and is cancelled afterwards."""
    world = opened()
    whole(world)
    world.order()
    fold_all(world)
    jobs, world.jobs = list(world.jobs), type(world.jobs)()
    halted_seen = False
    for step in steps:
        if step == "halt":
            world.control("halt", **FREEZE)
        elif step == "fold":
            fold_all(world)
        elif step == "look":
            look(world)
            halted_seen = halted_seen or world.machine.state.trading_state == "FROZEN"
        else:
            jobs.pop()()
            assert bool(world.exchange.posts) == (not halted_seen)
    world.settle(30)
    assert not world.machine.state.working
    assert world.machine.state.held("mexc_spot:BTCUSDT") == 0 or world.exchange.posts


# no fact stops the machine


def test_a_snapshot_that_could_not_be_folded_is_not_journalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An open order below nothing: left out and told in the log; the machine goes on, and the next one counts."""
    world = opened()
    order = stuck(world)
    odd = replace(report(order, "NEW"), quantity=Decimal(-1))
    snapshot = Snapshot(1, balances=[], open_orders=[odd], positions=[], trades=[])

    stated = state_next(world.machine, snapshot, 9)
    assert (stated.event, stated.done) == (None, True)
    assert "quantity" in str(stated.fault)

    kept: list[tuple[Any, ...]] = []
    shell = shell_of(world, monkeypatch, log=Mock(), metrics=Mock())
    shell._life.client.keep_dead_letter = lambda *letter: kept.append(letter)
    shell._publisher.alert = Mock()
    shell._desk.inbox.clear()
    shell._desk.inbox.append(snapshot)
    shell._idle()
    shell._life.log.error.assert_called_once()
    shell._life.metrics.dead_letters.labels.assert_called_once_with("order_results")
    assert [(letter[:2], b"open_orders" in letter[3]) for letter in kept] == [
        (("cdb_execution", "order_results"), True)
    ]
    assert shell._publisher.alert.call_args.args[:2] == ("CRITICAL", "EXCHANGE_MESSAGE_LEFT_OUT")
    assert shell.said == []
    assert not shell._desk.inbox


def test_a_coin_of_which_there_are_ten_billion_is_compared_like_any_other() -> None:
    """Eighteen decimals of so much are more digits than an amount has: they are not asked for."""
    world = opened()
    many = Balance(venue="mexc_spot", currency="PEPE", free=Decimal("12345678901.5"), locked=Decimal(0))
    balances = [*world.exchange.balances(), many]

    stated = state_next(world.machine, Snapshot(1, balances, open_orders=[], positions=[], trades=[]), 9)

    assert stated.fault is None
    assert stated.event is not None
    assert b'"PEPE":12345678901.5' in stated.event.data


def test_an_order_that_the_exchange_takes_and_then_rejects_has_ended() -> None:
    """NEW and then REJECTED is no transition of ours: it is told as cancelled by the exchange, and folds."""
    world = opened()
    order = stuck(world)
    for said in ("NEW", "REJECTED"):
        world.desk.deliver(report(order, said))
        world.state()
        fold_all(world)

    assert statuses(world) == ["SUBMITTING", "NEW", "CANCELED"]
    assert not world.machine.state.working


@pytest.mark.parametrize(
    "odd",
    [
        {"price": Decimal("1e20")}, {"fee": Decimal("12345678901.5"), "fee_currency": "USDT"},
        {"trade_id": ""}, {"trade_id": "\ud800"},
        {"price": Decimal("1e-18"), "fee": Decimal(-10**10)},
    ],
    ids=["price", "fee", "no id", "no text", "fee below zero"],
)  # fmt: skip
def test_a_fill_that_no_event_can_say_stops_nothing_and_is_not_booked(odd: dict[str, Any]) -> None:
    """From the stream, asked for, or in the comparison: left out with the reason, and nothing follows from it."""
    world = opened()
    order = stuck(world)
    fill = replace(trade(order, "0.1"), **odd)
    before = world.machine.dump()

    for said in (fill, Answered(order.order_id, None, (fill,)), Snapshot(1, [], [], [], [fill])):
        stated = state_next(world.machine, said, 9)
        assert (stated.event, stated.done) == (None, stated.instead is None)
        assert stated.fault
    assert stated.left_out == [fill]
    assert stated.instead is not None
    account = state_next(world.machine, stated.instead, 9).event

    assert isinstance(account, Control)
    assert [text[:17] for text in account.details["foreign_trades"].values()] == ["cannot be booked:"]
    assert world.machine.dump() == before


def test_an_answer_whose_order_cannot_be_said_is_left_out_whole() -> None:
    """An exchange id that is no text: nothing of it is believed, and the order is asked for again."""
    world = opened()
    order = stuck(world)

    stated = state_next(world.machine, Answered(order.order_id, report(order, "CANCELED", number="\ud800")), 9)

    assert (stated.event, stated.done, stated.instead) == (None, True, None)
    assert stated.fault


@pytest.mark.parametrize("odd", [{"symbol": "ETHUSDT"}, {"side": "SELL"}])
def test_a_fill_of_something_else_under_an_order_s_id_is_a_stranger(odd: dict[str, Any]) -> None:
    """Another coin or the other side is not booked as what was ordered; the comparison names it."""
    world = opened()
    order = stuck(world)
    fill, said = replace(trade(order, "0.1"), **odd), replace(report(order, "CANCELED"), **odd)

    assert [state_next(world.machine, message, 9).event for message in (fill, said)] == [None, None]
    found = state_next(world.machine, Snapshot(1, [], [], [], [fill]), 9).event

    assert isinstance(found, Control)
    assert list(found.details["foreign_trades"]) == [fill.trade_id]


@pytest.mark.parametrize("step", ["tick_size", "lot_size"])
def test_rules_without_a_step_are_not_journalled(step: str) -> None:
    """No order could be held to a grid of nothing: the next one would stop the machine."""
    world = opened()
    odd = replace(RULES, **{step: Decimal(0)})
    balances = world.exchange.balances()

    both = [odd, replace(RULES, symbol="ETHUSDT")]
    stated = state_next(world.machine, Snapshot(1, balances, open_orders=[], positions=[], trades=[], rules=both), 9)

    assert stated.event is None
    assert "steps of price" in str(stated.fault)
    assert stated.left_out == [odd]
    assert stated.instead is not None
    assert stated.instead.rules == both[1:]
    account = state_next(world.machine, stated.instead, 9).event
    assert isinstance(account, Control)
    assert (account.details["rules"][0]["symbol"], account.details["foreign_trades"]) == ("ETHUSDT", {})


def test_one_absurd_fill_takes_nothing_else_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sound fill beside it is booked, the account is compared; the absurd one is kept alone, once, and freezes."""
    world = opened()
    order = stuck(world)
    sound = fills_there(world, order, "0.1", "T1")
    absurd = replace(trade(order, "0.05", "T2"), price=Decimal("1e20"), time=world.exchange.now)
    world.exchange.booked.append(absurd)
    world.exchange.orders[order.client_order_id] = report(order, "CANCELED", "0.1")

    world.settle(70)

    assert world.machine.state.held("mexc_spot:BTCUSDT") == sound.quantity
    assert statuses(world)[-1] == "CANCELED"
    assert world.machine.state.live.difference_names() == ["trade:T2"]
    assert world.machine.state.trading_state == "FROZEN"
    details: dict[str, Any] = {"accept": ["trade:T2"]}
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="seen", details=details)
    world.settle(70)
    assert world.verdicts()[-1] == "agreed"
    assert world.machine.state.trading_state == "ACTIVE"

    kept: list[tuple[Any, ...]] = []
    shell = shell_of(world, monkeypatch, log=Mock(), metrics=Mock())
    shell._life.client.keep_dead_letter = lambda *letter: kept.append(letter)
    shell._publisher.alert = Mock()
    shell._desk.inbox.clear()
    shell._desk.inbox.extend([Snapshot(1, world.exchange.balances(), [], [], [absurd])] * 2)
    shell._idle()
    shell._stated = 0
    shell._idle()
    assert not shell._desk.inbox
    assert [letter[3] for letter in kept] == [repr(absurd).encode()]
    assert len(shell.said) == 2


def test_a_settlement_that_no_event_can_say_freezes_and_the_account_is_still_compared() -> None:
    """An amount beyond all numbers: named as a stranger, the rest of the account counts."""
    world = PerpetualWorld()
    world.hold()
    wallet = world.exchange.wallet
    world.exchange.settle("0.0001", "F1", amount=Decimal("1e40"))
    world.exchange.wallet = wallet
    world.compare()

    assert world.machine.state.live.difference_names() == ["trade:funding-F1"]
    assert world.machine.state.trading_state == "FROZEN"
    assert world.machine.state.live.portfolio.funding == 0


@pytest.mark.parametrize(("currency", "dropped"), [("SHIB", True), ("BTC", False)])
def test_an_absurd_balance_is_dropped_only_of_a_coin_that_nobody_trades(currency: str, *, dropped: bool) -> None:
    """What somebody sent us stops nothing; of our own coin it is no account at all: nothing is entered without one."""
    world = opened()
    others = [balance for balance in world.exchange.balances() if balance.currency != currency]
    absurd = Balance(venue="mexc_spot", currency=currency, free=Decimal("1e30"), locked=Decimal(0))

    stated = state_next(world.machine, Snapshot(1, [*others, absurd], [], [], []), 9)

    assert stated.event is None
    assert stated.done != dropped
    assert (stated.instead is not None) == dropped
    if stated.instead is not None:
        assert list(stated.instead.balances) == others
        assert not stated.instead.absurd


def test_what_the_machine_could_not_fold_is_not_journalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that breaks the fold would stand in the journal for ever: it is rehearsed on a copy first."""
    world = opened()
    before = world.machine.dump()

    def broken(*_: object) -> None:
        raise IllegalTransition("there is no such transition")

    monkeypatch.setattr(ExecutionMachine, "_on_account", broken)
    snapshot = Snapshot(1, world.exchange.balances(), open_orders=[], positions=[], trades=[])
    stated = state_next(world.machine, snapshot, 9)

    assert (stated.event, stated.done) == (None, True)
    assert stated.fault == "IllegalTransition: there is no such transition"
    assert world.machine.dump() == before


def test_a_wallet_below_zero_is_a_number_like_any_other() -> None:
    """A perpetual account can owe: that is compared, not choked on."""
    world = PerpetualWorld()
    world.exchange.wallet = Decimal(-5)
    world.compare()
    assert world.machine.state.live.difference_names() == ["balance:USDT"]


def test_an_order_that_ended_while_the_account_was_read_is_no_stranger() -> None:
    """The snapshot is of before the end: no difference, compared again; one that is still open later is."""
    world = opened()
    order = stuck(world)
    before = world.machine.state.live.revision
    world.desk.inbox.append(report(order, "CANCELED"))
    world.state()
    fold_all(world)
    balances = world.exchange.balances()
    for revision in (before, world.machine.state.live.revision):
        stated = state_next(
            world.machine, Snapshot(revision, balances, open_orders=[report(order, "NEW")], positions=[], trades=[]), 9
        )
        assert stated.event is not None
        world.append(stated.event, "exchange:9")
        fold_all(world)
        if revision == before:
            assert world.verdicts()[-1] == "incomplete"
            assert world.machine.state.trading_state == "ACTIVE"
    assert world.machine.state.live.difference_names() == ["open_order:C1"]


def test_an_account_that_cannot_be_compared_is_told() -> None:
    """Five minutes without a verdict: CRITICAL, once; entries are refused; the next verdict ends it."""
    world = opened()

    def silent(*_: Any) -> Any:
        raise ExchangeUnreachable("no answer")

    balances, world.exchange.balances = world.exchange.balances, silent  # type: ignore[method-assign]
    world.settle(2)
    for _ in range(2):
        world.tick(301_000)
        world.settle(2)
    assert world.alerts().count("RECONCILIATION_OVERDUE") == 1

    world.exchange.balances = balances  # type: ignore[method-assign]
    world.settle(20)
    assert world.verdicts()[-1] == "agreed"
    assert not world.machine.state.live.overdue


# no word is lost


def moved() -> Balance:
    """Return a pushed balance."""
    return Balance(venue="mexc_spot", currency="USDT", free=Decimal(1), locked=Decimal(0))


def test_a_pushed_change_of_the_account_is_compared_early_but_not_too_often() -> None:
    """A balance or position that moves without an order of ours is looked at within seconds, not within a minute."""
    world = opened()
    world.settle(6)
    before = len(world.verdicts())
    world.exchange.totals["USDT"] -= 100
    world.desk.deliver(moved())
    world.settle()
    assert world.verdicts()[before:] == ["suspected"]

    position = {"symbol": "BTCUSDT", "quantity": Decimal(0), "entry_price": Decimal(0), "margin": Decimal(0)}
    world.desk.deliver(PositionReport(**position, leverage=1, liquidation_price=None))  # type: ignore[arg-type]
    world.settle()
    assert len(world.verdicts()) == before + 1, "five seconds lie between two looks"
    world.settle(6)
    assert world.machine.state.trading_state == "FROZEN"


def test_what_our_own_orders_move_waits_for_them() -> None:
    """While an order works its pushes begin no comparison; afterwards they do."""
    world = opened()
    world.settle(6)
    stuck(world)
    before = len(world.verdicts())
    world.desk.deliver(moved())
    look(world)
    assert world.desk._moved
    assert len(world.verdicts()) == before


def test_a_new_beginning_of_the_stream_while_the_account_is_read_begins_another_reading() -> None:
    """What is being read may be of before the interruption: it is read once more."""
    world = opened()
    world.machine.state.live.reconcile_at = None
    world.tick()
    fold_all(world)
    look(world)
    assert len(world.jobs) == 1
    world.desk.deliver(StreamState(connected=True))
    look(world)
    assert len(world.jobs) == 1
    world.work()
    world.desk.inbox.clear()
    look(world)
    assert len(world.jobs) == 1, "read again, although no comparison was due"


def test_a_new_beginning_of_the_stream_while_an_order_is_asked_for_asks_again() -> None:
    """The answer under way may be of before: the order is asked for once more."""
    world = opened()
    order = stuck(world)
    for _ in range(7):
        world.tick()
        fold_all(world)
    assert order.status == "UNKNOWN"
    look(world)
    asked = len(world.jobs)
    world.desk.deliver(StreamState(connected=True))
    look(world)
    while world.jobs:
        world.work()
    look(world)
    assert asked >= 1
    assert world.jobs


# shadow says how


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (lambda: opened(TRADING_MODE="shadow"), "TEST_ENDPOINT: the exchange's test endpoint has accepted it"),
        (lambda: PerpetualWorld(TRADING_MODE="shadow"), "PUBLISHED_RULES: perpetuals have no test endpoint"),
    ],
)
def test_shadow_says_what_has_validated_an_order(world: Any, reason: str) -> None:
    """NEW in shadow mode names the test endpoint, or what stands in for it; nothing is ever placed."""
    world = world()
    world.order()
    world.settle()

    result = world.results[1]
    assert (result.status, result.mode) == ("NEW", "shadow")
    assert str(result.reason).startswith(reason)
    assert not world.exchange.posts


# the canary


@given(
    fills=st.lists(
        st.tuples(st.decimals("-20", "60", places=1), st.decimals("-5", "15", places=1)), min_size=1, max_size=30
    ),
    watched=st.integers(0, 20),
)
def test_the_canary_pauses_exactly_when_the_mean_of_the_first_fills_is_over_three_times_paper_s(
    fills: list[tuple[Decimal, Decimal]], watched: int
) -> None:
    """From the fifth to the last watched fill; what comes later, or is within, pauses nothing."""
    canary, rules = Canary(), live_settings(LIVE_CANARY_FILLS=watched, LIVE_CANARY_SLIPPAGE=3)
    paused_at = next((n for n, (cost, expected) in enumerate(fills, 1) if canary.add(cost, expected, rules)), None)

    def over(count: int) -> bool:
        costs = sum(cost for cost, _ in fills[:count])
        return costs > 3 * sum(max(expected, Decimal("0.5")) for _, expected in fills[:count])

    judged = range(min(5, watched), min(len(fills), watched) + 1)
    assert paused_at == next((count for count in judged if count and over(count)), None)


def test_each_instrument_has_its_own_position_cap() -> None:
    """LIVE_MAX_POSITION_USDT counts what is held and being entered of one instrument, not of its neighbours."""
    world = opened(LIVE_MAX_POSITION_USDT=10_000, LIVE_SYMBOLS="BTCUSDT,ETHUSDT")
    state = world.machine.state
    state.positions["mexc_spot:ETHUSDT"] = Decimal(100)
    state.positions["mexc_perpetual:BTCUSDT"] = Decimal(1)
    world.order()
    fold_all(world)
    assert statuses(world) == ["SUBMITTING"]

    world.order()
    fold_all(world)
    assert str(world.results[-1].reason).startswith("LIVE_POSITION_CAP: 16032.4 USDT in all")
