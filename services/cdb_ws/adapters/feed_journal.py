"""The feed's side of the journal: where it ended, what it publishes, and the snapshot that spares the next start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel

from services.cdb_ws.fold import FEED, FeedFold
from services.cdb_ws.observation import RejectedRow
from services.common.channels import MARKET_DATA, WS
from services.common.errors import JournalHole, PublishRefused, StateMismatch
from services.common.events import Event
from services.common.journal.client import PublishResult
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.runtime.announcement import announcement, settings_hash
from services.common.runtime.build import code_version
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.publisher import Publisher
from services.common.runtime.run_clock import RunClock
from services.common.runtime.snapshot_writer import SnapshotWriter
from services.common.runtime.snapshots import Snapshot, SnapshotStore

__all__ = ["FeedJournal"]

_T = TypeVar("_T")

PAGE: Final = 1_000
SNAPSHOT_SEC: Final = 30.0
BLOCK_MS: Final = 200


class FeedJournal:
    """What cdb_ws reads from the journal and what it writes there. For the work loop's thread only.

    Attributes:
        fold: how far the feed is, as of the last `catch_up`.
        run: the clock and the announcements of the run, as of the last `catch_up`.
        last: number of the last batch that the journal has.
        head: number of the journal's last entry, as last seen.
    """

    def __init__(self, life: Lifecycle) -> None:
        """Read and publish with the client and the fence of `life`."""
        self._life = life
        self._publisher = Publisher(life)
        self._snapshots = SnapshotStore(life.folder.path)
        self._snapshot_writer = SnapshotWriter(self._snapshots)
        self._folded: JournalId | None = None
        self._place: JournalId | None = None
        self._since_snapshot = 0
        self._snapshot_at = time.monotonic()
        self.fold = FeedFold()
        self.run = RunClock()
        self.last = 0
        self.head = 0

    # reading

    def start_over(self) -> None:
        """Restore the newest usable snapshot and fold the journal from there to its head.

        Raises:
            JournalHole: entries are gone that no snapshot covers, or the journal's own mark of what the feed published
                is not what it contains.
            StateMismatch: Redis lost something meanwhile; start over again.
        """
        self._publisher.forget()
        self._snapshot_writer.take_written(wait=True)  # whether it counts is decided with all the others
        while True:
            snapshot = self.patiently(self._restore)
            self.catch_up()
            marked = self.patiently(lambda: self._life.client.high_water(f"{WS}/{FEED}"))
            if marked == self.fold.last:
                return
            contradiction = f"the journal contains {FEED}:{self.fold.last}, but marks {FEED}:{marked} as the last"
            if snapshot is None:
                raise JournalHole(contradiction)
            self._snapshots.discard(snapshot, contradiction)

    def _restore(self) -> JournalId | None:
        self.fold, self.run, self._folded, self._place = FeedFold(), RunClock(), None, None
        for snapshot in self._snapshots.valid(self._life.client.lineage_ok):
            run = RunClock()
            try:
                fold = FeedFold.restore(snapshot.state)
                run.restore(snapshot.shell)
            except (StateMismatch, KeyError, TypeError, ValueError) as mismatch:
                self._snapshots.discard(snapshot.id, f"{type(mismatch).__name__}: {mismatch}")
                continue
            self.fold, self.run, self._folded = fold, run, snapshot.id
            self._life.log.info("restored", snapshot=str(snapshot.id))
            return snapshot.id
        return None

    def catch_up(self, *, block_ms: int | None = None) -> None:
        """Fold what the journal has beyond the last entry folded.

        Args:
            block_ms: wait so long for a first entry.

        Raises:
            StateMismatch: Redis lost something that was folded or published; start over.
        """
        self.check_lineage()
        wait_ms = block_ms
        while entries := self.patiently(partial(self._read, wait_ms)):  # a short page may end at what was trimmed
            for entry in entries:
                self.fold.fold(entry)
                self.run.fold(entry)
                self._folded = entry.id
            self._life.beat()
            wait_ms = None
        self._life.beat()
        self.last = self.fold.last
        self._place = self._folded
        self.head = 0 if self._folded is None else self._folded.n
        clock = RunClock()
        clock.restore(self.run.dump())
        self._life.clock = clock

    def missing(self, services: Iterable[str]) -> list[str]:
        """Return which services have not announced themselves in this run, after waiting a moment for news."""
        self.catch_up(block_ms=BLOCK_MS)
        return [service for service in services if service not in self.run.announced]

    def _read(self, block_ms: int | None) -> list[Entry]:
        after = 0 if self._folded is None else self._folded.n
        return self._life.client.read(after, PAGE, block_ms=block_ms)

    def check_lineage(self) -> None:
        """Make sure that the journal still has everything that was folded or published.

        Raises:
            StateMismatch: it has not; start over.
        """
        for place in (self._folded, self._place):
            if place is not None and not self._contains(place):
                raise StateMismatch(f"entry {place} is not in the journal any more: Redis lost it")

    def _contains(self, place: JournalId) -> bool:
        return self.patiently(lambda: self._life.client.lineage_ok(place))

    # publishing

    def announce(self, settings: BaseModel, play: str, run_id: str, now_us: int, details: dict[str, Any]) -> None:
        """Say that this start takes part in the run, and the configuration if it or the recording has changed.

        Args:
            settings: as they are to be in force.
            play: identity of the recording and the settings under which it plays.
            run_id: a new one begins a run.
            now_us: the run's clock, microseconds.
            details: what else belongs into the configuration event.
        """
        in_force = self.run.settings_hashes.get(WS) if play == self.fold.play else None
        number = self._publisher.next_number("announce")
        events = announcement(
            WS,
            settings,
            run_id=run_id,
            now=now_us,
            number=number,
            in_force=in_force,
            code_version=code_version(),
            details={**details, "play": play},
        )
        self._publisher.publish_numbered("announce", number, events)
        self._life.log.info("announced", run_id=run_id, events=len(events), settings_hash=settings_hash(settings))
        self.catch_up()

    def publish(self, number: int, events: Sequence[Event], *, withholdable: bool = False) -> PublishResult | None:
        """Publish one batch of the feed, once, waiting while Redis is away.

        Args:
            number: of the batch in the source `feed`.
            events: in order.
            withholdable: return None when the journal refuses it for want of memory, instead of waiting.

        Raises:
            Stopped: the process was told to end before it succeeded.
            StateMismatch: Redis lost what this process published; start over.
        """
        life, cause = self._life, Cause(FEED, number)

        def once() -> PublishResult | None:
            try:
                return life.client.publish(WS, life.fence, cause, events)
            except PublishRefused as refusal:
                if not withholdable:
                    raise
                life.log.warning("market_data_withheld", batch=number, reason=str(refusal))
                life.metrics.publish_refused.inc()
                return None

        started = time.perf_counter()
        result = self.patiently(once)
        life.metrics.publish_time.observe(time.perf_counter() - started)
        if result is None:
            return None
        if result.status == "repeated":
            life.metrics.outputs_repeated.inc()
            self.catch_up()
            return result
        self.last, self.head, self._place = number, result.head, result.ids[-1]
        for place, event in zip(result.ids, events, strict=True):
            life.clock.fold(Entry(place, event.channel, WS, str(cause), event.data))
            life.metrics.outputs_published.labels(event.channel).inc()
        life.metrics.position.set(result.head)
        self._since_snapshot += len(events)
        return result

    def look_at_head(self) -> int:
        """Return the number of the journal's last entry now."""
        head = self.patiently(self._life.client.head)
        self.head = 0 if head is None else head.n
        return self.head

    def patiently(self, action: Callable[[], _T]) -> _T:
        """Do something idempotent that needs Redis, again after every loss of the connection.

        Raises:
            Stopped: the process was told to end before it succeeded.
        """
        return self._publisher.patiently(action)

    def reject(self, rows: Sequence[RejectedRow]) -> None:
        """Keep rows that were skipped in the dead letters, and say so."""
        for row in rows:
            self.patiently(
                lambda row=row: self._life.client.keep_dead_letter(WS, MARKET_DATA, row.reason, row.raw)  # type: ignore[misc]
            )
            self._life.metrics.dead_letters.labels(MARKET_DATA).inc()
        self.alert("FEED_ROWS_REJECTED", f"rows of a recording were skipped: {rows[0].reason}", {"rows": len(rows)})

    def alert(self, code: str, message: str, context: dict[str, Any], *, critical: bool = False) -> None:
        """Raise an alert, at most once a code and minute of the run's clock."""
        self.tell("CRITICAL" if critical else "WARNING", code, message, context)

    def tell(
        self, level: Literal["INFO", "WARNING", "CRITICAL"], code: str, message: str, context: dict[str, Any]
    ) -> None:
        """Raise an alert of any level, at most once a code and minute of the run's clock."""
        self._publisher.alert(level, code, message, context)

    # snapshots

    def snapshot_if_due(self) -> None:
        """Write a snapshot when many events, or some and half a minute, have passed since the last."""
        self._tell_durable()
        due = self._since_snapshot >= self._life.infra.SNAPSHOT_EVERY or (
            self._since_snapshot and time.monotonic() - self._snapshot_at >= SNAPSHOT_SEC
        )
        if due and not self._snapshot_writer.busy:
            self._begin_snapshot()

    def snapshot(self) -> None:
        """Write a snapshot of everything up to the journal's head."""
        self._begin_snapshot()
        self._tell_durable(wait=True)

    def _begin_snapshot(self) -> None:
        self._tell_durable(wait=True)
        self.catch_up()
        self._since_snapshot, self._snapshot_at = 0, time.monotonic()
        folded = self._folded
        if folded is None:
            return
        self._snapshot_writer.begin(
            Snapshot(folded, self.fold.dump(), self.run.settings_hashes.get(WS), code_version(), self.run.dump())
        )

    def _tell_durable(self, *, wait: bool = False) -> None:
        written = self._snapshot_writer.take_written(wait=wait)
        if written is not None:
            life = self._life
            life.metrics.snapshots.inc()
            self.patiently(lambda: life.client.set_durable(WS, life.fence, written))
