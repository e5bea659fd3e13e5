"""Perpetuals, strays and an operator's word in the live books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.exchange import Balance, OrderReport, PositionReport
from services.common import channels
from services.common.timestamps import SECOND_US
from tests.unit.execution.execution_desk import START_US
from tests.unit.execution.live_world import World

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def test_a_perpetual_position_that_nobody_opened_is_a_difference_and_may_be_taken_over() -> None:
    """A position at the first snapshot is named; accepted, it becomes ours at its entry price."""
    world = World(1, VENUE="mexc_perpetual")
    held = PositionReport(
        symbol="BTCUSDT", quantity=Decimal("0.1"), entry_price=Decimal(40_000), margin=Decimal(4_000), leverage=1,
        liquidation_price=None,
    )  # fmt: skip
    world.exchange.positions = lambda: [held]  # type: ignore[method-assign]
    wallet = Balance(venue="mexc_perpetual", currency="USDT", free=Decimal(6_000), locked=Decimal(4_000))
    world.exchange.balances = lambda: [wallet]  # type: ignore[method-assign]
    world.settle(3)
    assert world.machine.state.live.difference_names() == ["position:BTCUSDT"]
    named: dict[str, Any] = {"accept": ["position:BTCUSDT"]}
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="mine", details=named)
    world.settle(3)
    assert world.machine.state.held("mexc_perpetual:BTCUSDT") == Decimal("0.1")
    assert world.verdicts()[-1] == "agreed"


def test_an_order_of_ours_that_lives_on_is_cancelled() -> None:
    """What has ended here and still works at the exchange is a difference, and is cancelled there."""
    world = World(1)
    world.settle(2)
    world.quote()
    world.order()
    while world.folded < len(world.entries):
        world.fold()
    world.jobs.clear()
    [order] = world.machine.state.working
    world.settle(60)
    assert order.status == "EXPIRED"
    world.exchange.orders[order.client_order_id] = OrderReport(
        venue="mexc_spot", symbol="BTCUSDT", side="BUY", client_order_id=order.client_order_id,
        exchange_order_id="C9", status="NEW", quantity=order.quantity, filled_quantity=Decimal(0), filled_notional=None,
        time=START_US + SECOND_US,
    )  # fmt: skip
    world.settle(70)
    assert order.live is not None
    assert order.live.cancels >= 1
    assert world.machine.state.trading_state == "FROZEN"
