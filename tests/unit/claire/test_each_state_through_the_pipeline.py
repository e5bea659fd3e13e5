"""Each trading state through the real machines: what it forbids, execution never sees; what it lets through, fills.

The same on running processes: tests/integration/operator/test_operator_process.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claire.drill.desk import Desk, new_machines
from claire.kernel import Kernel
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.decimals import ONE
from services.common.events import Control, Order
from services.common.journal.entry import Cause, JournalId

pytestmark = [pytest.mark.unit, pytest.mark.risk]

NOON = 1_621_425_600_000_000
HELD, CALM, WANTED = "BTCUSDT", "ETHUSDT", "SOLUSDT"


def positioned() -> Desk:
    """Two positions, trading ACTIVE."""
    machines = new_machines()
    kernel = Kernel(machines)
    started = Control(
        event_id="s", timestamp=NOON, producer=channels.WS, action="started", service=channels.WS, run_id="run"
    )
    list(kernel.step(channels.WS, Cause("feed", 1), [started]))
    settings = {channels.CORE: CoreSettings(), channels.RISK: RiskSettings(), channels.EXECUTION: ExecutionSettings()}
    list(kernel.announce(settings, code_version="test"))
    desk = Desk(machines, JournalId(1, kernel.head))
    desk.quote(HELD, CALM, WANTED)
    desk.hold(HELD, ONE / 2)
    desk.hold(CALM, ONE / 20)
    return desk


def fall_to(desk: Desk, cause: str) -> None:
    """Let the price fall until a limit is reached, while nobody buys."""
    while cause not in desk.causes:
        desk.prices[HELD] *= ONE - desk.risk.settings.PRICE_COLLAR_PCT / 2
        desk.quote(HELD, CALM, WANTED, liquid=False)
    desk.quote(CALM, WANTED)


def reducing(desk: Desk) -> None:
    """Lose the day's limit."""
    fall_to(desk, "daily_loss")


def tripped(desk: Desk) -> None:
    """Lose the breaker's threshold."""
    fall_to(desk, "breaker")


def halted(desk: Desk) -> None:
    """Halt as an operator."""
    desk.command("halt")


def frozen(desk: Desk) -> None:
    """Freeze as an operator."""
    desk.command("halt", freeze=True)


@pytest.mark.parametrize(
    ("restrict", "state", "layer", "exits", "stops"),
    [
        (reducing, "REDUCING", "daily_drawdown", True, True),
        (tripped, "HALTED", "circuit_breaker", True, True),
        (halted, "HALTED", "circuit_breaker", False, True),
        (frozen, "FROZEN", "circuit_breaker", False, False),
    ],
)
def test_a_state_lets_through_what_trading_md_says(
    restrict: Callable[[Desk], None], state: str, layer: str, exits: bool, stops: bool
) -> None:
    """No entry reaches execution in any state; exits and stops do as the table says; flatten always does."""
    desk = positioned()
    restrict(desk)
    assert desk.state == state

    before = len(desk.of(Order))
    entry = desk.signal(WANTED, "entry")
    desk.quote(WANTED)
    assert not entry.approved
    assert layer in entry.reason
    assert [order for order in desk.of(Order)[before:] if order.purpose == "entry"] == []
    assert desk.held(WANTED) == 0

    desk.signal(CALM, "exit")
    desk.quote(CALM)
    assert (desk.held(CALM) == 0) is exits

    desk.prices[HELD] *= ONE - desk.risk.settings.PRICE_COLLAR_PCT / 2
    for _ in range(15):
        desk.quote(HELD)
    assert (desk.held(HELD) == 0) is stops

    desk.command("flatten", "ada", "home")
    for _ in range(5):
        desk.quote(HELD, CALM)
    assert desk.held(HELD) == desk.held(CALM) == 0
