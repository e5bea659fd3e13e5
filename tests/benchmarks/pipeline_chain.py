"""Market data to order result through the real services, with the journal underneath.

The measuring process is the producer `cdb_ws`; cdb_core, cdb_risk and cdb_execution are the services themselves, each
a process of its own. Three instruments take turns, each with ten market data a minute of the feed's time; a minute goes
up by 1 %, the next stays, one goes down, one stays. So one event in forty closes a bar that is an entry: signal, seven
layers, decision, order, and its acceptance (`NEW`), which ends the measurement; another one in forty leads to an exit
signal and its refusal, and each order's end is one more result. The instruments are a minute apart, so that entries are
as evenly spaced as the messages of the bare chain; `together` lets all three enter at the same minute's end.

As in the bare chain, the clock starts when ready bytes are handed to Redis and stops when the last channel is read. An
order that is refused does not count as answered: `sent` and `received` tell how many. At 1 000 events a second the
feed's time runs 2 000 times as fast as the wall, so what is a matter of age in the feed's time (orders, quotes, spacing
of entries) is set wide.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import psutil

from services.common import channels
from services.common.channels import ORDER_RESULTS, WS
from services.common.events import Control, MarketData, OrderResult, parse_event
from services.common.identity import derive_id
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings
from services.common.timestamps import MINUTE_US
from tests.benchmarks.bare_chain import listening
from tests.benchmarks.latency import Latency, Stopwatch, time_series

__all__ = [
    "STRATEGY",
    "Feed",
    "await_services",
    "config_of_feed",
    "measure_pipeline",
    "measure_throughput",
    "running_services",
]

STRATEGY = {
    "SYMBOLS": "BTCUSDT,ETHUSDT,SOLUSDT",
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.004",
    "SIGNAL_COOLDOWN_MIN": "0",
    "SIGNAL_STOP_COOLDOWN_MIN": "0",
    "SIGNAL_MIN_VOLUME": "0",
    "PAPER_LATENCY_MS": "0",
    "DATA_STALE_TIMEOUT_SEC": "3600",
    "ORDER_MAX_AGE_MS": "600000",
    "ENTRY_SPACING_SEC": "0",
}
"""Settings under which every rise of 1 % within a minute is an entry."""

SYMBOLS = STRATEGY["SYMBOLS"].split(",")
PERIOD = 4
"""Minutes of one cycle: up, stay, down, stay."""

PER_MINUTE = 10
"""Market data of one instrument in a minute."""

UNANSWERED_SEC = 5.0

START_US = 1_700_000_000_000_000 // MINUTE_US * MINUTE_US
SERVICES = (channels.CORE, channels.RISK, channels.EXECUTION)


class Feed:
    """The producer cdb_ws, as the benchmark needs it."""

    def __init__(self, infra: Infrastructure, *, together: bool = False) -> None:
        """Take the lease and begin the run.

        Args:
            infra: where Redis is.
            together: all instruments rise in the same minute, instead of one after the other.
        """
        self.together = together
        self.client = JournalClient(infra, name="bench:feed")
        self._fence = Lease(infra, ttl_sec=600).acquire(WS, "bench")
        self._number = 0
        self.run_id = "bench"
        self.publish(
            Control(
                event_id=derive_id("bench", "started"),
                timestamp=START_US,
                producer=WS,
                action="started",
                service=WS,
                run_id=self.run_id,
            )
        )

    def publish(self, event: Control | MarketData) -> None:
        """Publish one event under the next number of the feed."""
        self._number += 1
        self.client.publish(WS, self._fence, Cause("feed", self._number), [event])

    def event(self, number: int) -> MarketData:
        """Return market data number 0, 1, 2 …, the instruments in turns."""
        turn, symbol = divmod(number, len(SYMBOLS))
        price = Decimal(50500) if self._phase(turn, symbol) < 2 else Decimal(50000)
        return MarketData(
            event_id=derive_id(self.run_id, WS, number),
            timestamp=START_US + MINUTE_US + number * MINUTE_US // (PER_MINUTE * len(SYMBOLS)),
            producer=WS,
            venue="mexc_spot",
            symbol=SYMBOLS[symbol],
            price=price,
            volume=Decimal("100.0"),
            high=price,
            low=price,
            bid=price - Decimal("0.5"),
            ask=price + Decimal("0.5"),
            bid_size=Decimal("5.0"),
            ask_size=Decimal("5.0"),
            sequence=turn,
        )

    def closes_an_entry(self, number: int) -> bool:
        """Whether this is an instrument's first market data after a minute that rose."""
        turn, symbol = divmod(number, len(SYMBOLS))
        rose = turn % PER_MINUTE == 0 and self._phase(turn, symbol) == 1
        return rose and turn > PERIOD * PER_MINUTE  # there is nothing before the first rise

    def _phase(self, turn: int, symbol: int) -> int:
        return (turn // PER_MINUTE - (0 if self.together else symbol)) % PERIOD

    def send(self, event: MarketData) -> None:
        """Publish one market data event."""
        self.publish(event)


def _free_port() -> int:
    with socket.socket() as listening_nowhere:
        listening_nowhere.bind(("127.0.0.1", 0))
        return int(listening_nowhere.getsockname()[1])


@contextmanager
def running_services(environment: Mapping[str, str], *, log: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run cdb_core, cdb_risk and cdb_execution as processes."""
    processes = []
    with log.open("ab") as output:
        for service in SERVICES:
            settings = {
                **os.environ,
                **environment,
                "STATE_DIR": tempfile.mkdtemp(prefix="bench-"),
                "LOG_LEVEL": "WARNING",
                "LOG_FORMAT": "json",
                "HTTP_PORT": str(_free_port()),
            }
            command = [sys.executable, "-m", f"services.{service}.service"]
            process = subprocess.Popen(command, env=settings, stdout=output, stderr=output)
            process.claire_environment = settings  # type: ignore[attr-defined]
            processes.append(process)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def await_services(client: JournalClient, log: Path, timeout_sec: float = 30) -> None:
    """Wait until all three have announced themselves.

    Raises:
        TimeoutError: with the end of the services' log.
    """
    deadline = time.monotonic() + timeout_sec
    seen: set[str] = set()
    while not seen.issuperset(SERVICES):
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {sorted(seen)} have started:\n{log.read_text()[-3000:]}")
        time.sleep(0.05)
        head = client.head()
        for entry in client.read(0, head.n if head else 1):
            if entry.channel == channels.CONTROL and b'"action":"config"' in entry.data:
                seen.add(entry.producer)


def measure_pipeline(environment: Mapping[str, str], *, rate: float, count: int, together: bool = False) -> Latency:
    """Send `count` market data events through the pipeline; every fortieth one leads to an order and is timed."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "services.log"
        infra = load_settings(Infrastructure, environment)
        open_bus(infra)
        feed = Feed(infra, together=together)
        feed.publish(config_of_feed())
        with running_services({**environment, **STRATEGY}, log=log):
            await_services(feed.client, log)
            return _run(environment, feed, rate=rate, count=count)


def measure_throughput(environment: Mapping[str, str], *, count: int) -> dict[str, float]:
    """Publish `count` events as fast as the journal takes them; events per second until execution has done the last.

    Returns also the largest resident memory of the three services, in MiB.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "services.log"
        infra = load_settings(Infrastructure, environment)
        open_bus(infra)
        feed = Feed(infra)
        feed.publish(config_of_feed())
        with running_services({**environment, **STRATEGY}, log=log) as processes:
            await_services(feed.client, log)
            events = [feed.event(number) for number in range(count)]
            started = time.perf_counter()
            for event in events:
                feed.send(event)
            head = feed.client.head()
            assert head is not None
            while min(feed.client.cursors().get(service, 0) for service in SERVICES) < head.n:
                time.sleep(0.01)
                if time.perf_counter() - started > 120:
                    raise TimeoutError(f"the services have not caught up: {feed.client.cursors()}, head {head}")
            taken = time.perf_counter() - started
            memory = max(psutil.Process(process.pid).memory_info().rss for process in processes) / 2**20
            return {"events_per_second": count / taken, "largest_service_mib": memory}


def config_of_feed() -> Control:
    """Return the feed's configuration event."""
    return Control(
        event_id=derive_id("bench", "config"),
        timestamp=START_US,
        producer=WS,
        action="config",
        service=WS,
        run_id="bench",
        details={"settings": {}, "settings_hash": "bench", "code_version": "bench"},
    )


def _run(environment: Mapping[str, str], feed: Feed, *, rate: float, count: int) -> Latency:
    watch = Stopwatch()
    events = [feed.event(number) for number in range(count)]
    timed = {number for number in range(count) if feed.closes_an_entry(number)}
    assert all(event.data for event in events), "encoded before the clock runs"

    def key_of(data: bytes) -> str | None:
        result = parse_event(ORDER_RESULTS, data)
        return (result.correlation_id or "") if isinstance(result, OrderResult) and result.status == "NEW" else None

    def send(number: int) -> None:
        event = events[number]
        if number in timed:
            watch.sending(event.event_id)
        feed.send(event)

    return time_series(
        listening(environment, ORDER_RESULTS),
        watch,
        key_of,
        send,
        rate=rate,
        count=count,
        expected=len(timed),
        patience_sec=UNANSWERED_SEC,
    )
