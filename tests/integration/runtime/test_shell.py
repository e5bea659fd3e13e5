"""The machine shell as a process against a real Valkey: restart, kill, stop, faults, foreign messages."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest
from counting_machine import POISON
from feeder import Feeder

from claire.embedded import EmbeddedRedis
from services.common import channels
from services.common.events import Alert, Control, MarketData, Signal
from services.common.journal.entry import Entry
from services.common.journal.opening import open_bus
from services.common.runtime.snapshots import SnapshotStore
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration

MACHINE = Path(__file__).with_name("counting_machine.py")
ROOT = Path(__file__).parents[3]


def eventually(condition: Callable[[], Any], timeout_sec: float = 60.0) -> Any:
    """Return the first truthy value of `condition`; fails after the deadline."""
    deadline = time.monotonic() + timeout_sec
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """The counting machine as a child process."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._environ = {**os.environ, "PYTHONPATH": path, **environ, "HTTP_PORT": str(self.port)}
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, service: str = channels.CORE, **settings: str) -> Process:
        """Start it, with settings besides."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(MACHINE), service], env={**self._environ, **settings}, stdout=log, stderr=log
            )
        return self

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to stop; returns its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def wait(self, timeout_sec: float = 20.0) -> int:
        """Wait for its end; returns its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_sec)

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of an HTTP answer, (0, {}) without one."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=3) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except (URLError, OSError):
            return 0, {}

    def text(self) -> str:
        """Return its log."""
        return self.log.read_text()


@pytest.fixture
def infra(embedded_redis: EmbeddedRedis, infrastructure: Infrastructure) -> Infrastructure:
    """A journal that is open, on an empty Valkey."""
    open_bus(infrastructure)
    return infrastructure


@pytest.fixture
def feeder(infra: Infrastructure) -> Iterator[Feeder]:
    """The feed."""
    feeder = Feeder(infra)
    yield feeder
    feeder.close()


@pytest.fixture
def core(infra: Infrastructure, environment: dict[str, str], short_folder: Path) -> Iterator[Process]:
    """The machine's process, not started."""
    process = Process(environment, short_folder / "core.log")
    yield process
    if process.process is not None and process.process.poll() is None:
        assert process.terminate() == 0


def journal(feeder: Feeder) -> list[Entry]:
    """Return the whole journal."""
    entries: list[Entry] = []
    while page := feeder.client.read(len(entries), 1000):
        entries += page
    return entries


def signals(feeder: Feeder) -> list[Signal]:
    """Return all signals in the journal."""
    return [entry.event for entry in journal(feeder) if isinstance(entry.event, Signal)]


def announced(feeder: Feeder) -> list[Control]:
    """Return what cdb_core said when it joined."""
    return [
        entry.event for entry in journal(feeder) if isinstance(entry.event, Control) and entry.producer == channels.CORE
    ]


def caught_up(feeder: Feeder) -> bool:
    """Whether core has handled everything."""
    head = feeder.client.head()
    return head is not None and feeder.client.cursors().get(channels.CORE, 0) >= head.n


def test_announces_itself_once_with_its_settings_and_then_decides(feeder: Feeder, core: Process) -> None:
    """Nothing before the clock exists; then `started` and `config`, and from there on outputs with entry as cause."""
    core.start()
    eventually(lambda: core.get("/health")[0] == 200)
    assert journal(feeder) == []
    feeder.begin()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(1, 2, 3, 4, 5, 6)
    eventually(lambda: len(signals(feeder)) == 2)
    started, config = announced(feeder)
    assert (started.action, config.action) == ("started", "config")
    assert config.details["settings"] == {"SIGNAL_EVERY": 3, "VENUE": "mexc_perpetual"}
    entries = journal(feeder)
    caused_by = [entry.cause for entry in entries if isinstance(entry.event, Signal)]
    third_and_sixth = [entry.id.n for entry in entries if isinstance(entry.event, MarketData)][2::3]
    assert caused_by == [str(n) for n in third_and_sixth]


