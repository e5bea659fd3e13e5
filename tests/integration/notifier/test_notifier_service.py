"""The notifier between a real journal and a real web server: at least once, through failures and restarts."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import redis

from claire.embedded import EmbeddedRedis
from services.cdb_notifier import service
from services.cdb_notifier.adapters import courier
from services.cdb_notifier.adapters.door import Door
from services.cdb_notifier.adapters.memory import Memory
from services.cdb_notifier.machine import NotifierMachine
from services.cdb_notifier.outbox import Outbox
from services.cdb_notifier.planner import Rules
from services.cdb_notifier.settings import NotifierSettings
from services.common import channels
from services.common.errors import SettingsInvalid
from services.common.events import Alert, Control, Event
from services.common.identity import derive_id
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, JournalId
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.runtime import run_clock
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.run_clock import RunClock
from services.common.settings import Infrastructure
from tests.integration.notifier.receiver import Receiver
from tests.integration.runtime.feeder import Feeder

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[3]


def eventually(condition: Callable[[], Any], timeout_sec: float = 60.0) -> Any:
    """Return the first truthy value of `condition`; fails after the deadline."""
    deadline = time.monotonic() + timeout_sec
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Pipeline:
    """The rest of the system: its clock, and alerts of risk."""

    def __init__(self, infra: Infrastructure) -> None:
        self.feeder = Feeder(infra)
        self.lease = Lease(infra)
        self.fence = self.lease.acquire(channels.RISK, "risk")
        self.client = JournalClient(infra, name="risk")
        self.number = 0
        self.feeder.begin()
        self.feeder.tick()

    def publish(self, model: type[Event], **fields: Any) -> None:
        """Publish an event of risk."""
        self.number += 1
        event = model(
            event_id=derive_id("run-1", channels.RISK, self.number), timestamp=self.feeder.now,
            producer=channels.RISK, **fields,
        )  # fmt: skip
        self.client.publish(channels.RISK, self.fence, Cause("alert", self.number), [event])

    def alert(self, code: str, level: str = "CRITICAL") -> None:
        """Raise an alert."""
        self.publish(Alert, level=level, code=code, message=f"{code} happened", context={"n": str(self.number)})

    def start_day(self, day: str, equity: int) -> None:
        """Begin a day."""
        details = {"day": day, "equity": Decimal(equity), "peak_equity": Decimal(equity)}
        self.publish(Control, action="start_of_day", service=channels.RISK, details=details)

    def close(self) -> None:
        """Give everything back (a test may have cut the connections)."""
        for give_back in (self.feeder.close, self.lease.release, self.lease.close, self.client.close):
            with suppress(redis.ConnectionError):
                give_back()


class Running:
    """The service in a thread of this process."""

    def __init__(self, environ: dict[str, str], archive: Any = None) -> None:
        door = Door()
        self.life = Lifecycle(channels.NOTIFIER, environ, (NotifierSettings,))
        if archive is not None:
            self.life.archive = archive
        self.life.open(routes=lambda _, app: door.hang(app))
        self.notifier = service.Notifier(self.life, door)
        self._thread = threading.Thread(target=self.notifier.run)
        self._thread.start()

    def get(self, path: str, body: bytes | None = None) -> tuple[int, str]:
        """Return status and text of an HTTP answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.life.http_port}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self) -> None:
        """Stop in good order; a second time does nothing."""
        if self.life.stop.is_set():
            return
        self.life.stop.set()
        self._thread.join(10)
        self.life.close()


