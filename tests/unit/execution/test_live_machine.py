"""The live order book: what each answer, silence and difference makes of an order and of trading."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from services.cdb_execution.codes import RejectCode
from services.cdb_execution.exchange import OrderReport, PlaceOutcome, StreamState, Trade
from services.cdb_execution.live.intake import Answered, Placed, news_of
from services.cdb_execution.live.ramp import Canary, DayLoss, Exposure, check_ramp
from services.common import channels
from services.common.errors import ContractViolation, ExchangeRefused, ExchangeUnreachable
from services.common.events import Control, OrderResult
from services.common.timestamps import SECOND_US
from tests.unit.execution.execution_desk import START_US, Desk
from tests.unit.execution.live_world import World, live_settings

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC = "mexc_spot:BTCUSDT"


def opened(**changed: Any) -> World:
    """Return a world whose books have been opened."""
    world = World(1, **changed)
    world.settle(2)
    world.quote()
    world.settle()
    return world


def whole(world: World) -> None:
    """Let every order fill whole."""
    world.exchange.random = Random(0)
    world.exchange.random.choice = lambda options: options[0] if options and isinstance(options[0], str) else (1,)  # type: ignore[method-assign]
    world.exchange.random.random = lambda: 0.5  # type: ignore[method-assign]


def statuses(world: World) -> list[str]:
    """The statuses of all results."""
    return [result.status for result in world.results]


def stuck(world: World, status: str = "SUBMITTING") -> Any:
    """Journal an order whose sending is lost, and return it as it works."""
    world.order()
    while world.folded < len(world.entries):
        world.fold()
    world.jobs.clear()
    [order] = world.machine.state.working
    assert order.status == status
    return order


def fold_all(world: World) -> None:
    """Handle every entry, nothing else."""
    while world.folded < len(world.entries):
        world.fold()


def report(order: Any, status: str, filled: str = "0", number: str = "C1", **more: Any) -> OrderReport:
    """Return what the exchange says of an order."""
    return OrderReport(
        venue="mexc_spot", symbol="BTCUSDT", side="BUY", client_order_id=order.client_order_id,
        exchange_order_id=number, status=status, quantity=order.quantity, filled_quantity=Decimal(filled),
        filled_notional=None, time=START_US, **more,
    )  # fmt: skip


def trade(order: Any, quantity: str, number: str = "T1", **more: Any) -> Trade:
    """Return a fill."""
    return Trade(**{
        "venue": "mexc_spot", "symbol": "BTCUSDT", "side": "BUY", "trade_id": number, "exchange_order_id": "C1",
        "client_order_id": order.client_order_id, "quantity": Decimal(quantity), "price": Decimal(40_000),
        "fee": Decimal("0.0001"), "fee_currency": "BTC", "liquidity": "taker", "time": START_US,
    } | more)  # fmt: skip


def test_an_order_is_submitted_sent_and_filled() -> None:
    """SUBMITTING is journalled before the order leaves; a fee in base coin leaves less of what was bought."""
    world = opened()
    whole(world)

    world.order()
    world.settle()
    world.exchange.pushes.clear()
    world.settle(5)

    assert statuses(world) == ["SUBMITTING", "NEW", "FILLED"]
    assert {result.mode for result in world.results} == {"live"}
    assert world.machine.state.held(BTC) == Decimal("0.2") * (1 - Decimal("0.0005"))
    assert world.verdicts()[0] == "opened"
    assert world.machine.summary()["last_reconciliation"]


def test_silence_makes_an_order_unknown_then_it_is_asked_for_and_trading_freezes() -> None:
    """5 s without an answer: UNKNOWN; asked after 1, 2, 4, 8, 15 s; FROZEN after 60 s."""
    world = opened()
    order = stuck(world)

    asked = []
    for _ in range(70):
        world.tick()
        fold_all(world)
        asked.append(order.live.queries)

    assert statuses(world) == ["SUBMITTING", "UNKNOWN"]
    assert asked[5:22] == [0, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5]
    assert world.machine.state.trading_state == "FROZEN"
    halts = [e.event for e in world.entries if isinstance(e.event, Control) and e.event.action == "halt"]
    assert halts[0].details["freeze"] is True


def test_an_order_that_never_arrived_ends_only_after_the_window_and_three_answers() -> None:
    """The exchange must have said `not found` three times and for recvWindow + 10 s."""
    world = opened()
    order = stuck(world)

    ends = None
    for second in range(120):
        world.settle()
        if statuses(world)[-1] == "EXPIRED":
            ends = second
            break

    assert order.status == "EXPIRED"
    assert order.live.not_found >= 3
    assert ends is not None
    assert ends >= 15
    assert "NEVER_ARRIVED" in str(world.results[-1].reason)


def test_a_working_order_without_news_is_cancelled_and_lost() -> None:
    """An immediate-or-cancel order that still works is cancelled from its deadline on, and UNKNOWN after 30 s."""
    world = opened()
    order = stuck(world)
    world.desk.inbox.append(Placed(order.order_id, PlaceOutcome(verdict="accepted", exchange_order_id="C1")))
    world.state()
    for _ in range(40):
        world.tick()
        fold_all(world)

    assert order.live.cancels >= 2
    assert statuses(world)[:3] == ["SUBMITTING", "NEW", "UNKNOWN"]
    world.desk.inbox.append(report(order, "NEW"))
    world.state()
    fold_all(world)
    assert statuses(world)[-2:] == ["NEW", "NEW"]  # what the exchange said, and the last word after our UNKNOWN


@pytest.mark.parametrize(
    ("verdict", "status", "reason"),
    [("refused", "REJECTED", "REFUSED"), ("not_sent", "REJECTED", "NOT_SENT"), ("unknown", "UNKNOWN", "NO_ANSWER")],
)
def test_what_became_of_sending(verdict: Any, status: str, reason: str) -> None:
    """What was refused or not sent is over; anything else is UNKNOWN."""
    world = opened()
    order = stuck(world)
    message = Placed(order.order_id, PlaceOutcome(verdict=verdict, code="x", detail="y"))

    world.desk.inbox.append(message)
    world.state()
    fold_all(world)

    assert statuses(world)[-1] == status
    assert str(world.results[-1].reason).startswith(reason)
    assert news_of(world.machine.state, message) == []


def test_late_and_repeated_words_change_nothing() -> None:
    """NEW after FILLED, a fill told twice, a fill of nobody, an answer about nobody: nothing new in any of them."""
    world = opened()
    order = stuck(world)
    for message in (trade(order, "0.1"), trade(order, "0.1"), trade(order, "0.1", "T2"), report(order, "NEW")):
        world.desk.inbox.append(message)
        world.state()
        fold_all(world)
        world.state()

    state = world.machine.state
    assert statuses(world) == ["SUBMITTING", "PARTIALLY_FILLED", "FILLED"]
    assert news_of(state, Placed("nobody", PlaceOutcome(verdict="accepted"))) == []
    assert news_of(state, Answered("nobody", None)) == []
    assert news_of(state, trade(order, "0.1", "T3", client_order_id=None, exchange_order_id="other")) == []
    assert news_of(state, Answered(order.order_id, None)) == []
    assert news_of(state, trade(order, "0.1", "T4")) == []  # more than was ordered: reconciliation tells


def test_an_end_is_stated_when_all_that_filled_is() -> None:
    """CANCELED with a fill that is not booked yet waits for the fill; REJECTED after a fill is a cancel."""
    world = opened()
    order = stuck(world)
    state = world.machine.state
    assert news_of(state, report(order, "CANCELED", "0.1")) == []
    assert news_of(state, report(order, "REJECTED", error_code="30004"))[0]["status"] == "REJECTED"

    world.desk.inbox.append(Answered(order.order_id, report(order, "REJECTED", "0.1"), (trade(order, "0.1"),)))
    for _ in range(3):
        world.state()
        fold_all(world)

    assert statuses(world) == ["SUBMITTING", "PARTIALLY_FILLED", "CANCELED"]


def test_a_fill_after_the_end_is_booked() -> None:
    """An exchange that fills after it said CANCELED is believed: the order stays ended, the fill counts."""
    world = opened()
    order = stuck(world)
    for message in (report(order, "CANCELED"), trade(order, "0.1")):
        world.desk.inbox.append(message)
        world.state()
        fold_all(world)

    assert statuses(world) == ["SUBMITTING", "CANCELED", "CANCELED"]
    assert world.results[-1].last_quantity == Decimal("0.1")
    assert world.machine.state.held(BTC) == Decimal("0.0999")


def test_a_result_of_nobody_is_an_alarm() -> None:
    """A result without a cause for an order that was never sent is not booked."""
    world = opened()
    order = stuck(world)
    result = next(r for r in world.results if r.status == "SUBMITTING")
    world.append(result.model_copy(update={"order_id": "ghost", "causation_id": None, "status": "NEW"}), "exchange:99")
    fold_all(world)

    assert "EXCHANGE_RESULT_UNKNOWN" in world.alerts()
    assert order.status == "SUBMITTING"


# reconciliation


def test_a_difference_seen_twice_freezes_until_it_is_accepted_by_name() -> None:
    """A withdrawal is suspected, then certain; `resume` needs its name; the books then follow by an adjustment."""
    world = opened()
    world.exchange.totals["USDT"] -= 100
    world.settle(80)

    assert world.verdicts()[-2:] == ["suspected", "difference"] or "difference" in world.verdicts()
    assert world.machine.state.trading_state == "FROZEN"
    assert "RECONCILIATION_DIFFERENCE" in world.alerts()

    world.control("resume", producer=channels.OPERATOR, by="ada", reason="paid out")
    world.settle()
    assert world.machine.state.trading_state == "FROZEN"
    assert "RESUME_REFUSED" in world.alerts()

    named = {"accept": ["balance:USDT"]}
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="paid out", details=named)
    world.settle(3)
    assert world.machine.state.trading_state == "ACTIVE"
    [adjustment] = [e.event for e in world.entries if isinstance(e.event, Control) and e.event.action == "adjustment"]
    assert adjustment.details["cash"] == -100
    assert world.verdicts()[-1] == "agreed"


def test_coins_sold_by_hand_shrink_the_position() -> None:
    """What is missing of a coin that we hold is gone from our position; coins that came are not ours."""
    world = opened()
    whole(world)
    world.order()
    world.settle(5)
    held = world.machine.state.held(BTC)
    world.exchange.totals["BTC"] -= Decimal("3.05")
    world.settle(80)
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="sold", details={"accept": ["balance:BTC"]})
    world.settle(3)
    assert world.machine.state.held(BTC) == held - min(held, Decimal("3.05"))

    world.exchange.totals["BTC"] += 1
    world.settle(80)
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="a gift", details={"accept": ["balance:BTC"]})
    world.settle(3)
    assert world.verdicts()[-1] == "agreed"
    assert world.machine.state.held(BTC) == held - min(held, Decimal("3.05"))


def test_fills_and_orders_of_others_freeze_at_once() -> None:
    """An order or fill that is none of ours is a difference; accepted by name, it is none any more."""
    world = opened()
    foreign = world.order()  # only a shape to copy from
    fold_all(world)
    world.jobs.clear()
    [order] = world.machine.state.working
    world.exchange.orders["theirs"] = report(order, "NEW", number="Z9")
    world.exchange.orders["theirs"] = OrderReport(
        **{**vars(world.exchange.orders["theirs"]), "client_order_id": "hand"}
    )
    world.settle(40)
    world.exchange.booked.append(
        trade(order, "0.1", "F1", client_order_id="hand", exchange_order_id="Z9", time=START_US + 3600 * SECOND_US)
    )
    world.settle(70)

    names = world.machine.state.live.difference_names()
    assert "open_order:Z9" in names
    assert "trade:F1" in names
    assert foreign.client_order_id not in str(names)
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="mine", details={"accept": names})
    world.settle(3)
    assert world.machine.state.live.accepted[-2:]
    assert not world.machine.state.live.differences


def test_a_snapshot_that_makes_no_sense_is_refused() -> None:
    """An account event without its fields is a violation, not a clean verdict."""
    world = opened()
    world.control("account", producer=channels.EXECUTION, details={"venue": "mexc_spot"})
    with pytest.raises(ContractViolation, match="account"):
        fold_all(world)


# the ramp


def exposure(**changed: Any) -> Exposure:
    """Return an exposure that passes."""
    given: dict[str, Any] = {
        "held": Decimal(0), "entering": Decimal(0), "lost_today": Decimal(0), "reconciled": None, "paused": False,
    }  # fmt: skip
    return Exposure(**given | changed)


@pytest.mark.parametrize(
    ("changed", "exposed", "code"),
    [
        ({}, {"reconciled": "never"}, RejectCode.NOT_RECONCILED),
        ({"LIVE_SYMBOLS": "ETHUSDT"}, {}, RejectCode.LIVE_SYMBOL),
        ({}, {"paused": True}, RejectCode.CANARY),
        ({"LIVE_MAX_ORDER_USDT": 50}, {}, RejectCode.LIVE_ORDER_CAP),
        ({"LIVE_MAX_POSITION_USDT": 9_000}, {"held": Decimal("0.1")}, RejectCode.LIVE_POSITION_CAP),
        ({}, {"lost_today": None}, RejectCode.LIVE_DAILY_LOSS),
        ({"LIVE_MAX_DAILY_LOSS_USDT": 25}, {"lost_today": Decimal(25)}, RejectCode.LIVE_DAILY_LOSS),
    ],
)
def test_the_ramp_holds_back_entries_and_never_exits(changed: Any, exposed: Any, code: RejectCode) -> None:
    """Each cap refuses an entry by its code, and lets every exit pass."""
    desk = Desk()
    entry = desk.order_of(desk.decision(0))
    leaving = desk.order_of(desk.decision(0, side="SELL", purpose="stop_loss"))
    refusal = check_ramp(entry, live_settings(**changed), exposure(**exposed))

    assert refusal is not None
    assert refusal.code == code
    assert check_ramp(entry, live_settings(), exposure()) is None
    assert check_ramp(leaving, live_settings(**changed), exposure(**exposed)) is None


def test_an_entry_over_the_ramp_is_rejected_by_the_machine() -> None:
    """The machine asks the ramp, and no order leaves."""
    world = opened(LIVE_MAX_ORDER_USDT=50)
    world.order()
    world.settle(2)

    assert statuses(world) == ["REJECTED"]
    assert not world.exchange.posts


def test_the_canary_pauses_entries_until_somebody_looked() -> None:
    """Fills that cost more than three times what paper expects pause entries; `resume` begins anew."""
    canary = Canary()
    settings = live_settings(LIVE_CANARY_FILLS=5)
    paused = [canary.add(Decimal(10), Decimal(1), settings) for _ in range(6)]
    assert paused == [False, False, False, False, True, False]
    canary.resume()
    assert (canary.fills, canary.paused) == (0, False)
    canary.resume()

    world = opened(LIVE_CANARY_FILLS=1, LIVE_CANARY_SLIPPAGE=1)
    whole(world)
    world.order()
    world.settle(5)
    assert "CANARY_PAUSED" in world.alerts()


def test_the_day_begins_when_its_profit_and_loss_is_known() -> None:
    """Unknown is not zero: a day without a beginning has no loss."""
    day = DayLoss()
    day.roll(1, None)
    assert day.lost(Decimal(1)) is None
    day.roll(1, Decimal(5))
    day.roll(1, Decimal(9))
    assert day.lost(Decimal(3)) == 2
    assert day.lost(None) is None


# shadow, and the desk


def test_shadow_has_orders_validated_and_fills_them_on_paper() -> None:
    """What the test endpoint accepts fills on paper, marked shadow; nothing is placed."""
    world = World(1, TRADING_MODE="shadow")
    world.settle(2)
    world.quote()
    world.order()
    world.settle()
    world.tick()
    world.quote()
    world.settle()

    assert [r.status for r in world.results][:3] == ["SUBMITTING", "NEW", "FILLED"]
    assert {result.mode for result in world.results} == {"shadow"}
    assert not world.exchange.posts


@pytest.mark.parametrize("how", ["unknown", "refused", "unreachable", "silent", "halted"])
def test_shadow_ends_what_was_not_validated(how: str) -> None:
    """No answer of the test endpoint ends an order in shadow mode; nothing can be there."""
    world = World(1, TRADING_MODE="shadow")
    world.settle(2)
    world.quote()
    if how in {"silent", "halted"}:
        stuck(world)
        if how == "halted":
            world.control("halt", producer=channels.OPERATOR, by="ada", reason="x", details={"freeze": True})
    else:

        def test(_request: Any) -> PlaceOutcome:
            if how == "unreachable":
                raise ExchangeUnreachable("cut")
            return PlaceOutcome(verdict=how, detail="x")  # type: ignore[arg-type]

        world.exchange.test = test  # type: ignore[method-assign]
        world.order()
    world.settle(8)

    assert statuses(world)[-1] == ("CANCELED" if how == "halted" else "REJECTED")


def test_an_order_that_waited_too_long_is_not_sent() -> None:
    """The wall clock just before sending is the last gate; a clock that stands still is another."""
    world = opened()
    world.order()
    fold_all(world)
    world.at_ms += 6_000
    world.settle()
    assert "NOT_SENT: too_old" in str(world.results[-1].reason)

    world.desk.wall_us = lambda: START_US + world.at_ms * 1_000 - 6_001_000
    world.order()
    world.settle()
    assert "NOT_SENT: clock: stamped 5001 ms ahead" in str(world.results[-1].reason)
    world.desk.wall_us = lambda: START_US + world.at_ms * 1_000

    world.desk.hindrance = lambda: "no clock"
    world.order()
    world.settle()
    assert str(world.results[-1].reason) == "NOT_SENT: no clock"
    world.desk.send(world.order(), "the process has just started")
    assert world.desk.inbox[-1].outcome.detail == "the process has just started"


def test_a_fault_while_sending_leaves_the_order_unknown() -> None:
    """Whatever goes wrong in the client, the order may be there."""
    world = opened()

    def place(_request: Any) -> PlaceOutcome:
        raise RuntimeError("broken")

    world.exchange.place = place  # type: ignore[method-assign]
    world.order()
    world.settle()
    assert statuses(world)[-1] == "UNKNOWN"


def test_a_stream_that_comes_back_is_reconciled() -> None:
    """After an interruption everything that works is asked for, and the account is read."""
    world = opened()
    before = len(world.verdicts())
    world.desk.deliver(StreamState(connected=False, reason="cut"))
    assert world.desk.interrupted
    world.desk.deliver(StreamState(connected=True))
    world.settle()
    assert not world.desk.interrupted
    assert len(world.verdicts()) > before


def test_what_cannot_be_asked_is_asked_again() -> None:
    """An exchange that does not answer leaves everything as it is, without a verdict."""
    world = opened()
    order = stuck(world)
    before = len(world.verdicts())

    def refuse(*_: Any) -> Any:
        raise ExchangeRefused("500", "maintenance")

    world.exchange.query = world.exchange.trades = refuse  # type: ignore[method-assign]
    world.settle(20)
    assert len(world.verdicts()) == before
    assert order.status == "UNKNOWN"


def test_a_halt_cancels_at_the_exchange() -> None:
    """What works when trading is halted is cancelled there; its end is what the exchange says."""
    world = opened()
    order = stuck(world)
    world.desk.inbox.append(Placed(order.order_id, PlaceOutcome(verdict="accepted", exchange_order_id="C1")))
    world.exchange.orders[order.client_order_id] = report(order, "CANCELED")
    world.state()
    world.control("halt", producer=channels.OPERATOR, by="ada", reason="x", details={"freeze": True})
    fold_all(world)
    assert order.live.cancels == 1
    world.settle(2)
    assert statuses(world)[-1] == "CANCELED"


def test_a_restart_enters_nothing_before_the_books_agree() -> None:
    """After a start of the process entries wait for a comparison with the exchange."""
    world = opened()
    world.control("started", producer=channels.EXECUTION, service=channels.EXECUTION, run_id="run-1")
    world.order()
    fold_all(world)
    assert str(world.results[-1].reason).startswith("NOT_RECONCILED: books and exchange have not been compared")
    live = world.machine.state.live
    assert live.quote_total("USDT") == 1_000_000
    live.agreed_at = 0
    assert "have not agreed for" in str(live.not_reconciled(10**12))


def test_results_are_events_of_our_own_source() -> None:
    """What the exchange said carries no cause and an id of the numbered source."""
    world = opened()
    whole(world)
    world.order()
    world.settle(3)
    told = [r for r in world.results if isinstance(r, OrderResult) and r.causation_id is None]
    assert len({r.event_id for r in told}) == len(told) >= 2
