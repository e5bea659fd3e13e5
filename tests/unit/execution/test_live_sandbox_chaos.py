"""Live execution against the sandbox under every fault and every kill: the exchange's ledger and ours are the same."""

from __future__ import annotations

import os
from collections import Counter
from decimal import Decimal

import pytest

from services.cdb_execution.order_state import TERMINAL
from services.cdb_sandbox.core.orders import OrderStatus
from services.common.instruments import PERPETUAL, Venue
from tests.unit.execution.sandbox_world import SandboxWorld, simulated_time

pytestmark = [pytest.mark.unit, pytest.mark.risk, pytest.mark.chaos, pytest.mark.no_cover]

SEEDS = int(os.environ.get("LIVE_CHAOS_SEEDS", "300"))
"""How many histories `make test-local` plays: what one processor does in about twenty seconds. More: set it."""
FEW = (0, 1, 6, 11, 15, 18)
"""These have found weaknesses (test_live_sandbox_weaknesses)."""


def play(seed: int, steps: int = 220) -> SandboxWorld:
    """Let a history happen and come to rest; the seed says on which venue, with how many faults and kills."""
    venue: Venue = PERPETUAL if seed % 2 else "mexc_spot"
    world = SandboxWorld(seed, venue)
    with simulated_time(world):
        world.rest()
        world.fault = world.random.choice([0.0, 0.2, 0.5])
        world.kill = world.random.choice([0.0, 0.01, 0.04])
        world.live(steps)
        if seed % 20 == 3:
            world.lose_exchange()
            check_frozen(world)
        world.rest()
        check(world)
        if seed in FEW or seed % 5 == 0:
            world.close()
            world.rest()
            check(world)
            assert abs(world.machine.state.held(world.key)) < Decimal("0.0005"), f"{world.unrest()}: nothing was closed"
        if seed % 10 == 0:
            world.fold_again()
    return world


def check(world: SandboxWorld) -> None:
    """Compare the exchange's ledger of truth with ours."""
    exchange, results = world.sandbox.house.exchange, world.results
    assert max(world.sandbox.posts.values(), default=0) <= 1, "an order was sent twice"
    orders = {order.client_order_id: order for order in exchange.records.orders.values()}
    assert len(orders) == len(exchange.records.orders), "two orders of one client id"
    last = {result.order_id: result for result in results}
    assert {result.status for result in last.values()} <= TERMINAL, world.unrest()
    ours = {result.client_order_id: result for result in last.values()}
    assert set(orders) <= set(ours), "the exchange has an order that we do not know"
    for name, result in ours.items():
        order = orders.get(name)
        if order is None:
            assert result.status in {"REJECTED", "EXPIRED"}, f"{name} is {result.status}, the exchange has none"
            continue
        assert result.filled_quantity == order.filled * order.listing.unit_value, name
        assert (result.status == "FILLED") == (order.status is OrderStatus.FILLED), f"{name}: {result.status}"
        assert result.status in {"FILLED", "CANCELED"}, f"{name} is {result.status}, the exchange has it"
    check_fills(world)
    check_holdings(world)
    assert "difference" not in world.verdicts(), "nobody else trades, so there can be no difference"


def check_frozen(world: SandboxWorld) -> None:
    """What works while the exchange is silent is UNKNOWN, and trading was frozen because of it."""
    state = world.machine.state
    assert {order.status for order in state.working} <= {"UNKNOWN"}, world.unrest()
    assert all(order.live is not None and order.live.frozen for order in state.working), world.unrest()


def check_fills(world: SandboxWorld) -> None:
    """Each fill stands once in the journal, with its numbers."""
    unit = world.sandbox.listing.unit_value
    truth = Counter(
        (f.trade_id, f.client_order_id, f.side, f.quantity * unit, f.price, f.fee, f.fee_asset, f.maker)
        for f in world.sandbox.house.exchange.records.fills
    )
    booked = Counter(
        (r.trade_id, r.client_order_id, r.side, r.last_quantity, r.last_price, r.fee, r.fee_currency,
         r.liquidity == "maker")
        for r in world.results if r.last_quantity
    )  # fmt: skip
    assert booked == truth


def check_holdings(world: SandboxWorld) -> None:
    """Balances and positions are what the exchange has."""
    exchange, state = world.sandbox.house.exchange, world.machine.state
    if world.venue == PERPETUAL:
        position = exchange.margins["claire"].position(world.sandbox.listing)
        assert state.held(world.key) == (Decimal(0) if position is None else position.base)
        return
    wallet, totals = exchange.wallets["claire"], state.live.ledger.totals
    for asset in ("USDT", "BTC", "MX"):
        assert totals[asset] == wallet.free[asset] + wallet.locked[asset], asset


def test_fills_orders_and_balances_are_the_exchange_s() -> None:
    """After any seeded history of faults and kills both ledgers agree, and no order was sent twice."""
    for seed in FEW:
        play(seed)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_many_more_histories_and_a_death_at_every_point() -> None:
    """The same for many more, in which the process has died at each point around sending an order."""
    deaths: Counter[str] = Counter()
    for seed in range(100, 100 + SEEDS):
        deaths += play(seed).deaths

    assert set(deaths) >= {
        "SUBMITTING is not journalled yet",
        "SUBMITTING is journalled",
        "the order is on its way",
        "the order is there",
        "an answer is not journalled yet",
        "an answer is journalled",
    }