@pytest.mark.slow  # make test keeps to three minutes
def test_restart_after_sigterm_goes_on_from_its_snapshot(feeder: Feeder, core: Process, infra: Infrastructure) -> None:
    """A graceful stop leaves a durable snapshot at the head; the next start restores it and says nothing twice."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(1, 2, 3, 4)
    eventually(lambda: len(signals(feeder)) == 1)
    eventually(lambda: caught_up(feeder))
    assert core.terminate() == 0
    head = feeder.client.head()
    durable = feeder.client.durable()[channels.CORE]
    newest = next(SnapshotStore(infra.STATE_DIR / channels.CORE).valid(lambda _: True))
    assert newest.id == durable
    feeder.price(5, 6)
    core.start()
    eventually(lambda: len(signals(feeder)) == 2)
    eventually(lambda: len(announced(feeder)) == 3)
    assert f'"snapshot": "{durable}"' in core.text()
    assert [event.action for event in announced(feeder)] == ["started", "config", "started"]
    assert head is not None
    assert durable.n <= head.n


def test_changed_settings_become_a_new_config_event_at_the_head(feeder: Feeder, core: Process) -> None:
    """A restart folds under the journalled settings first, then puts the changed environment into force."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(1, 2, 3)
    eventually(lambda: len(signals(feeder)) == 1)
    assert core.terminate() == 0
    core.start(SIGNAL_EVERY="2")
    eventually(lambda: len(announced(feeder)) == 4)
    feeder.price(4)
    eventually(lambda: len(signals(feeder)) == 2)
    assert announced(feeder)[-1].details["settings"] == {"SIGNAL_EVERY": 2, "VENUE": "mexc_perpetual"}


@pytest.mark.chaos
@pytest.mark.slow  # five starts of a process
def test_killed_at_any_moment_it_decides_everything_exactly_once(feeder: Feeder, core: Process) -> None:
    """SIGKILL in the middle of a stream, four times, with frequent snapshots: the outputs of an undisturbed run."""
    feeder.begin()
    core.start(SNAPSHOT_EVERY="7")
    eventually(lambda: len(announced(feeder)) == 2)
    for moment in (0.0, 0.01, 0.03, 0.07):
        for price in range(1, 61):
            feeder.price(price)
        time.sleep(moment)
        core.kill()
        core.start(SNAPSHOT_EVERY="7")
    eventually(lambda: len(signals(feeder)) >= 80)
    eventually(lambda: caught_up(feeder))
    assert [signal.reason for signal in signals(feeder)] == [f"number {count}" for count in range(3, 241, 3)]
    assert [entry.id.n for entry in journal(feeder)] == list(range(1, len(journal(feeder)) + 1))


@pytest.mark.chaos
@pytest.mark.slow  # a budget of wall time: not beside three other processes
def test_caught_up_within_two_seconds_after_kill(feeder: Feeder, core: Process) -> None:
    """A killed service is back and has handled what came meanwhile within the budget (interpreter start included)."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    core.kill()
    for price in range(1, 301):
        feeder.price(price)
    began = time.monotonic()
    core.start()
    eventually(lambda: len(signals(feeder)) == 100)
    assert time.monotonic() - began < 6.0  # 2 s on a machine of its own; here others compute at the same time


@pytest.mark.slow  # make test keeps to three minutes
def test_corrupt_snapshot_means_folding_again(feeder: Feeder, core: Process, infra: Infrastructure) -> None:
    """A snapshot with a flipped byte is thrown away with the reason in the log; the fold begins before it."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(1, 2, 3, 4)
    eventually(lambda: len(signals(feeder)) == 1)
    assert core.terminate() == 0
    for path in (infra.STATE_DIR / channels.CORE).glob("snapshot-*.json"):
        path.write_bytes(path.read_bytes().replace(b'"BTCUSDT":4', b'"BTCUSDT":5'))
    core.start()
    feeder.price(5, 6)
    eventually(lambda: len(signals(feeder)) == 2)
    assert "checksum does not match" in core.text()
    assert "folding_from_the_beginning" in core.text().rpartition("snapshot_discarded")[2]


