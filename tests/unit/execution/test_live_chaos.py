"""Live trading under every fault and every kill: sent once, every fill booked once, nothing untracked."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_execution.order_state import TERMINAL
from tests.unit.execution.live_world import World

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def run(seed: int, steps: int = 60) -> World:
    """Let a world with faults and kills live, then let it come to rest."""
    world = World(seed, fault=0.25, kill=0.04)
    world.settle(3)
    random = world.random
    for _ in range(steps):
        action = random.randrange(10)
        if action == 0:
            world.tick(random.choice([200, 1_000, 3_000]))
        elif action == 1:
            world.quote()
        elif action == 2:
            held = world.machine.state.held("mexc_spot:BTCUSDT")
            sell = random.random() < 0.5 and held > Decimal("0.1")
            world.order("SELL", "0.1", "exit") if sell else world.order()
        elif action == 3:
            world.push(lose=0.3)
        elif action in {4, 5}:
            world.alive(world.work)
        elif action == 6:
            world.alive(world.state)
        else:
            world.alive(world.fold)
    world.kill = world.exchange.fault = 0.0
    world.exchange.pushes.clear()
    world.settle(100)
    return world


def check(world: World) -> None:
    """Compare the exchange's ledger of truth with ours."""
    booked = [
        (result.trade_id, result.last_quantity, result.last_price, result.fee, result.fee_currency)
        for result in world.results
        if result.last_quantity
    ]
    truth = [(t.trade_id, t.quantity, t.price, t.fee, t.fee_currency) for t in world.exchange.booked]
    assert sorted(booked) == sorted(truth)
    assert max(world.exchange.posts.values(), default=0) <= 1
    last = {result.order_id: result.status for result in world.results}
    assert set(last.values()) <= TERMINAL
    assert not world.machine.state.working
    for name, report in world.exchange.orders.items():
        mine = [result for result in world.results if result.client_order_id == name]
        assert mine[-1].filled_quantity == report.filled_quantity
    ours = world.machine.state.live.ledger.totals
    assert {c: ours[c] for c in ("USDT", "BTC")} == {c: world.exchange.totals[c] for c in ("USDT", "BTC")}
    assert world.verdicts()[-1] == "agreed"


def test_books_are_the_exchange_s_whatever_fails_and_whenever_it_is_killed() -> None:
    """After any seeded history of faults and kills fills, quantities, fees and balances are the exchange's."""
    for seed in range(6):
        check(run(seed))


@pytest.mark.slow
def test_many_more_histories() -> None:
    """The same for some six hundred other histories; more of them: change the ranges."""
    for seed in (*range(6, 20), *range(1_000, 1_600)):
        check(run(seed))
