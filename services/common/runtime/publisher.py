"""Publishing from a service: each batch exactly once, however often Redis goes away in the middle.

Besides what its machine decides, a process has a few things of its own to say: that it has started and under which
settings, alerts, and the foreign messages that it admits. Each has a numbered source of its own, so that it too is
published once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from services.common import channels
from services.common.errors import JournalClosed, PublishRefused, StateMismatch
from services.common.events import Alert, Event
from services.common.identity import derive_id
from services.common.journal.admission import admission_class
from services.common.journal.client import PublishResult
from services.common.journal.entry import Cause
from services.common.runtime.announcement import announcement, services_ahead
from services.common.runtime.backoff import Backoff
from services.common.runtime.build import code_version
from services.common.runtime.lifecycle import CONNECTION_LOST, Lifecycle
from services.common.timestamps import MINUTE_US

__all__ = ["LineageLost", "Publisher", "Stopped"]

ResultT = TypeVar("ResultT")
AlertLevel = Literal["INFO", "WARNING", "CRITICAL"]

ALERT_AGAIN_US = MINUTE_US
MEMORY_ALERT = "JOURNAL_MEMORY"


class Stopped(Exception):
    """The process shall end, so what was waited for did not happen. Not an error."""


class LineageLost(StateMismatch):
    """The journal no longer contains what this process has folded: Redis lost its tail. Go back to a snapshot."""


class Publisher:
    """What one service publishes. For the work loop's thread only."""

    def __init__(self, life: Lifecycle) -> None:
        """Publish with the fence of `life`."""
        self._life = life
        self._numbers: dict[str, int] = {}
        self._last_alert: dict[str, int] = {}
        self._refused: str | None = None
        self._alerting = False
        self._announced_run: str | None = None
        self._count = {name: life.metrics.outputs_published.labels(name) for name in channels.CHANNELS}
        life.check("journal_memory", lambda: self._refused)

    def patiently(self, action: Callable[[], ResultT], still_valid: Callable[[], None] | None = None) -> ResultT:
        """Do something idempotent with the journal, again after every loss of the connection.

        Args:
            action: what to do.
            still_valid: called after a loss, before the action is repeated; raises when it must not be.

        Raises:
            Stopped: the process was told to end before it succeeded.
            StateMismatch: Redis lost what it depends on: rebuild from a snapshot.
        """
        backoff: Backoff | None = None
        lost = False
        while True:
            try:
                if lost and still_valid is not None:
                    still_valid()
                result = action()
            except (*CONNECTION_LOST, JournalClosed) as error:
                lost = True
                self._life.redis_lost(error)
            except PublishRefused as refusal:
                self._life.metrics.publish_refused.inc()
                if self._refused is None:
                    self._refused = str(refusal)
                    if not self._alerting:  # an alert that waits keeps its number to itself
                        self.alert("CRITICAL", MEMORY_ALERT, f"{self._life.service} waits: {refusal}")
            else:
                self._refused = None
                self._life.redis_back()
                return result
            self._life.beat()
            backoff = backoff or Backoff(self._life.stop)
            if backoff.wait():
                raise Stopped

    def publish(self, cause: Cause, events: Sequence[Event]) -> PublishResult:
        """Publish all outputs of one cause, once.

        Raises:
            Stopped: the process was told to end before it succeeded (the batch may or may not be in the journal).
            FenceLost: another instance has taken over.
            PublishRejected: the batch is malformed.
            StateMismatch: Redis lost the cause or what was published before it: rebuild.
        """
        life = self._life
        started = time.perf_counter()
        result = self.patiently(lambda: life.client.publish(life.service, life.fence, cause, events))
        life.metrics.publish_time.observe(time.perf_counter() - started)
        if result.status == "new":
            self._note(events)
        else:
            life.metrics.outputs_repeated.inc()
        return result

    def forget(self) -> None:
        """Know nothing of what was published before: Redis lost its tail, perhaps an announcement with it."""
        self._numbers.clear()
        self._announced_run = None

    def next_number(self, source: str) -> int:
        """Return the next unused number of one of this service's own sources."""
        if source not in self._numbers:
            field = f"{self._life.service}/{source}"
            self._numbers[source] = self.patiently(lambda: self._life.client.high_water(field))
        return self._numbers[source] + 1

    def publish_numbered(self, source: str, number: int, events: Sequence[Event]) -> PublishResult:
        """Publish under the number that `next_number` gave."""
        result = self.publish(Cause(source, number), events)
        self._numbers[source] = number
        return result

    def offer_numbered(self, source: str, number: int, events: Sequence[Event]) -> PublishRefused | None:
        """As `publish_numbered`, but what a journal short of memory refuses is not waited for: returned is why.

        What such a journal always takes (a halt) is waited for: then Redis does not write at all.
        """
        life = self._life
        always_taken = admission_class(events) == "vital"

        def once() -> PublishRefused | None:
            try:
                life.client.publish(life.service, life.fence, Cause(source, number), events)
            except PublishRefused as refusal:
                if always_taken:
                    raise
                life.metrics.publish_refused.inc()
                return refusal
            return None

        refusal = self.patiently(once)
        if refusal is None:
            self._numbers[source] = number
            self._note(events)
        return refusal

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            self._count[event.channel].inc()
            if isinstance(event, Alert):
                self._life.metrics.alerts_raised.labels(event.level, event.code).inc()

    # what a process says of itself

    def alert(
        self,
        level: AlertLevel,
        code: str,
        message: str,
        context: dict[str, Any] | None = None,
        *,
        again: bool = False,
    ) -> Alert | None:
        """Raise an alert, at most once a code and minute of `now` (unless `again`); None when it was held back.

        Before the first event of cdb_ws there is no `now` and no run to belong to: then it is only logged.
        """
        life = self._life
        now, run_id = life.clock.now, life.clock.run_id
        life.log.warning("alert", level_=level, code=code, message=message, context=context or {})
        last = self._last_alert.get(code)
        if now is None or run_id is None or (not again and last is not None and last <= now < last + ALERT_AGAIN_US):
            return None
        self._last_alert[code] = now
        number = self.next_number("alert")
        event = Alert(
            event_id=derive_id(run_id, life.service, "alert", number),
            timestamp=now,
            producer=life.service,
            level=level,
            code=code,
            message=message,
            context=context or {},
        )
        self._alerting = True
        try:
            self.publish_numbered("alert", number, [event])
        finally:
            self._alerting = False
        return event

    def announce(self, settings: BaseModel, details: dict[str, Any] | None = None) -> bool:
        """Say once a start and run that this service takes part, and under which settings if they have changed.

        The order is fixed (ws, core, risk, execution, writer), so that the journal of a repeatable run is the same
        each time: nothing happens before the services ahead have announced themselves in this run.

        Args:
            settings: configuration to be in force from now on.
            details: what else belongs into the `config` event.

        Returns:
            Whether it was announced by this call.
        """
        life, clock = self._life, self._life.clock
        run_id, now = clock.run_id, clock.now
        if run_id is None or now is None or self._announced_run == run_id:
            return False
        if not clock.announced.issuperset(services_ahead(life.service)):
            return False
        number = self.next_number("announce")
        events = announcement(
            life.service,
            settings,
            run_id=run_id,
            now=now,
            number=number,
            in_force=clock.settings_hashes.get(life.service),
            code_version=code_version(),
            details=details,
        )
        self.publish_numbered("announce", number, events)
        self._announced_run = run_id
        life.log.info("announced", run_id=run_id, events=len(events))
        return True