def test_fault_halts_with_an_alert_and_never_skips_the_entry(feeder: Feeder, core: Process) -> None:
    """An entry that the machine cannot digest: CRITICAL alert, exit code 3; the next start stops at it again."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(POISON, 1, 2, 3)
    assert core.wait() == 3
    assert core.start().wait() == 3
    assert signals(feeder) == []
    alerts = [entry.event for entry in journal(feeder) if isinstance(entry.event, Alert)]
    assert {(alert.level, alert.code) for alert in alerts} == {("CRITICAL", "SERVICE_FAULT")}
    assert "666 is not a price" in alerts[0].message


def test_wrong_settings_are_all_named_and_nothing_starts(environment: dict[str, str], short_folder: Path) -> None:
    """Exit code 2 and one line a mistake, over all settings models."""
    process = Process(environment, short_folder / "core.log")
    process.start(SIGNAL_EVERY="often", BUS_MODE="carrier-pigeon", SNAPSHOT_EVERY="0")
    assert process.wait() == 2
    for name in ("SIGNAL_EVERY=often", "BUS_MODE=carrier-pigeon", "SNAPSHOT_EVERY=0"):
        assert name in process.text()


@pytest.mark.slow
def test_second_instance_on_the_same_folder_is_refused(feeder: Feeder, core: Process, short_folder: Path) -> None:
    """While one lives, another gives up with exit code 4 and the first goes on undisturbed."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    second = Process(dict(core._environ), short_folder / "second.log").start()
    assert second.wait() == 4
    assert "in use by another process" in second.text()
    feeder.price(1, 2, 3)
    eventually(lambda: len(signals(feeder)) == 1)


