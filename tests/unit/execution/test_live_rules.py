"""What the exchange publishes of orders is kept before an order is journalled as being sent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_execution.adapters.order_rules import broken_rule
from services.cdb_execution.codes import RejectCode
from services.cdb_execution.exchange import OrderRequest, OrderRules
from services.cdb_execution.live.order_rules import check_rules, rules_told
from services.common import channels
from services.common.errors import ExchangeUnreachable
from services.common.events import Control
from services.common.mexc.instruments import Listing, spot_listing
from tests.unit.execution.execution_desk import Desk
from tests.unit.execution.live_world import RULES, World
from tests.unit.execution.mexc_desk import Script, perpetual, spot
from tests.unit.execution.test_live_machine import opened, stuck, whole
from tests.unit.mexc.published import spot_row

pytestmark = [pytest.mark.unit, pytest.mark.risk]


@pytest.mark.parametrize(
    ("rules", "order", "why"),
    [
        ({"closed": "status 2"}, {}, "is closed: status 2"),
        ({"sides": ("SELL",)}, {}, "takes no BUY now"),
        ({"lot_size": Decimal("0.03")}, {}, "no multiple of the exchange's lot 0.03"),
        ({"tick_size": Decimal(50)}, {}, "no multiple of the exchange's tick 50"),
        ({"market_orders": False}, {"order_type": "MARKET", "price": None}, "takes no orders without a price"),
        ({"min_quantity": Decimal("0.3")}, {}, "quantity 0.2 is under the exchange's 0.3"),
        ({"max_quantity": Decimal("0.1")}, {}, "quantity 0.2 is over the exchange's 0.1"),
        ({"min_notional": Decimal(9_000)}, {}, "value 8016.2 is under the exchange's 9000"),
        ({"max_notional": Decimal(8_000)}, {}, "value 8016.2 is over the exchange's 8000"),
        ({"max_notional": Decimal(7_999)}, {"order_type": "MARKET", "price": None}, "value 8000 is over"),
    ],
)
def test_each_rule_refuses_by_a_sentence_with_the_numbers(rules: Any, order: Any, why: str) -> None:
    """State, side, type, grid, smallest and largest order: an order that breaks one is refused, any other is not."""
    desk = Desk()
    entry = desk.order_of(desk.decision(0), **order)

    refusal = check_rules(entry, {"BTCUSDT": replace(RULES, **rules)})

    assert refusal is not None
    assert refusal.code == RejectCode.EXCHANGE_RULE
    assert why in refusal.detail
    assert check_rules(entry, {"BTCUSDT": RULES}) is None


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"closed": "status 2"}, {}),
        ({"sides": ("SELL",)}, {}),
        ({"lot_size": Decimal("0.03")}, {}),
        ({"tick_size": Decimal(7)}, {}),
        ({"market_orders": False}, {"order_type": "MARKET", "price": None}),
        ({"min_quantity": Decimal(5)}, {}),
        ({"max_quantity": Decimal("0.0001")}, {}),
        ({"min_notional": Decimal(10**6)}, {}),
        ({"max_notional": Decimal(2)}, {}),
    ],
)
def test_a_rule_reads_the_same_wherever_it_is_found(changes: dict[str, Any], more: dict[str, Any]) -> None:
    """Before SUBMITTING or by the client that writes it down for the exchange: one sentence."""
    desk = Desk()
    entry = desk.order_of(desk.decision(0), **more)
    names = ("client_order_id", "venue", "symbol", "side", "order_type", "time_in_force", "quantity", "price")
    request = OrderRequest(**{name: getattr(entry, name) for name in names})
    spec = spot_listing(spot_row()).spec.model_copy(update=changes)

    refusal = check_rules(entry, {"BTCUSDT": rules_told(spec)})
    broken = broken_rule(request, Listing(name="BTCUSDT", spec=spec))

    assert refusal is not None
    assert broken is not None
    assert broken.detail == refusal.detail


def test_an_exit_is_held_only_to_what_cannot_be_written() -> None:
    """Closed, or not for its side: an exit goes and the exchange says it; off the grid it cannot go."""
    desk = Desk()
    leaving = desk.order_of(desk.decision(0, side="SELL", purpose="stop_loss"))

    assert check_rules(leaving, {}) is None
    assert check_rules(leaving, {"BTCUSDT": replace(RULES, closed="status 2", sides=())}) is None
    assert check_rules(leaving, {"BTCUSDT": replace(RULES, lot_size=Decimal("0.03"))}) is not None


def test_an_order_that_breaks_a_rule_is_refused_before_it_is_journalled_as_sent() -> None:
    """No SUBMITTING, no request: REJECTED with the rule; what the exchange changes counts some minutes later."""
    world = opened()
    world.exchange.rules = lambda _symbols: [replace(RULES, closed="status 2")]  # type: ignore[method-assign]
    world.tick(300_000)
    world.quote()
    world.settle(3)
    world.order()
    world.settle(2)

    [result] = world.results
    assert (result.status, result.reason) == ("REJECTED", "EXCHANGE_RULE: BTCUSDT is closed: status 2")
    assert not world.exchange.posts


def test_rules_are_told_when_they_are_new_and_anew_after_a_start() -> None:
    """The journal holds them once, again after a start of the process, and entries wait for them."""

    def told(world: World) -> int:
        accounts = (entry.event for entry in world.entries)
        return sum("rules" in e.details for e in accounts if isinstance(e, Control) and e.action == "account")

    world = opened()
    world.settle(130)
    assert told(world) == 1

    world.exchange.rules = lambda _symbols: []  # type: ignore[method-assign]
    world.control("started", producer=channels.EXECUTION, service=channels.EXECUTION, run_id="run-1")
    world.settle(2)
    world.order()
    world.settle()
    assert str(world.results[-1].reason).startswith("RULES_UNKNOWN")


def test_a_comparison_goes_on_where_the_rules_cannot_be_read() -> None:
    """Without an answer about rules the account is compared, and the rules are asked for again."""
    world = World(1)

    def silent(_symbols: object) -> list[OrderRules]:
        raise ExchangeUnreachable("no answer")

    readable, world.exchange.rules = world.exchange.rules, silent  # type: ignore[method-assign]
    world.settle(2)
    assert world.verdicts() == ["opened"]
    assert not world.machine.state.live.rules

    world.exchange.rules = readable  # type: ignore[method-assign]
    world.settle(70)
    assert world.machine.state.live.rules == {"BTCUSDT": RULES}
    whole(world)
    world.quote()
    world.order()
    world.settle()
    assert [result.status for result in world.results][:1] == ["SUBMITTING"]


def test_mexc_s_listings_are_told_in_our_words() -> None:
    """Spot and perpetual: steps, bounds, sides, whether MARKET is taken, and whether it is open."""
    [on_spot] = spot(Script()).rules(["BTCUSDT"])
    [contract] = perpetual(Script()).rules(["BTCUSDT"])

    assert (on_spot.closed, on_spot.sides, on_spot.max_quantity) == (None, ("BUY", "SELL"), None)
    assert contract.lot_size == contract.min_quantity == Decimal("0.0001")
    assert contract.max_quantity is not None
    assert contract.market_orders


def test_the_clocks_are_told_as_they_were_measured() -> None:
    """0 before the first measurement, then what the exchange's clock is ahead of ours."""
    near, far = spot(Script()), perpetual(Script())
    assert (near.clock_offset_ms(), far.clock_offset_ms()) == (0, 0)
    near.caller.clock.measure()
    assert near.clock_offset_ms() == 250


