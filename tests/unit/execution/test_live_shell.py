"""The process around live trading: what it refuses, sends and states, with everything outside replaced."""

from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr

from services.cdb_execution import service
from services.cdb_execution.adapters.connect import connect
from services.cdb_execution.adapters.keys import MexcAddresses
from services.cdb_execution.adapters.lanes import Lanes
from services.cdb_execution.adapters.metrics import ExecutionMetrics
from services.cdb_execution.adapters.shells import ExecutionShell, LiveShell, silence
from services.cdb_execution.exchange import PlaceOutcome
from services.cdb_execution.live.intake import Placed
from services.cdb_execution.settings import ExchangeAccess, ExecutionSettings
from services.common import channels
from services.common.errors import SettingsInvalid
from services.common.runtime.shell import MachineShell
from tests.unit.execution.live_world import World, live_settings

pytestmark = pytest.mark.unit


def shell_of(world: World, monkeypatch: pytest.MonkeyPatch, **life: Any) -> Any:
    """Return a shell around a world's machine; what it would publish lands in `said`."""
    shell: Any = LiveShell.__new__(LiveShell)
    monkeypatch.setattr(MachineShell, "_idle", lambda _self: None)
    monkeypatch.setattr(MachineShell, "_start_over", lambda _self: None)
    monkeypatch.setattr(MachineShell, "_published", lambda *_: None)
    monkeypatch.setattr(MachineShell, "run", lambda _self: None)
    said: list[Any] = []

    def publish(_source: str, number: int, events: list[Any]) -> Any:
        said.extend(events)
        return SimpleNamespace(head=1_000 + number)

    shell.said, shell._left_out = said, []
    shell._mode, shell._machine, shell._desk, shell._stated = "live", world.machine, world.desk, 0
    shell._folded, shell._bus = SimpleNamespace(n=world.folded), SimpleNamespace(at_head=True)
    shell._publisher = SimpleNamespace(
        next_number=lambda _source: 7, publish_numbered=publish, patiently=lambda action: action()
    )
    shell._life = SimpleNamespace(
        client=SimpleNamespace(append_fsync=lambda: "always"), clock=SimpleNamespace(announced=set()), **life
    )
    return shell


def test_one_answer_is_stated_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next word of the exchange waits until the last has been folded; what is nothing new is passed over."""
    world = World(1)
    world.settle(2)
    world.quote()
    sent = world.order()
    while world.folded < len(world.entries):
        world.fold()
    world.jobs.clear()
    shell = shell_of(world, monkeypatch)
    world.desk.inbox = deque(
        [
            Placed("nobody", PlaceOutcome(verdict="accepted")),
            Placed(sent.order_id, PlaceOutcome(verdict="accepted", exchange_order_id="C1")),
        ]
    )

    shell._idle()
    shell._idle()

    assert [event.status for event in shell.said] == ["NEW"]
    assert shell._stated == 1_007
    shell._stated, shell._bus.at_head = 0, False
    shell._idle()
    assert len(shell.said) == 1


def test_only_a_new_submitting_is_sent_and_no_entry_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results without a SUBMITTING send nothing; an entry that came while the process was away is not sent."""
    world = World(1)
    world.settle(2)
    world.quote()
    sent: list[Any] = []
    shell = shell_of(world, monkeypatch)
    shell._desk = SimpleNamespace(send=lambda order, why: sent.append((order.order_id, why)))
    order = world.order()
    while world.folded < len(world.entries):
        world.fold()
    entry = world.entries[-2]
    outputs = [event for event in world.results if event.status == "SUBMITTING"]

    shell._published(entry, [])
    shell._published(entry, outputs)
    shell._life.clock.announced.add(channels.EXECUTION)
    shell._published(entry, outputs)

    assert [order_id for order_id, _ in sent] == [order.order_id] * 2
    assert "just started" in sent[0][1]
    assert sent[1][1] is None


def test_live_needs_a_redis_that_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`appendfsync everysec` is refused with the fix."""
    shell = shell_of(World(1), monkeypatch)
    shell._start_over()
    shell._life.client.append_fsync = lambda: "everysec"

    with pytest.raises(SettingsInvalid, match="appendfsync always"):
        shell._start_over()


def test_no_order_leaves_while_redis_may_forget_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that was told to be quicker while the process ran: it ends before it sends."""
    world = World(1)
    world.settle(2)
    world.quote()
    shell = shell_of(world, monkeypatch)
    sent: list[Any] = []
    shell._desk = SimpleNamespace(send=lambda *given: sent.append(given))
    shell._life.clock.announced.add(channels.EXECUTION)
    shell._life.client.append_fsync = lambda: "everysec"
    world.order()
    while world.folded < len(world.entries):
        world.fold()
    submitting = [event for event in world.results if event.status == "SUBMITTING"]

    with pytest.raises(SettingsInvalid, match="appendfsync always"):
        shell._published(world.entries[-2], submitting)

    assert sent == []


