"""What a comparison with the exchange finds while orders work, and words that come in another order than they were."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.exchange import PlaceOutcome
from services.cdb_execution.live.account import Ledger
from services.cdb_execution.live.facts import state_next
from services.cdb_execution.live.intake import Answered, Placed, news_of
from services.cdb_execution.live.said import Snapshot
from services.common.errors import ExchangeUnreachable
from services.common.events import Control, OrderResult
from tests.unit.execution.live_world import World
from tests.unit.execution.test_live_machine import fold_all, opened, report, statuses, stuck, trade

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def placed() -> tuple[World, Any]:
    """Return a world with an order that the exchange has accepted as C1, and the order."""
    world = opened()
    order = stuck(world)
    world.desk.inbox.append(Placed(order.order_id, PlaceOutcome(verdict="accepted", exchange_order_id="C1")))
    for _ in range(2):
        world.state()
        fold_all(world)
    assert statuses(world) == ["SUBMITTING", "NEW"]
    return world, order


def snapshot(world: World, *trades: Any) -> Snapshot:
    """Return what the exchange says of the account, with these fills."""
    balances = world.exchange.balances()
    return Snapshot(
        world.machine.state.live.revision, balances=balances, open_orders=[], positions=[], trades=list(trades)
    )


def test_a_fill_that_only_the_comparison_has_seen_is_booked_before_it() -> None:
    """A fill of ours in a snapshot becomes an order result first; the snapshot itself is not done."""
    world, order = placed()

    stated = state_next(world.machine, snapshot(world, trade(order, "0.1")), 1)

    assert not stated.done
    assert isinstance(stated.event, OrderResult)
    assert (stated.event.order_id, stated.event.trade_id) == (order.order_id, "T1")
    assert stated.event.last_quantity == Decimal("0.1")


def test_more_than_was_ordered_is_a_stranger_under_our_own_exchange_id() -> None:
    """A fill with our exchange order id and no client id that cannot be booked is told as foreign, with its id."""
    world, order = placed()
    too_much = trade(order, "5", "T9", client_order_id=None)

    stated = state_next(world.machine, snapshot(world, too_much), 1)

    assert stated.done
    assert isinstance(stated.event, Control)
    assert list(stated.event.details["foreign_trades"]) == ["T9"]


def test_a_comparison_while_an_order_works_is_incomplete() -> None:
    """Balances move while an order works: no verdict about them, no difference, and it is compared again."""
    world, _ = placed()
    world.exchange.totals["USDT"] -= 100
    event = state_next(world.machine, snapshot(world), 1).event
    assert event is not None

    world.append(event, "exchange:1")
    outputs = world.machine.handle(world.entries[-1])
    live = world.machine.state.live

    assert outputs[0].details["verdict"] == "incomplete"
    assert (live.differences, live.suspected) == ([], [])
    assert live.reconcile_at is not None


def test_the_same_state_again_is_no_news() -> None:
    """NEW said of an order that is NEW already publishes nothing."""
    world, order = placed()

    assert news_of(world.machine.state, Answered(order.order_id, report(order, "NEW"))) == []


def test_a_pushed_report_waits_to_be_stated() -> None:
    """What the user stream pushes about an order lands in the inbox, in the order in which it came."""
    world, order = placed()
    messages = [report(order, "PARTIALLY_FILLED", "0.1"), trade(order, "0.1")]

    for message in messages:
        world.desk.deliver(message)

    assert list(world.desk.inbox) == messages


def test_a_comparison_without_an_answer_may_be_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable exchange leaves nothing in the inbox, and the next wish to compare is heard."""
    world = opened()

    def silent(*_: object) -> None:
        raise ExchangeUnreachable("no answer")

    world.machine.state.live.reconciles += 1
    monkeypatch.setattr(world.exchange, "trades", silent)
    world.desk.look(world.machine.state, world.machine.now)
    world.work()
    assert not world.desk.inbox
    monkeypatch.undo()

    world.machine.state.live.reconciles += 1
    world.desk.look(world.machine.state, world.machine.now)
    world.work()

    [answer] = world.desk.inbox
    assert isinstance(answer, Snapshot)


def test_a_fee_in_a_third_coin_is_taken_from_that_coin_once_known() -> None:
    """MX pays for BTCUSDT: the ledger of MX falls, BTC and USDT stay, and the coin is remembered once."""
    ledger = Ledger(totals={"MX": Decimal(1), "BTC": Decimal(2), "USDT": Decimal(3)})

    ledger.pay("BTCUSDT", Decimal("0.25"), "MX")
    ledger.pay("BTCUSDT", Decimal("0.25"), "MX")

    assert ledger.totals == {"MX": Decimal("0.5"), "BTC": Decimal(2), "USDT": Decimal(3)}
    assert ledger.fee_coins == ["MX"]
