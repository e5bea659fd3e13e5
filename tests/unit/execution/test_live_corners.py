"""Corners of live trading: what is not known, not ours, or said a second time."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from services.cdb_execution.exchange import PlaceOutcome
from services.cdb_execution.live.account import Difference
from services.cdb_execution.live.intake import Placed
from services.common import channels
from services.common.events import Control
from tests.unit.execution.live_world import World, live_settings
from tests.unit.execution.test_live_machine import fold_all, opened, statuses, stuck
from tests.unit.execution.test_live_shell import shell_of

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC = "mexc_spot:BTCUSDT"


def test_nothing_is_expected_of_an_order_without_a_mid() -> None:
    """Without the mid at the decision there is no slippage to compare with: None, not zero."""
    world = opened()
    order = stuck(world)
    order.reference_price = None
    assert world.machine._expected_bps(order) is None


def test_the_clock_asks_nothing_of_an_order_that_is_not_at_the_exchange() -> None:
    """An order that paper works on (begun in shadow) is not waited for at the exchange."""
    world = opened()
    order = stuck(world)
    order.live = None
    for _ in range(10):
        world.tick()
        fold_all(world)
    assert "UNKNOWN" not in statuses(world)


def test_a_fill_of_a_perpetual_is_no_coin_in_the_spot_ledger() -> None:
    """Contracts are positions: no coin moves, and the wallet loses the fee alone."""
    world = opened()
    order = stuck(world)
    order.venue = "mexc_perpetual"
    live = world.machine.state.live
    before = dict(live.ledger.totals)
    world.machine._book_live(order, Decimal("0.01"), Decimal(40_000), Decimal("0.3"), "USDT")
    assert live.ledger.totals == {**before, "USDT": before["USDT"] - Decimal("0.3")}


def test_a_difference_that_stands_is_told_once() -> None:
    """While trading is frozen for it, each comparison repeats the verdict and not the alarm."""
    world = opened()
    world.exchange.totals["USDT"] -= 100
    world.settle(80)
    alarms = world.alerts().count("RECONCILIATION_DIFFERENCE")
    verdicts = world.verdicts().count("difference")
    world.settle(130)
    assert world.verdicts().count("difference") > verdicts
    assert world.alerts().count("RECONCILIATION_DIFFERENCE") == alarms == 1


def test_what_is_not_traded_here_is_accepted_without_a_booking() -> None:
    """Coins that nobody here holds, and a position of an unknown symbol: no cash and no position moves."""
    world = opened()
    machine: Any = world.machine
    positions: list[dict[str, Any]] = []
    gone = Difference("balance", "BTC", "gone", expected=Decimal(1), actual=Decimal(0))
    assert machine.state.held(BTC) == 0
    assert machine._accept_balance(gone, positions) == 0
    machine._accept_position(Difference("position", "NEWUSDT", "new", actual=Decimal(1)), positions)
    assert positions == []


def test_an_operator_s_word_on_a_live_order_is_booked_in_the_live_books() -> None:
    """UNKNOWN at the exchange, filled by an operator's word with both keys: one fill, in ledger and position."""
    world = opened()
    order = stuck(world)
    for _ in range(70):
        world.tick()
        fold_all(world)
    assert statuses(world)[-1] == "UNKNOWN"
    details = {"order_id": order.order_id, "outcome": "filled", "quantity": Decimal("0.2"), "price": Decimal(40_000)}
    world.control("resolve_order", producer=channels.OPERATOR, by="ada", reason="seen", details=details)
    command = next(e.event for e in reversed(world.entries) if isinstance(e.event, Control))
    fold_all(world)
    reserved = {"quantity": order.quantity, "filled_quantity": Decimal("0.2"), **echo(order)}
    world.control(
        *("resolve_order",),
        producer=channels.RISK,
        by="ada",
        reason="seen",
        causation_id=command.event_id,
        details={**details, **reserved},
    )
    fold_all(world)

    assert statuses(world)[-1] == "FILLED", [e.event for e in world.entries][-3:]
    assert world.machine.state.held(BTC) == Decimal("0.2")
    assert order.live.settled


def echo(order: Any) -> dict[str, Any]:
    """Return what risk says of the order that it has reserved."""
    return {
        "client_order_id": order.client_order_id,
        "venue": order.venue,
        "symbol": order.symbol,
        "side": order.side,
        "purpose": order.purpose,
        "reference_price": order.reference_price,
    }


def test_words_that_say_nothing_new_leave_the_inbox_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer about nobody is taken out and nothing is published."""
    world = World(1)
    world.settle(2)
    shell = shell_of(world, monkeypatch)
    shell._desk = SimpleNamespace(
        look=lambda *_: None, inbox=deque([Placed("nobody", PlaceOutcome(verdict="accepted"))])
    )
    shell._idle()
    assert shell.said == []
    assert not shell._desk.inbox


def test_an_order_carries_the_moment_after_which_it_must_not_leave() -> None:
    """Waiting for its turn at the rate limit may not carry it over ORDER_MAX_AGE_MS: the last look is at the sender."""
    world = opened()
    sent: list[Any] = []
    accepted = PlaceOutcome(verdict="accepted", exchange_order_id="C")
    world.exchange.place = lambda request: (sent.append(request), accepted)[1]  # type: ignore[func-returns-value,method-assign]
    order = world.order()
    world.settle()
    [request] = sent
    assert request.not_after == order.timestamp + world.machine.settings.ORDER_MAX_AGE_MS * 1_000


def test_a_perpetual_order_may_still_arrive_for_ten_seconds() -> None:
    """Its requests carry no window of ours, so the exchange's own ten seconds count; spot counts what was asked for."""
    settings = live_settings(MEXC_RECV_WINDOW_MS=5_000)
    assert settings.arrival_window_us("mexc_spot") == 5_000_000
    assert settings.arrival_window_us("mexc_perpetual") == 10_000_000
    assert live_settings(MEXC_RECV_WINDOW_MS=20_000).arrival_window_us("mexc_perpetual") == 20_000_000