@pytest.fixture
def environ(embedded_redis: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings of a notifier on an open, empty journal; it tries again quickly."""
    monkeypatch.setattr(courier, "FIRST_DELAY_SEC", 0.01)
    values = {**embedded_redis.environment, "STATE_DIR": str(tmp_path), "LOG_FORMAT": "json"}
    open_bus(Infrastructure.model_validate(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        values["HTTP_PORT"] = str(probe.getsockname()[1])
    return values


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Iterator[Pipeline]:
    """The rest of the system."""
    rest = Pipeline(Infrastructure.model_validate({k: v for k, v in environ.items() if k.startswith("REDIS")}))
    yield rest
    rest.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where messages go."""
    server = Receiver().start()
    yield server
    server.stop()


@pytest.fixture
def run(environ: dict[str, str], receiver: Receiver) -> Iterator[Callable[..., Running]]:
    """Starts the service with the receiver as its target; what was started is stopped."""
    started: list[Running] = []

    def start(archive: Any = None, **settings: str) -> Running:
        started.append(Running({**environ, "NOTIFY_URLS": receiver.url, **settings}, archive))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_an_alert_reaches_the_receiver_once_also_over_a_restart(
    run: Callable[..., Running], pipeline: Pipeline, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before the first start and after it is told; a second start tells nothing twice; no address shows."""
    pipeline.alert("EXIT_LATCHED")
    first = run()
    eventually(lambda: len(receiver.got) == 1)
    pipeline.alert("ORDER_UNKNOWN")
    eventually(lambda: len(receiver.got) == 2)
    eventually(lambda: not first.notifier._outbox.state.waiting)
    shown = first.get("/status")[1] + first.get("/metrics")[1] + first.get("/health")[1] + caplog.text
    assert first.get("/health")[0] == 200
    first.stop()

    second = run()
    pipeline.alert("LIQUIDATION_NEAR")
    eventually(lambda: len(receiver.got) == 3)

    assert receiver.titles == ["CRITICAL EXIT_LATCHED", "CRITICAL ORDER_UNKNOWN", "CRITICAL LIQUIDATION_NEAR"]
    assert '"name": "1 (json)"' in shown
    assert 'cdb_notifications_sent_total{level="CRITICAL"} 2.0' in shown
    assert "hunter2" not in shown + second.get("/status")[1]


@pytest.mark.parametrize("down", ["refusing", "away"])
def test_what_the_receiver_does_not_take_is_kept_and_sent_when_it_does(
    run: Callable[..., Running], pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, down: str
) -> None:
    """A 5xx or nobody there: health says so, a restart loses nothing, and then everything arrives, the worst first."""
    monkeypatch.setattr(service, "FAILING_SEC", 0.0)
    receiver.status = 503
    if down == "away":
        receiver.stop()
    first = run()
    pipeline.alert("MARKS_STALE", "WARNING")
    pipeline.alert("EXIT_LATCHED")
    eventually(lambda: len(first.notifier._outbox.state.waiting) == 2)
    eventually(lambda: first.get("/health")[0] == 503)
    assert "2 messages wait" in first.get("/health")[1]
    first.stop()
    receiver.got.clear()

    second = run()
    receiver.status = 200
    if down == "away":
        receiver.start()
    eventually(lambda: receiver.titles[-2:] == ["CRITICAL EXIT_LATCHED", "WARNING MARKS_STALE"])
    eventually(lambda: not second.notifier._outbox.state.waiting)
    eventually(lambda: second.get("/health")[0] == 200)


def test_the_days_summary_comes_with_its_picture(
    run: Callable[..., Running], pipeline: Pipeline, receiver: Receiver
) -> None:
    """The receiver gets a PNG; when it refuses three times, the message comes without it."""
    running = run()
    pipeline.start_day("2021-05-19", 1000)
    pipeline.start_day("2021-05-20", 1010)
    eventually(lambda: not running.notifier._outbox.state.waiting and receiver.got)
    receiver.status = 413
    pipeline.start_day("2021-05-21", 1000)
    eventually(lambda: len(receiver.got) >= 5)
    receiver.status = 200
    eventually(lambda: not running.notifier._outbox.state.waiting)

    picture = receiver.got[0]["attachments"][0]
    assert receiver.titles[0] == "2021-05-19: +10.00 USDT (+1.00 %)"
    assert (picture["filename"], picture["mimetype"]) == ("equity.png", "image/png")
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")
    assert receiver.titles[-1] == "2021-05-20: -10.00 USDT (-0.99 %)"
    assert receiver.got[-1]["attachments"] == []


def test_a_webhook_of_alertmanager_is_told(run: Callable[..., Running], receiver: Receiver) -> None:
    """It is answered when it survives, and sent; nonsense is refused."""
    running = run()
    body = {"version": "4", "alerts": [{"status": "firing", "labels": {"alertname": "A", "severity": "critical"}}]}

    assert running.get("/alertmanager", json.dumps(body).encode())[0] == 200
    assert running.get("/alertmanager", b"{}")[0] == 400
    eventually(lambda: receiver.titles == ["CRITICAL A"])


def test_without_addresses_it_is_healthy_and_says_so(run: Callable[..., Running], pipeline: Pipeline) -> None:
    """Nobody to tell is no fault: it reads along, and its memory is there when an address is given."""
    running = run(NOTIFY_URLS="", NOTIFY_QUIET_HOURS="22:00-07:00")
    pipeline.alert("EXIT_LATCHED")
    eventually(lambda: running.notifier._machine.folded.seen == 1)

    assert running.get("/health")[0] == 200
    status = json.loads(running.get("/status")[1])
    assert status["notifications"]["delivery"] == "nothing is sent: NOTIFY_URLS is empty"
    assert status["notifications"]["quiet_hours"] == "22:00-07:00 UTC"
    assert running.notifier._outbox.state.waiting == []


def test_it_knows_whether_the_clock_stands(
    run: Callable[..., Running], pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ClockStalled never fires for it while the clock runs, nor after the run's end; after a restart it still knows."""
    monkeypatch.setattr(run_clock, "START_GRACE_SEC", 0.0)

    def stalled(running: Running) -> bool:
        return "cdb_clock_stalled 1.0" in running.get("/metrics")[1]

    first = run()
    eventually(lambda: "cdb_event_time_seconds 1." in first.get("/metrics")[1])
    assert not stalled(first)
    monkeypatch.setattr(run_clock, "STALL_SEC", -1.0)
    assert stalled(first)
    pipeline.feeder.finish()
    eventually(lambda: not stalled(first))
    first.stop()

    second = run()
    eventually(lambda: second.notifier._bus.at_head)
    assert "cdb_run_finished 1.0" in second.get("/metrics")[1]
    assert not stalled(second)


class Nothing:
    """An archive that has lost what is asked for."""

    def read(self, _after: int, _count: int) -> list[Any]:
        """Return nothing."""
        return []

    def close(self) -> None:
        """Nothing to close."""


def test_events_that_nobody_has_any_more_are_told(
    run: Callable[..., Running], pipeline: Pipeline, receiver: Receiver, embedded_redis: EmbeddedRedis
) -> None:
    """The stream was trimmed while the notifier was off and the archive is empty: it says so and goes on."""
    first = run()
    eventually(lambda: first.notifier._bus.at_head)
    first.stop()
    pipeline.alert("EXIT_LATCHED")
    for _ in range(3):
        pipeline.feeder.tick()
    with embedded_redis.client() as client:
        client.xtrim("journal", maxlen=1, approximate=False)

    run(archive=Nothing())
    eventually(lambda: receiver.titles == ["CRITICAL NOTIFIER_MISSED_EVENTS"])
    pipeline.alert("ORDER_UNKNOWN")

    eventually(lambda: receiver.titles[1:] == ["CRITICAL ORDER_UNKNOWN"])
    assert receiver.got[0]["message"].startswith("journal entries 3 to 6 are gone")


@pytest.mark.parametrize("place", [JournalId(1, 999), JournalId(7, 2), JournalId(0, 0)])
def test_a_place_that_redis_has_lost_is_taken_back(
    run: Callable[..., Running], environ: dict[str, str], pipeline: Pipeline, receiver: Receiver, place: JournalId
) -> None:
    """After a lost tail it goes on where the journal and its memory agree."""
    folder = Path(environ["STATE_DIR"]) / channels.NOTIFIER
    folder.mkdir()
    Memory(folder).save(place, NotifierMachine(Rules(), lambda _: 0), Outbox({}), RunClock())

    running = run()
    eventually(lambda: running.notifier._bus.at_head)
    pipeline.alert("EXIT_LATCHED")

    eventually(lambda: receiver.titles == ["CRITICAL EXIT_LATCHED"])


def test_the_journal_loses_its_tail_while_the_notifier_reads(
    run: Callable[..., Running], pipeline: Pipeline, receiver: Receiver, embedded_redis: EmbeddedRedis
) -> None:
    """Its connection breaks and the head has gone back: it starts over with what is there."""
    running = run()
    eventually(lambda: running.notifier._bus.at_head)
    with embedded_redis.client() as client:
        client.hset("bus", "head", "1")
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)
        eventually(lambda: running.notifier._bus.cursor.n == 1)
        client.hset("bus", "head", "2")
    pipeline.client.close()
    pipeline.client = JournalClient(running.life.infra, name="risk")
    pipeline.alert("EXIT_LATCHED")

    eventually(lambda: receiver.titles == ["CRITICAL EXIT_LATCHED"])


def test_a_wrong_address_stops_the_start(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the text says which address without showing it."""
    code = service.main({**environ, "NOTIFY_URLS": "nosuch://hunter2"})

    assert code == 2
    said = capsys.readouterr().err
    assert "address 1 is none" in said
    assert "hunter2" not in said
    with pytest.raises(SettingsInvalid):
        Lifecycle(channels.NOTIFIER, {**environ, "NOTIFY_BURST": "0"}, (NotifierSettings,))


@pytest.mark.slow
@pytest.mark.chaos
def test_killed_between_sending_and_marking_it_sends_again(
    environ: dict[str, str], pipeline: Pipeline, receiver: Receiver, tmp_path: Path
) -> None:
    """The receiver has the message, the answer never comes, kill -9: the next start sends it again, none is lost."""
    log = tmp_path / "log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "services.cdb_notifier.service"], cwd=ROOT, stdout=out, stderr=out,
                env={**os.environ, **environ, "NOTIFY_URLS": receiver.url},
            )  # fmt: skip

    receiver.may_answer.clear()
    process = start()
    try:
        pipeline.alert("EXIT_LATCHED")
        pipeline.alert("ORDER_UNKNOWN")
        eventually(lambda: len(receiver.got) == 1)
        process.kill()
        process.wait()
        receiver.may_answer.set()
        process = start()
        eventually(lambda: len(receiver.got) == 3)
        eventually(lambda: b'"waiting":[]' in (tmp_path / "cdb_notifier" / "notifier.json").read_bytes())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0

    assert receiver.titles == ["CRITICAL EXIT_LATCHED", "CRITICAL EXIT_LATCHED", "CRITICAL ORDER_UNKNOWN"]
    assert "hunter2" not in log.read_text()
