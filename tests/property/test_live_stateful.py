"""In whatever order: live execution sends an order once, books a fill once, and loses sight of none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stamina
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.cdb_execution.order_state import TERMINAL
from services.cdb_sandbox.faults import Fault, FaultKind
from services.common.instruments import PERPETUAL
from tests.property.effort import examples
from tests.unit.execution.sandbox_world import ORDER_WHERE, SandboxWorld, simulated_time
from tests.unit.execution.test_live_sandbox_chaos import check

SENDING = (
    FaultKind.TIMEOUT_BEFORE,
    FaultKind.TIMEOUT_AFTER,
    FaultKind.LATE,
    FaultKind.CUT_BEFORE,
    FaultKind.CUT_AFTER,
    FaultKind.SERVER_ERROR_BEFORE,
    FaultKind.SERVER_ERROR_AFTER,
    FaultKind.PARTIAL_FILL,
    FaultKind.RATE_LIMIT,
    FaultKind.CLOCK_SKEW,
)
PUSHING = (FaultKind.DUPLICATE, FaultKind.OUT_OF_ORDER, FaultKind.DROP, FaultKind.DISCONNECT)
POINTS = (
    "SUBMITTING is not journalled yet",
    "SUBMITTING is journalled",
    "the order is on its way",
    "the order is there",
    "an answer is not journalled yet",
    "an answer is journalled",
)


@contextmanager
def quick_retries() -> Iterator[None]:
    """Retry without waiting."""
    with stamina.set_testing(True, attempts=3):
        yield


class LiveTrading(RuleBasedStateMachine):
    """The process, the exchange, and everything that can happen to them, in an order that hypothesis chooses."""

    world: SandboxWorld

    @initialize(seed=strategies.integers(0, 9), venue=strategies.sampled_from(["mexc_spot", PERPETUAL]))
    def begin(self, seed: int, venue: Any) -> None:
        """Open the account and compare the books for the first time."""
        self.world = SandboxWorld(seed, venue)
        with self._around():
            self.world.rest()
        self.world.calm, self.world.fault = False, 0.02

    @contextmanager
    def _around(self) -> Iterator[None]:
        with simulated_time(self.world), quick_retries():
            yield

    def _alive(self, action: Any, times: int = 1) -> None:
        with self._around():
            for _ in range(times):
                self.world.alive(action)

    @rule(
        fault=strategies.one_of(strategies.none(), strategies.sampled_from(SENDING)),
        delay_ms=strategies.sampled_from([1_000, 4_900, 9_800]),
        point=strategies.one_of(strategies.none(), strategies.sampled_from(POINTS)),
    )
    def order(self, fault: FaultKind | None, delay_ms: int, point: str | None) -> None:
        """Risk wants an entry or an exit; its order meets a fault, and the process may end at a point of its way."""
        world = self.world
        world.quote()
        if fault is not None:
            where = ORDER_WHERE[world.venue]
            world.sandbox.house.faults.add(Fault(kind=fault, where=where, delay_ms=delay_ms, skew_ms=30_000))
        self._alive(world.catch_up)
        world.trade()
        world.doomed = point
        self._alive(world.catch_up)
        self._alive(lambda: world.work("send"))

    @rule(seconds=strategies.integers(1, 12))
    def go_on(self, seconds: int) -> None:
        """All threads do what they have to do for a while."""
        with self._around():
            for _ in range(seconds):
                self.world.advance(1_000)
                for _ in range(4):
                    self.world.stir()

    @rule(ms=strategies.sampled_from([200, 1_000, 4_000, 15_000]))
    def wait(self, ms: int) -> None:
        """Time passes."""
        with self._around():
            self.world.advance(ms)

    @rule()
    def work(self) -> None:
        """The work loop handles all that there is."""
        self._alive(self.world.catch_up)

    @rule()
    def send(self) -> None:
        """The sending thread does its next job."""
        self._alive(lambda: self.world.work("send"))

    @rule()
    def ask(self) -> None:
        """The asking thread does its next job."""
        self._alive(lambda: self.world.work("ask"))

    @rule(frames=strategies.integers(1, 8))
    def hear(self, frames: int) -> None:
        """The user stream connects or delivers."""
        self._alive(self.world.listen, frames)

    @rule(kind=strategies.sampled_from(PUSHING))
    def spoil_a_push(self, kind: FaultKind) -> None:
        """The next message of the stream meets a fault."""
        self.world.sandbox.house.faults.add(Fault(kind=kind, where="*"))

    @rule()
    def keep(self) -> None:
        """A snapshot is kept."""
        self._alive(self.world.shell.snapshot)

    @rule()
    def resume(self) -> None:
        """An operator resumes."""
        self.world.operator("resume")

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def sent_once(self) -> None:
        """No order is ever sent twice, and none is at the exchange that is not in the journal as SUBMITTING."""
        world = self.world
        assert max(world.sandbox.posts.values(), default=0) <= 1
        submitted = {result.client_order_id for result in world.results if result.status == "SUBMITTING"}
        there = {order.client_order_id for order in world.sandbox.house.exchange.records.orders.values()}
        assert there <= submitted

    def teardown(self) -> None:
        """Let it come to rest: everything has ended, and both ledgers are the same."""
        if not hasattr(self, "world"):
            return
        with self._around():
            self.world.doomed = None
            self.world.rest()
            check(self.world)
        assert {result.status for result in {r.order_id: r for r in self.world.results}.values()} <= TERMINAL


LiveTrading.TestCase.settings = settings(
    max_examples=examples(30), stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLiveTrading = pytest.mark.unit(LiveTrading.TestCase)
