"""The process of cdb_notifier: `python -m services.cdb_notifier.service`.

At least once: what is read and what is to be sent stand in one file before anything is sent, and a message leaves the
file only after apprise said that it was taken. A crash in between sends it again. It publishes nothing and holds
nothing back: the journal is trimmed without it, and what it missed it reads from PostgreSQL.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import flask

from services.cdb_notifier.adapters.courier import Courier
from services.cdb_notifier.adapters.door import Door
from services.cdb_notifier.adapters.local_time import minutes_of
from services.cdb_notifier.adapters.memory import Memory
from services.cdb_notifier.adapters.targets import read_targets
from services.cdb_notifier.machine import CONSUMES, NotifierMachine
from services.cdb_notifier.message import LEVELS, Message
from services.cdb_notifier.outbox import Outbox
from services.cdb_notifier.planner import Rules
from services.cdb_notifier.settings import NotifierSettings, quiet_minutes
from services.common import channels
from services.common.errors import JournalHole, StateMismatch
from services.common.journal.bus import Bus
from services.common.journal.entry import Entry, JournalId
from services.common.journal.lineage import Epochs
from services.common.runtime.catalogue import messages as definitions
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.process import run_service
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["Notifier", "main"]

POLL_SEC: Final = 0.2
SAVE_SEC: Final = 10.0
LOOK_BACK: Final = 100_000
"""Journal entries before the head from which a notifier without a memory begins."""
FAILING_SEC: Final = 60.0


class Notifier:
    """Reads, decides, keeps, sends."""

    def __init__(self, life: Lifecycle, door: Door) -> None:
        """Take settings and memory.

        Raises:
            SettingsInvalid: an address or the time zone cannot be used.
        """
        settings = life.settings_of(NotifierSettings)
        rules = Rules(
            settings.NOTIFY_MIN_LEVEL,
            quiet_minutes(settings.NOTIFY_QUIET_HOURS),
            settings.NOTIFY_REPEAT_MIN * MINUTE_US,
            settings.NOTIFY_BURST,
        )
        self._life, self._door = life, door
        targets = read_targets(settings.NOTIFY_URLS)
        self._machine = NotifierMachine(
            rules, minutes_of(settings.NOTIFY_TIMEZONE), daily=settings.NOTIFY_DAILY_SUMMARY
        )
        self._outbox = Outbox({target.key: target.least for target in targets})
        self._couriers = [Courier(target) for target in targets]
        self._memory = Memory(life.folder.path)
        self._bus = Bus(life.infra, life.service, CONSUMES, mode=life.infra.BUS_MODE, archive=life.archive)
        self._handled = 0
        self._saved_at = 0.0
        self._count = {name: life.metrics.entries_handled.labels(name) for name in CONSUMES}
        registry = life.metrics.registry
        self._sent = definitions.SENT.counter(registry)
        for level in LEVELS:
            self._sent.labels(level)
        definitions.FAILED.gauge(registry).set_function(
            lambda: sum(courier.attempts_failed for courier in self._couriers)
        )
        definitions.WAITING.gauge(registry).set_function(lambda: len(self._outbox.state.waiting))
        definitions.DROPPED.gauge(registry).set_function(lambda: sum(self._outbox.state.dropped.values()))
        life.check("delivery", self._delivery_check)
        life.status.add("journal", self._journal_status)
        life.status.add("now", lambda: self._now)
        life.status.add("notifications", lambda: self._status(settings))

    # what is shown

    @property
    def _now(self) -> str | None:
        now = self._machine.folded.now
        return None if now is None else format_timestamp(now)

    def _delivery_check(self) -> str | None:
        failing = [
            f"target {courier.target.name} has taken nothing for {time.monotonic() - courier.failing_since:.0f} s"
            for courier in self._couriers
            if courier.failing_since is not None and time.monotonic() - courier.failing_since > FAILING_SEC
        ]
        return f"{'; '.join(failing)}; {len(self._outbox.state.waiting)} messages wait" if failing else None

    def _journal_status(self) -> dict[str, Any]:
        return {"last_id": str(self._bus.cursor), "lag": self._bus.lag, "at_head": self._bus.at_head}

    def _status(self, settings: NotifierSettings) -> dict[str, Any]:
        return {
            "delivery": "through apprise" if self._couriers else "nothing is sent: NOTIFY_URLS is empty",
            "targets": [
                {
                    "name": courier.target.name,
                    "from_level": courier.target.least,
                    "failed_attempts": courier.failures,
                    "waiting": len(self._outbox.pending(courier.target.key)),
                }
                for courier in self._couriers
            ],
            "min_level": settings.NOTIFY_MIN_LEVEL,
            "quiet_hours": f"{settings.NOTIFY_QUIET_HOURS} {settings.NOTIFY_TIMEZONE}"
            if settings.NOTIFY_QUIET_HOURS
            else None,
            "messages_made": self._outbox.state.number,
            "dropped": dict(self._outbox.state.dropped),
            **self._machine.summary(),
        }

    # the loop

    def run(self) -> None:
        """Work until the process shall stop."""
        place = self._memory.load(self._machine, self._outbox, self._life.clock)
        for courier in self._couriers:
            courier.start()
        self._offer()
        try:
            while not self._life.stop.is_set():
                try:
                    if not self._open(place):
                        break
                    self._work()
                except JournalHole as hole:
                    place = self._skip(hole)
                except StateMismatch as lost:
                    self._life.log.warning("starting_over", reason=str(lost))
                    self._life.new_client()
                    self._life.stop.wait(POLL_SEC)
                    place = self._bus.cursor
            self._save()
        finally:
            self._door.close()
            for courier in self._couriers:
                courier.stop()
            self._bus.close()

    def _open(self, place: JournalId | None) -> bool:
        """Take the journal up again; False when the process shall stop instead."""

        def opened() -> bool:
            self._bus.open(self._beginning(place), timeout_sec=1.0)
            return True

        done = bool(self._life.retry_redis(opened))
        if done:
            self._life.log.info("reading", after=str(self._bus.cursor))
        return done

    def _beginning(self, place: JournalId | None) -> JournalId | None:
        """Return where to go on: at `place`, or where the journal agrees with it; a little back the first time."""
        client = self._life.client
        epochs, head = Epochs(client.epochs()), client.head()
        last = 0 if head is None else head.n
        if place is None:
            return epochs.id_of(max(0, last - LOOK_BACK)) if last > LOOK_BACK else None
        if epochs.contains(place, last):
            return place
        shared = epochs.lost_after(place.epoch)
        n = min(place.n, last, place.n if shared is None else shared)
        return epochs.id_of(n) if n else None

    def _skip(self, hole: JournalHole) -> JournalId | None:
        """Go on behind what nobody has any more, and say so."""
        first = self._bus.cursor.n + 1
        head = self._life.retry_redis(self._life.client.head)
        last = first if head is None else head.n
        self._life.log.error("events_missed", first=first, last=last, reason=str(hole))
        for message in self._machine.missing(first, last):
            self._outbox.add(message)
        self._bus.cursor = JournalId(0, 0) if head is None else head
        self._save()
        return self._bus.cursor

    def _work(self) -> None:
        while not self._life.stop.is_set():
            self._life.beat()
            entries = self._bus.poll(POLL_SEC)
            if self._bus.problem is None:
                self._life.redis_back()
            else:
                self._life.redis_lost(self._bus.problem)
            self._turn(entries)
            self._life.metrics.lag.set(self._bus.lag)
            self._life.metrics.position.set(self._bus.cursor.n)

    def _turn(self, entries: list[Entry]) -> None:
        """Fold what came, keep it, and only then send it and answer for it."""
        messages: list[Message] = []
        for entry in entries:
            messages += self._machine.handle(entry)
            if entry.channel == channels.CONTROL:  # ticks are enough; market data are not decoded for it
                self._life.clock.fold(entry)
            self._count[entry.channel].inc()
        self._handled += len(entries)
        at = time.time_ns() // 1_000
        knocks = self._door.take()
        for knock in knocks:
            messages += self._machine.outside(knock.notices, at)
        messages += self._machine.outside_tick(at)
        for message in messages:
            self._outbox.add(message)
        taken = self._collect()
        quiet_long = time.monotonic() - self._saved_at > SAVE_SEC and self._handled
        if messages or taken or knocks or quiet_long or self._handled >= self._life.infra.SNAPSHOT_EVERY * 10:
            self._save()
        for knock in knocks:
            knock.answer()

    def _collect(self) -> bool:
        """Take off the outbox what targets have taken."""
        taken = False
        for courier in self._couriers:
            for number in courier.collect():
                taken = True
                waiting = next((one for one in self._outbox.state.waiting if one.number == number), None)
                if waiting is not None:
                    self._sent.labels(waiting.message.level).inc()
                    self._outbox.done(number, courier.target.key)
        return taken

    def _save(self) -> None:
        self._memory.save(self._bus.cursor, self._machine, self._outbox, self._life.clock)
        self._life.metrics.snapshots.inc()
        self._saved_at, self._handled = time.monotonic(), 0
        self._offer()

    def _offer(self) -> None:
        for courier in self._couriers:
            courier.offer(self._outbox.pending(courier.target.key))


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run cdb_notifier until it is told to stop; returns the exit code."""
    door = Door()

    def routes(_life: Lifecycle, app: flask.Flask) -> None:
        door.hang(app)

    return run_service(
        channels.NOTIFIER,
        lambda life: Notifier(life, door).run(),
        settings=(NotifierSettings,),
        environ=environ,
        routes=routes,
    )


if __name__ == "__main__":
    sys.exit(main())
