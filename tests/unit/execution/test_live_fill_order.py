"""Fills that are told in another order than they happened: the same money, split otherwise, and no difference."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_sandbox.faults import Fault, FaultKind
from services.common.instruments import PERPETUAL
from tests.unit.execution.sandbox_world import ORDER_WHERE, SandboxWorld, simulated_time
from tests.unit.execution.test_live_sandbox_chaos import check

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def test_an_exit_that_is_heard_of_after_the_next_entry_is_no_difference() -> None:
    """The exchange realised against the old entry price, the books against the new: in all it is the same."""
    world = SandboxWorld(3, PERPETUAL)
    faults = world.sandbox.house.faults
    with simulated_time(world):
        world.rest()
        world.quote("20")
        world.order("BUY", Decimal("0.2"))
        world.rest()
        faults.add(Fault(kind=FaultKind.CUT_AFTER, where=ORDER_WHERE[PERPETUAL]))
        faults.add(Fault(kind=FaultKind.DROP, where="*order*", count=3))
        faults.add(Fault(kind=FaultKind.CUT_BEFORE, where="GET *", count=None))
        world.mid += 500
        world.quote("20")
        world.order("SELL", Decimal("0.1"), "exit")
        world.stir()
        faults.add(Fault(kind=FaultKind.DROP, where="*position*", count=None))
        world.order("BUY", Decimal("0.1"))
        for _ in range(5):
            world.stir()
        told = [result.side for result in world.results if result.last_quantity]
        apart = world.machine.state.live.portfolio.positions[world.key].entry_price
        there = world.sandbox.house.exchange.margins["claire"].position(world.sandbox.listing)

        world.rest()

        check(world)
    assert told == ["BUY", "BUY"], "the exit's fill is not known yet"
    assert apart is not None
    assert there is not None
    ours = world.machine.state.live.portfolio.positions[world.key]
    assert [result.side for result in world.results if result.last_quantity] == ["BUY", "BUY", "SELL"]
    assert abs((ours.entry_price or 0) - there.entry) <= Decimal("0.1"), "the exchange's entry price is taken over"
    assert world.machine.state.perpetuals[world.key].position.cost == ours.cost
    assert world.machine.state.trading_state == "ACTIVE"