def test_taken_over_by_an_instance_elsewhere_it_exits(feeder: Feeder, core: Process, infra: Infrastructure) -> None:
    """When another fence was given (its lease ran out unnoticed), the older instance exits with code 4."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    with EmbeddedRedisClient(infra) as client:
        client.delete("lease:cdb_core")
        client.hincrby("fence", "cdb_core", 1)
        client.set("lease:cdb_core", f"{int(client.hget('fence', 'cdb_core'))}:stranger", px=60_000)
    assert core.wait() == 4
    assert "fence" in core.text()


class EmbeddedRedisClient:
    """A plain client of the test's Valkey."""

    def __init__(self, infra: Infrastructure) -> None:
        self._infra = infra

    def __enter__(self) -> Any:
        import redis

        self._client = redis.Redis(unix_socket_path=self._infra.REDIS_SOCKET)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def test_foreign_messages_are_admitted_or_buried_with_an_alert(
    feeder: Feeder, core: Process, infra: Infrastructure
) -> None:
    """Market data by plain PUBLISH are journalled by core and handled; garbage becomes a dead letter and an alert."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    with EmbeddedRedisClient(infra) as client:
        for price in (50_000, 50_001, 50_002):
            client.publish(
                "market_data", json.dumps({"symbol": "BTC_USDT", "price": price, "timestamp": 1_621_382_400})
            )
        client.publish("market_data", '{"symbol": "BTCUSDT", "price": NaN}')
    eventually(lambda: len(signals(feeder)) == 1)
    eventually(feeder.client.dead_letters)
    entries = journal(feeder)
    foreign = [entry for entry in entries if isinstance(entry.event, MarketData)]
    assert [entry.cause for entry in foreign] == ["foreign:1", "foreign:2", "foreign:3"]
    assert {entry.producer for entry in foreign} == {channels.CORE}
    assert {entry.event.venue for entry in foreign if isinstance(entry.event, MarketData)} == {"mexc_perpetual"}
    assert all(entry.event.timestamp == feeder.now for entry in foreign)
    eventually(lambda: any(isinstance(entry.event, Alert) for entry in journal(feeder)))
    alert = next(entry.event for entry in journal(feeder) if isinstance(entry.event, Alert))
    assert alert.code == "FOREIGN_MESSAGE_INVALID"
    assert "NaN" in alert.message


@pytest.mark.security
def test_a_forbidden_channel_raises_one_critical_alert_a_minute(
    feeder: Feeder, core: Process, infra: Infrastructure
) -> None:
    """Orders published past the journal are buried, never acted upon; the alert is held back for 60 s of `now`."""
    feeder.begin()
    core.start(channels.EXECUTION)
    eventually(lambda: core.get("/health")[0] == 200)
    with EmbeddedRedisClient(infra) as client:
        eventually(lambda: client.publish("orders", '{"type": "order", "symbol": "BTCUSDT"}'))  # healthy, not yet heard
        client.publish("risk_decisions", "{}")
    eventually(lambda: len(feeder.client.dead_letters()) == 2)

    def alerts() -> list[Alert]:
        return [entry.event for entry in journal(feeder) if isinstance(entry.event, Alert)]

    eventually(lambda: len(alerts()) == 1)
    assert (alerts()[0].level, alerts()[0].code) == ("CRITICAL", "FOREIGN_MESSAGE_FORBIDDEN")
    feeder.now += 61_000_000
    feeder.tick()
    eventually(lambda: core.get("/status")[1].get("now", "").startswith("2021-05-19T00:01:02"))
    with EmbeddedRedisClient(infra) as client:
        client.publish("orders", "{}")
    eventually(lambda: len(alerts()) == 2)
    assert {entry.channel for entry in journal(feeder)} == {"control", "alerts"}


@pytest.mark.slow
def test_a_journal_short_of_memory_holds_entries_back_until_there_is_room(
    environment: dict[str, str], short_folder: Path
) -> None:
    """Above 80 % of memory an entry waits: unhealthy, one CRITICAL alert; with room again it is published once."""
    server = EmbeddedRedis(short_folder / "redis", maxmemory="24mb").start()
    environ = {**environment, **server.environment}
    infra = Infrastructure.model_validate({k: v for k, v in environ.items() if k in Infrastructure.model_fields})
    open_bus(infra)
    feeder = Feeder(infra)
    feeder.begin()
    core = Process(environ, short_folder / "core.log").start()
    try:
        eventually(lambda: len(announced(feeder)) == 2)
        core.kill()
        feeder.price(1, 2, 3)
        with EmbeddedRedisClient(infra) as client:
            full = 0.88 * 24 * 1024 * 1024
            while client.info("memory")["used_memory"] < full:
                client.rpush("ballast", b"x" * 65_536)
        for _ in range(40):
            feeder.tick()  # the journal looks at its memory now and then only
        core.start()
        eventually(lambda: "journal_memory" in core.get("/health")[1].get("failing", {}))
        assert signals(feeder) == []
        with EmbeddedRedisClient(infra) as client:
            client.delete("ballast")
        eventually(lambda: len(signals(feeder)) == 1)
        eventually(lambda: "journal_memory" not in core.get("/health")[1].get("failing", {"journal_memory": ""}))
        alerts = [entry.event for entry in journal(feeder) if isinstance(entry.event, Alert)]
        assert [(alert.level, alert.code) for alert in alerts] == [("CRITICAL", "JOURNAL_MEMORY")]
        assert core.terminate() == 0
    finally:
        if core.process is not None and core.process.poll() is None:
            core.kill()
        feeder.close()
        server.stop()


def test_told_to_stop_while_redis_is_away(core: Process, infra: Infrastructure, redis_server: EmbeddedRedis) -> None:
    """A service that never reached Redis says so in `/health` and still stops at once with exit code 0."""
    core.start(REDIS_SOCKET="/nowhere/valkey.sock")
    eventually(lambda: "redis" in core.get("/health")[1].get("failing", {}))
    assert core.get("/status")[1]["infrastructure"]["REDIS_SOCKET"] == "/nowhere/valkey.sock"
    assert core.terminate() == 0


def test_an_orphan_stops_by_itself(feeder: Feeder, core: Process) -> None:
    """When the `claire up` that started it is gone, a service does not go on alone."""
    feeder.begin()
    core.start(SUPERVISOR_PID="1")
    assert core.wait() == 0
    assert "the process that started this one is gone" in core.text()


def test_an_orphan_stops_while_redis_is_away_too(core: Process, infra: Infrastructure) -> None:
    """Nobody will bring Redis back for it: it gives its port free instead of waiting for ever."""
    core.start(SUPERVISOR_PID="1", REDIS_SOCKET="/nowhere/valkey.sock")
    assert core.wait() == 0
    assert "the process that started this one is gone" in core.text()


def test_a_taken_port_ends_the_start(core: Process, infra: Infrastructure) -> None:
    """Exit code 2, with port and fix on stderr."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", core.port))
        taken.listen()
        assert core.start().wait() == 2
    assert f"cannot listen on 127.0.0.1:{core.port}" in core.text()