bounds = st.fixed_dictionaries(
    {
        "lot_size": st.sampled_from([Decimal("0.000001"), Decimal("0.0001"), Decimal("0.03")]),
        "min_quantity": st.sampled_from([Decimal("0.000001"), Decimal("0.5")]),
        "max_quantity": st.sampled_from([None, Decimal("0.7")]),
        "min_notional": st.sampled_from([Decimal(1), Decimal(20_000)]),
    }
)


@given(quantity=st.decimals("0.000001", "1", places=6), price=st.decimals("39000", "40081", places=2), published=bounds)
def test_what_passes_can_be_written_and_is_within_all_bounds(
    quantity: Decimal, price: Decimal, published: dict[str, Any]
) -> None:
    """Whatever the numbers: an order that is let through is on the grid and within every bound."""
    desk = Desk(configured=False)
    rules = replace(RULES, **published)
    order = desk.order_of(desk.decision(0, quantity=str(quantity)), price=price)
    within = quantity >= rules.min_quantity and (rules.max_quantity is None or quantity <= rules.max_quantity)

    passed = check_rules(order, {"BTCUSDT": rules}) is None

    assert passed == (quantity % rules.lot_size == 0 and within and quantity * price >= rules.min_notional)


def test_an_order_that_works_is_not_judged_again() -> None:
    """Rules that change while an order works change nothing of it."""
    world = opened()
    order = stuck(world)
    world.machine.state.live.rules = {}
    world.tick()
    world.fold()
    assert order.status == "SUBMITTING"
