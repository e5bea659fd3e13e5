"""A cdb_ws process on a real Valkey, and stand-ins for the services that it waits for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claire.embedded import EmbeddedRedis
from services.common.channels import TURNSTILE_ORDER, WS
from services.common.events import Control
from services.common.identity import derive_id
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_SEC = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of a condition; fail when it takes too long."""
    deadline = time.monotonic() + DEADLINE_SEC
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not in {DEADLINE_SEC} s: {what}")


class Feed:
    """One journal, and the cdb_ws process that feeds it."""

    def __init__(self, server: EmbeddedRedis, folder: Path, **settings: str) -> None:
        self.server = server
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {
            **{name: str(value) for name, value in server.environment.items()},
            "STATE_DIR": str(folder / "state"),
            "HTTP_PORT": str(self.port),
            "LOG_FORMAT": "json",
            "RUN_ID": "test-run",
            **settings,
        }
        self.infra = Infrastructure.model_validate(
            {name: value for name, value in self.environment.items() if name in Infrastructure.model_fields}
        )
        self.process: subprocess.Popen[str] | None = None
        open_bus(self.infra)
        self.client = JournalClient(self.infra, name="test")
        self._leases: list[Lease] = []

    def start(self, **settings: str) -> Feed:
        """Start the process."""
        self.environment.update(settings)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cdb_ws.service"],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit code and what the process said."""
        assert self.process is not None
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        code, self.process = self.process.returncode, None
        return code, output

    def output(self) -> tuple[int, str]:
        """Wait for the process to end by itself; return the exit code and what it said."""
        assert self.process is not None
        output, _ = self.process.communicate(timeout=DEADLINE_SEC)
        code, self.process = self.process.returncode, None
        return code, output

    def entries(self, after: int = 0) -> list[Entry]:
        """Return the journal."""
        entries: list[Entry] = []
        while page := self.client.read(after + len(entries), 1_000):
            entries += page
        return entries

    def played(self) -> list[tuple[str, str, bytes]]:
        """Return (channel, cause, bytes) of everything that the feed published."""
        return [(e.channel, e.cause, e.data) for e in self.entries() if e.cause.startswith("feed:")]

    def wait_for_control(self, action: str, *, count: int = 1) -> Control:
        """Return the last of `count` control events of this action by cdb_ws."""

        def found() -> list[Control]:
            events = [e.event for e in self.entries() if e.channel == "control" and e.producer == WS]
            return [e for e in events if isinstance(e, Control) and e.action == action][count - 1 :]

        control = self.wait_until(found, f"{count} {action}")[0]
        assert isinstance(control, Control)
        return control

    def wait_for_head(self, n: int) -> None:
        """Wait until the journal has n entries."""

        def reached() -> bool:
            head = self.client.head()
            return head is not None and head.n >= n

        self.wait_until(reached, f"entry {n}")

    def assert_alive(self) -> None:
        """Fail with what the process said when it has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"cdb_ws ended with {self.process.returncode}:\n{self.process.communicate()[0]}")

    def join(self, *services: str) -> dict[str, int]:
        """Let services take part in the run, as their processes would; returns their fences."""
        run_id = self.wait_for_control("started").run_id
        assert run_id is not None
        fences: dict[str, int] = {}
        for service in services or TURNSTILE_ORDER:
            lease = Lease(self.infra)
            self._leases.append(lease)
            fences[service] = lease.acquire(service, f"test-{service}")
            started = Control(
                event_id=derive_id(run_id, service, "announce", 1, 0),
                timestamp=self.wait_for_control("started").timestamp,
                producer=service,
                action="started",
                service=service,
                run_id=run_id,
            )
            self.client.publish(service, fences[service], Cause("announce", 1), [started])
        return fences

    def wait_until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of a condition, while the process lives."""

        def held() -> Any:
            self.assert_alive()
            return condition()

        return wait_for(held, what)

    def snapshots(self) -> list[Path]:
        """Return the snapshots of the process."""
        return list(self.infra.STATE_DIR.glob("**/snapshot-*.json"))

    def reopen(self) -> None:
        """Open the bus again, as the writer does after Redis was started."""
        open_bus(self.infra)
        self.client.close()
        self.client = JournalClient(self.infra, name="test")

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the process by HTTP."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                code, text = reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            code, text = error.code, error.read().decode()
        except OSError:
            return 0, None
        return code, text if path == "/metrics" else json.loads(text)

    def close(self) -> None:
        """End everything that was started here."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        for lease in self._leases:
            lease.close()
        self.client.close()


@pytest.fixture
def feed(embedded_redis: EmbeddedRedis, tmp_path: Path) -> Iterator[Callable[..., Feed]]:
    """Make a feed on an empty journal; everything ends with the test."""
    made: list[Feed] = []

    def make(*, server: EmbeddedRedis = embedded_redis, **settings: str) -> Feed:
        with server.client() as client:
            client.flushall()
        made.append(Feed(server, tmp_path / str(len(made)), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def tick_file(tmp_path: Path) -> Path:
    """Half a minute of trades and quotes of two symbols: 600 rows, a fixed function of the row's number."""
    path = tmp_path / "ticks.csv"
    rows = ["ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size"]
    for number in range(600):
        symbol, base = (("BTCUSDT", 60_000), ("ETHUSDT", 2_600))[number % 2]
        cents = (number * 37) % 100
        price = f"{base + number % 7}.{cents:02d}"
        trade = f"{price},0.{number:04d}1,{('buy', 'sell')[number % 2]}" if number % 3 else ",,"
        rows.append(f"{1_700_000_000_000 + number * 50},{symbol},{trade},{base}.00,{base + 8}.00,1.5,2.5")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def own_redis(short_folder: Path) -> Iterator[EmbeddedRedis]:
    """A Valkey of this test's own, to be killed."""
    with EmbeddedRedis(short_folder / "redis", maxmemory="0") as server:
        yield server