@pytest.mark.slow
def test_health_tells_what_fails_and_status_what_it_does(feeder: Feeder, core: Process) -> None:
    """503 with the failing check when the clock stands still, 200 again when it ticks; `/status` shows the machine."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.tick()
    feeder.tick()
    feeder.price(1, 2)
    eventually(lambda: core.get("/status")[1].get("machine") == {"seen": {"BTCUSDT": 2}})
    status = core.get("/status")[1]
    assert status["run_id"] == "run-1"
    assert status["journal"]["lag"] == 0
    assert status["config"] == {"SIGNAL_EVERY": 3, "VENUE": "mexc_perpetual"}
    eventually(lambda: "clock" in core.get("/health")[1].get("failing", {}), 12)
    assert core.get("/health")[0] == 503
    feeder.tick()
    eventually(lambda: core.get("/health")[0] == 200)
    feeder.finish()
    eventually(lambda: core.get("/status")[1].get("finished") is True)


def test_new_run_resets_the_machine_and_is_joined_again(feeder: Feeder, core: Process) -> None:
    """`started` with another run_id: counts begin anew and the service announces itself in the new run."""
    feeder.begin()
    core.start()
    eventually(lambda: len(announced(feeder)) == 2)
    feeder.price(1, 2)
    feeder.run_id = "run-2"
    feeder.begin()
    eventually(lambda: len(announced(feeder)) == 3)
    feeder.price(1, 2, 3)
    eventually(lambda: len(signals(feeder)) == 1)
    assert signals(feeder)[0].reason == "number 3"
    assert announced(feeder)[-1].run_id == "run-2"


@pytest.mark.parametrize("mode", ["pubsub", "xread"])
@pytest.mark.chaos
def test_redis_killed_and_restarted(mode: str, environment: dict[str, str], short_folder: Path) -> None:
    """Valkey dies by SIGKILL in the middle; once it is back and opened, everything is decided exactly once."""
    server = EmbeddedRedis(short_folder / "redis", appendfsync="always").start()
    environ = {**environment, **server.environment, "BUS_MODE": mode}
    infra = Infrastructure.model_validate({k: v for k, v in environ.items() if k in Infrastructure.model_fields})
    open_bus(infra)
    feeder = Feeder(infra)
    feeder.begin()
    core = Process(environ, short_folder / "core.log").start()
    try:
        eventually(lambda: len(announced(feeder)) == 2)
        for price in range(1, 41):
            feeder.price(price)
        server.kill()
        eventually(lambda: "redis" in core.get("/health")[1].get("failing", {}))
        server.start()
        open_bus(infra)
        feeder = feeder.again()
        for price in range(41, 61):
            feeder.price(price)
        eventually(lambda: len(signals(feeder)) == 20)
        assert [signal.reason for signal in signals(feeder)] == [f"number {count}" for count in range(3, 61, 3)]
        eventually(lambda: core.get("/health")[0] == 200)
        assert core.terminate() == 0
    finally:
        if core.process is not None and core.process.poll() is None:
            core.kill()
        feeder.client.close()
        feeder._lease.close()
        server.stop()


@pytest.mark.chaos
def test_a_lost_tail_sends_the_machine_back_to_what_is_left(environment: dict[str, str], short_folder: Path) -> None:
    """Redis comes back without its last entries: the fold goes back to what still exists and goes on from there."""
    server = EmbeddedRedis(short_folder / "redis", appendfsync="always").start()
    environ = {**environment, **server.environment}
    infra = Infrastructure.model_validate({k: v for k, v in environ.items() if k in Infrastructure.model_fields})
    open_bus(infra)
    feeder = Feeder(infra)
    feeder.begin()
    core = Process(environ, short_folder / "core.log").start()
    try:
        eventually(lambda: len(announced(feeder)) == 2)
        feeder.price(1, 2, 3, 4)
        eventually(lambda: len(signals(feeder)) == 1)
        eventually(lambda: caught_up(feeder))
        kept = (short_folder / "redis" / "appendonlydir").glob("*.incr.aof")
        lengths = {path: path.stat().st_size for path in kept}
        feeder.price(5, 6)
        eventually(lambda: len(signals(feeder)) == 2)
        server.kill()
        for path, length in lengths.items():
            os.truncate(path, length)
        server.start()
        open_bus(infra)
        feeder = feeder.again()
        feeder.price(7, 8)
        eventually(lambda: len(signals(feeder)) == 2)
        assert [signal.price for signal in signals(feeder)] == [3, 8]
        assert "starting_over" in core.text()
        assert core.terminate() == 0
    finally:
        if core.process is not None and core.process.poll() is None:
            core.kill()
        feeder.client.close()
        feeder._lease.close()
        server.stop()
