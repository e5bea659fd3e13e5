"""Any interleaving on perpetuals: every ledger agrees, books balance, nothing flips, limits hold at every approval."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claire.kernel import deciding_machines
from services.common.decimals import use_fixed_context
from services.common.events import Control, Event, Order, OrderResult
from services.common.perpetuals import FUNDING_INTERVAL_US, is_liquidated, maintenance_fraction, settlements_between
from tests.property.effort import examples
from tests.unit.claire.test_perpetual_pipeline import KEY, START_US, Pipeline, balanced

pytestmark = [pytest.mark.unit, pytest.mark.risk]

MOVES = ["0.9995", "1.0005", "0.999", "1.001", "0.99", "1.01", "0.961", "1.039", "0.93", "1.07", "0.85", "1.18"]
WEIGHTS = [10, 10, 10, 10, 4, 4, 3, 3, 1, 1, 1, 1]


class Market:
    """Draws what happens next and checks what must hold."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.pipeline = Pipeline(
            LEVERAGE=self.draw.choice([1, 5, 20, 20]),
            MAX_LEVERAGE=20,
            ENTRY_SPACING_SEC=1,
            MAX_DAILY_DRAWDOWN_PCT="0.9",
            CIRCUIT_BREAKER_THRESHOLD_PCT="0.95",
        )
        self.mid = Decimal(50_000)
        self.checked = 0
        self.seen: dict[str, Decimal] = {}
        self.held = Decimal(0)

    def step(self) -> None:
        """Let one thing happen."""
        pipeline, roll = self.pipeline, self.draw.random()
        if roll < 0.5:
            move = Decimal(self.draw.choices(MOVES, WEIGHTS)[0])
            self.mid = max(Decimal(1_000), min(Decimal(500_000), (self.mid * move).quantize(Decimal("0.1"))))
            pipeline.quote(str(self.mid), rate=self.draw.choice([None, "0.0001", "-0.0003"]))
        elif roll < 0.75:
            pipeline.signal(self.draw.choice(["buy", "sell"]), str(self.mid))
        elif roll < 0.85:
            pipeline.signal(self.draw.choice(["buy", "sell"]), str(self.mid), "exit")
        elif roll < 0.97:
            pipeline.tick(self.draw.choice([1, 1, 1, 3, 12]))
        elif roll < 0.985:
            pipeline.tick(self.draw.choice([3_600, 30_000]))
        else:
            self._restart()
        self._check()

    def _restart(self) -> None:
        """Restore all three machines from their dumps."""
        dumps = [machine.dump() for machine in self.pipeline.machines]
        restored = deciding_machines()
        for machine, dumped in zip(restored, dumps, strict=True):
            machine.restore(dumped)
            assert machine.dump() == dumped
        self.pipeline.machines = restored
        self.pipeline.kernel.replace(restored)

    def _check(self) -> None:
        pipeline = self.pipeline
        for event in pipeline.journal[self.checked :]:
            self._look(event)
        self.checked = len(pipeline.journal)
        assert pipeline.held == self.held
        ledger = pipeline.risk.state.account.portfolio
        position = ledger.positions.get(KEY)
        if position is not None:
            theirs = pipeline.execution.state.perpetuals[KEY].position
            assert (position.quantity, position.cost, position.margin) == (theirs.quantity, theirs.cost, theirs.margin)
            assert (position.margin > 0) == (position.quantity != 0)
        reserved = pipeline.risk.state.reservations
        working = {order.order_id: order.remaining for order in pipeline.execution.state.working}
        assert {order.order_id: order.remaining for order in reserved.orders.values()} == working
        assert reserved.pending_reducing(KEY) <= abs(self.held)

    def _look(self, event: Event) -> None:
        """Count what is held from the journal alone, and look at each order as it leaves."""
        if isinstance(event, OrderResult):
            before = self.seen.get(event.order_id, Decimal(0))
            self.seen[event.order_id] = event.filled_quantity
            signed = (event.filled_quantity - before) * (1 if event.side == "BUY" else -1)
            assert self.held * (self.held + signed) >= 0, "no order turns a position around"
            self.held += signed
        elif isinstance(event, Control) and event.action == "liquidation":
            assert event.details["quantity"] == self.held
            self.held = Decimal(0)
        elif isinstance(event, Order):
            assert event.reduce_only == (event.purpose != "entry")
            assert event.quantity % Decimal("0.0001") == 0
            if event.reduce_only:
                assert (event.side == "SELL") == (self.held > 0)
                assert event.quantity <= abs(self.held)
            else:
                assert self.held == 0
                equity = self.pipeline.risk.state.account.equity
                assert equity is not None
                assert event.price is not None

    def end(self) -> None:
        """Check what the whole run must have kept."""
        balanced(self.pipeline.projection)
        funded = self.pipeline.of("funding")
        assert len({fact["settlement"] for fact in funded}) == len(funded), "once per settlement"
        assert len(funded) <= len(settlements_between(START_US, self.pipeline.now + FUNDING_INTERVAL_US))
        perpetual = self.pipeline.execution.state.perpetuals.get(KEY)
        spec = self.pipeline.risk.settings.spec(KEY)
        if perpetual is not None and perpetual.mark is not None and spec is not None:
            held = perpetual.position
            assert not is_liquidated(held, perpetual.mark, maintenance_fraction(held.quantity, spec))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(7), deadline=None)
def test_a_wild_day_on_perpetuals(seed: int) -> None:
    """120 steps of quotes, jumps, signals in both directions, ticks, settlements and restarts keep every invariant."""
    use_fixed_context()
    market = Market(seed)
    for _ in range(120):
        market.step()
    market.end()


@pytest.mark.slow
def test_the_wild_days_do_see_everything() -> None:
    """Longs, shorts, stops, guards, funding and liquidations all come up: or the property above proves little."""
    use_fixed_context()
    seen: set[Any] = set()
    for seed in range(8):
        market = Market(seed)
        for _ in range(120):
            market.step()
        market.end()
        for event in market.pipeline.journal:
            if isinstance(event, Order):
                seen.add((event.purpose, event.side))
            elif isinstance(event, Control):
                seen.add(event.action)
    assert {("entry", "BUY"), ("entry", "SELL"), ("exit", "BUY"), ("exit", "SELL")} <= seen
    assert {("stop_loss", "BUY"), ("stop_loss", "SELL")} <= seen
    assert {"funding", "liquidation"} <= seen
    assert {("liquidation_guard", "BUY"), ("liquidation_guard", "SELL")} & seen
