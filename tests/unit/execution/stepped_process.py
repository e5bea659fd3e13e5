"""The process of live execution, stepped: the real shell and publisher on a journal in memory, killed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from services.cdb_execution.adapters.desk import Dispatch, ExchangeDesk
from services.cdb_execution.adapters.shells import LiveShell
from services.cdb_execution.exchange import Exchange
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.events import Event, OrderResult
from services.common.journal.client import PublishResult
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.runtime.publisher import Publisher
from services.common.runtime.run_clock import RunClock
from services.common.runtime.snapshot_writer import SnapshotWriter
from services.common.runtime.snapshots import Snapshot

__all__ = ["Journal", "Killed", "SteppedShell"]


class Killed(BaseException):
    """The process ends here; no `except Exception` of it may live on."""


class Journal:
    """A journal in memory: one total order, each cause once."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.marks: dict[str, int] = {}

    def append(self, event: Event, cause: str) -> Entry:
        """Append an event of another service."""
        entry = Entry(JournalId(1, len(self.entries) + 1), event.channel, event.producer, cause, event.data)
        entry.__dict__["event"] = event
        self.entries.append(entry)
        return entry

    def publish(self, cause: Cause, events: Sequence[Event]) -> bool:
        """Append execution's events once; False when they were there."""
        if cause.number <= self.marks.get(cause.source, 0):
            return False
        self.marks[cause.source] = cause.number
        for event in events:
            self.append(event, str(cause))
        return True


class _Client:
    """What the publisher says to the journal: it may be cut before and after it is done, and killed in between."""

    def __init__(self, journal: Journal, point: Callable[[str], None], chance: Callable[[float], bool]) -> None:
        self._journal, self._point, self._chance = journal, point, chance

    def publish(self, _service: str, _fence: int, cause: Cause, events: Sequence[Event]) -> PublishResult:
        submits = any(isinstance(event, OrderResult) and event.status == "SUBMITTING" for event in events)
        what = "SUBMITTING" if submits else "an answer" if cause.source == "exchange" else "an output"
        self._point(f"{what} is not journalled yet")
        if self._chance(0.01):
            raise RedisConnectionError("cut before")
        new = self._journal.publish(cause, events)
        self._point(f"{what} is journalled")
        if self._chance(0.01):
            raise RedisConnectionError("cut after")
        return PublishResult("new" if new else "repeated", (), len(self._journal.entries), "none")

    def high_water(self, field: str) -> int:
        return self._journal.marks.get(field.partition("/")[2], 0)

    def lineage_ok(self, _place: JournalId) -> bool:
        return True

    def append_fsync(self) -> str:
        return "always"

    def advance(self, *_: Any) -> None:
        pass

    def set_durable(self, *_: Any) -> None:
        pass


class Silent:
    """Metrics, logs and health that nobody looks at."""

    def __getattr__(self, name: str) -> Silent:
        return self

    def __call__(self, *_: Any, **__: Any) -> Silent:
        return self


class _NeverStopped:
    def is_set(self) -> bool:
        return False

    def wait(self, _seconds: float | None = None) -> bool:
        return False


class _Bus:
    """The bus, of which the world hands the entries on itself."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.cursor = JournalId(1, 0)
        self.restarts = self.lag = self.foreign_dropped = 0
        self.problem: str | None = None

    @property
    def at_head(self) -> bool:
        return self.cursor.n >= len(self._journal.entries)

    def open(self, cursor: JournalId | None) -> None:
        self.cursor = cursor or JournalId(1, 0)

    def take_foreign(self) -> list[Any]:
        return []


class _Snapshots:
    """Snapshots in memory; a restart takes the newest or, now and then, none."""

    def __init__(self) -> None:
        self.kept: list[Snapshot] = []

    def valid(self, _lineage_ok: Any) -> Iterator[Snapshot]:
        yield from reversed(self.kept[-2:])

    def save(self, snapshot: Snapshot) -> None:
        self.kept.append(snapshot)

    def discard(self, id_: JournalId, reason: str) -> None:
        raise AssertionError(f"snapshot {id_} cannot be used: {reason}")


class SteppedShell(LiveShell):
    """One life of the process: `LiveShell` whose journal, bus, snapshots and threads are the world's."""

    def __init__(
        self,
        journal: Journal,
        exchange: Exchange,
        settings: ExecutionSettings,
        *,
        snapshots: list[Snapshot],
        wall_us: Callable[[], int],
        dispatch: Dispatch,
        point: Callable[[str], None],
        chance: Callable[[float], bool],
    ) -> None:
        self._wall = lambda: wall_us() / 1_000_000
        life: Any = SimpleNamespace(
            service=channels.EXECUTION, fence=1, client=_Client(journal, point, chance), clock=RunClock(self._wall),
            stop=_NeverStopped(), log=Silent(), metrics=Silent(), check=Silent(), beat=Silent(), redis_lost=Silent(),
            redis_back=Silent(), redis_losses=0, infra=SimpleNamespace(SNAPSHOT_EVERY=10**9),
        )  # fmt: skip
        self._life, self._settings, self._mode = life, settings, settings.TRADING_MODE
        self._machine_type, self._machine, self._folded = ExecutionMachine, ExecutionMachine(), None
        self._journal = journal
        bus: Any = _Bus(journal)
        self._bus, self._turnstile = bus, None
        store: Any = _Snapshots()
        store.kept = snapshots
        self._snapshots = store
        self._snapshot_writer = SnapshotWriter(store)
        self._publisher = Publisher(life)
        self._admission: Any = Silent()
        self._metrics: Any = Silent()
        self._count: Any = dict.fromkeys(channels.CHANNELS, Silent())
        self._handled = self._since_snapshot = self._unadvanced = 0
        self._advanced_at, self._waiting_since, self._in_flight = 0.0, None, False
        self._breaks = self._losses_seen
        self._stated = 0
        self._left_out: Any = []
        self._desk = ExchangeDesk(
            exchange, settings, wall_us=wall_us, hindrance=self._hindrance, dispatch=dispatch
        )  # fmt: skip
        self._start_over()
        self._life.clock._wall = self._wall
        self._life.clock._born = self._life.clock._moved = self._wall()

    @property
    def desk(self) -> ExchangeDesk:
        """What speaks to the exchange."""
        return self._desk

    @property
    def machine(self) -> ExecutionMachine:
        """What folds."""
        return self._execution

    @property
    def behind(self) -> bool:
        """Whether there is an entry to be handled."""
        return not self._bus.at_head

    def step(self) -> None:
        """Do one thing of the work loop: handle the next entry, or what is done between polls."""
        if not self._bus.at_head:
            entry = self._journal.entries[self._bus.cursor.n]
            self._bus.cursor = entry.id
            self._handle(entry)
            return
        self._idle()

    def snapshot(self) -> None:
        """Keep a snapshot, if the state is at rest."""
        if self._folded is not None and not self._in_flight:
            self._save_snapshot()