def test_a_run_of_another_mode_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has traded in one mode is refused by every other, with the fix."""
    world = World(1)
    world.settle(2)
    world.quote()
    shell = shell_of(world, monkeypatch)
    ExecutionShell._idle(shell)
    shell._mode = "paper"

    with pytest.raises(SettingsInvalid, match="RUN_ID"):
        ExecutionShell._idle(shell)


def test_the_shell_begins_and_ends_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes and stream live as long as the work."""
    shell = shell_of(World(1), monkeypatch)
    done: list[str] = []
    shell._lanes = SimpleNamespace(start=lambda: done.append("lanes"), stop=lambda: done.append("lanes over"))
    shell._stream = SimpleNamespace(start=lambda _deliver: done.append("stream"), stop=lambda: done.append("over"))
    shell.run()
    shell._stream = None
    shell.run()
    assert done == ["lanes", "stream", "over", "lanes over", "lanes", "lanes over"]


def test_the_shell_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A live shell has a desk with the settings of the process, tells when its stream is away, and shows the clocks."""
    checks: dict[str, Any] = {}

    def begin(self: Any, life: Any, *_: Any) -> None:
        self._life, self._metrics = life, ExecutionMetrics(CollectorRegistry(), dict)

    monkeypatch.setattr(MachineShell, "__init__", begin)
    life: Any = SimpleNamespace(
        settings_of=lambda _model: live_settings(),
        check=lambda name, check: checks.update({name: check}),
        clock=SimpleNamespace(stalled=lambda: None),
    )
    world = World(1)
    world.exchange.clock_offset_ms = lambda: -1_500  # type: ignore[method-assign]
    shell: Any = LiveShell(life, world.exchange, None)

    assert "cdb_exchange_clock_offset_seconds -1.5" in generate_latest(shell._metrics.clock_offset).decode()
    life.clock = SimpleNamespace(stalled=lambda: "no event of cdb_ws for 6 s")

    assert checks["user_stream"]() is None
    assert checks["exchange_silence"]() is None
    assert shell._desk.hindrance() == "no event of cdb_ws for 6 s", "the clock is another after a restore"
    shell._desk.interrupted = True
    assert checks["user_stream"]() == "not connected"


def test_lanes_work_beside_each_other_and_a_fault_ends_the_process() -> None:
    """Jobs run in their lane; what fails there is told to the process."""
    failed: list[BaseException] = []
    life: Any = SimpleNamespace(fail=failed.append, log=SimpleNamespace(critical=lambda *_, **__: None))
    lanes, done = Lanes(life), threading.Event()
    lanes.start()

    def break_() -> None:
        raise RuntimeError("broken")

    lanes.dispatch("ask", break_)
    lanes.dispatch("ask", done.set)
    assert done.wait(5)
    lanes.stop()

    assert isinstance(failed[0], RuntimeError)
    assert Lanes.wall_us() > 1_700_000_000_000_000


def test_keys_open_the_account_of_the_venue() -> None:
    """Nothing is asked of the exchange yet."""
    access = ExchangeAccess(MEXC_API_KEY=SecretStr("k"), MEXC_API_SECRET=SecretStr("s"))
    exchange, stream = connect(ExecutionSettings(TRADING_MODE="live"), access, MexcAddresses())
    assert exchange is not None
    assert stream is not None


@pytest.mark.parametrize("mode", ["paper", "shadow", "live"])
def test_the_service_drives_the_shell_of_its_mode(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paper has no account; shadow has one without a stream, live one with it."""
    made: list[Any] = []
    monkeypatch.setattr(
        service, "ExecutionShell", lambda *a: SimpleNamespace(run=lambda: made.append(("paper", len(a))))
    )
    monkeypatch.setattr(
        service, "LiveShell", lambda *a: SimpleNamespace(run=lambda: made.append(("live", a[2] is not None)))
    )
    monkeypatch.setattr(service, "run_service", lambda _name, work, **given: made.append(given) or work(life))
    access = ExchangeAccess(MEXC_API_KEY=SecretStr("k"), MEXC_API_SECRET=SecretStr("s"), CONFIRM_LIVE_TRADING="yes")
    models: dict[type, Any] = {
        ExecutionSettings: ExecutionSettings(TRADING_MODE=mode),
        ExchangeAccess: access,
        MexcAddresses: MexcAddresses(),
    }
    life: Any = SimpleNamespace(settings_of=models.__getitem__)

    service.main({})
    made[0]["before_lease"](life)

    assert made[1] == {"paper": ("paper", 1), "shadow": ("live", False), "live": ("live", True)}[mode]


def test_a_ban_is_told_by_name() -> None:
    """A short wish of the exchange is nothing; a ban of minutes or days makes the service unwell, and says how long."""
    assert silence(9.9) is None
    assert silence(259_200) == "the exchange has banned us for another 259200 s: nothing is asked, and no order leaves"
