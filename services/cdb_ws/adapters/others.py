"""Waiting for the other services: at the beginning of a run, and in the turnstile before every batch."""

from __future__ import annotations

from services.cdb_ws.adapters.feed_journal import FeedJournal
from services.cdb_ws.adapters.feed_metrics import FeedMetrics
from services.common.channels import TURNSTILE_ORDER, WRITER
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.publisher import Stopped
from services.common.runtime.turnstile import Turnstile, WakeUps

__all__ = ["Others"]


class Others:
    """The services that must come round before the feed goes on."""

    def __init__(self, life: Lifecycle, journal: FeedJournal, metrics: FeedMetrics) -> None:
        self._life = life
        self._journal = journal
        self._metrics = metrics
        self._turnstile = Turnstile(self._cursors, WakeUps(life.infra)) if life.infra.TURNSTILE else None

    def _cursors(self) -> dict[str, int]:
        return self._life.client.cursors()

    def start_over(self) -> None:
        """Learn anew how far everybody is."""
        if self._turnstile is not None:
            self._turnstile.forget()

    def close(self) -> None:
        """End it."""
        if self._turnstile is not None:
            self._turnstile.close()

    def await_all(self) -> None:
        """Wait until everybody who takes part in the run is there, so that nobody misses its beginning.

        Raises:
            Stopped: the process shall stop.
        """
        services = (*TURNSTILE_ORDER, WRITER) if self._turnstile is not None else TURNSTILE_ORDER
        while missing := self._journal.missing(services):
            if self._metrics.waiting_for != missing:
                self._life.log.info("waiting_for_services", missing=missing)
            self._metrics.waiting_for = missing
            if self._life.stop.is_set():
                raise Stopped
        self._metrics.waiting_for = []

    def await_turn(self) -> bool:
        """In turnstile mode: wait until everybody has done the journal's head; False when the process shall stop."""
        turnstile = self._turnstile
        if turnstile is None:
            return not self._life.stop.is_set()
        while not self._life.stop.is_set():
            head = self._journal.head
            if not turnstile.may_publish(head):
                self._metrics.waiting_for = ["turnstile"]
                self._life.beat()
                self._journal.patiently(turnstile.learn)
            elif self._journal.look_at_head() == head:
                # what the others have done was learnt before this look at the head, so none of them can add to it now
                self._metrics.waiting_for = []
                return True
        return False
