"""Foreign messages, which came by plain PUBLISH: never a crash, never silence.

The service that owns the channel admits them to the journal, or keeps them as dead letters with the reason.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from services.common import channels
from services.common.errors import ContractViolation
from services.common.journal.bus import Bus, ForeignMessage
from services.common.journal.foreign import ADMITTED, admit
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.publisher import Publisher

__all__ = ["Admission"]

SOURCE = "foreign"
SHOWN_BYTES = 200
STAMPED_WITH_NOW: Final = frozenset({channels.MARKET_DATA, channels.SIGNALS})
"""Where a message lives by its time: one stamped with a `now` that stands still would look fresh for ever."""


class Admission:
    """Admits what a service's bus has collected. For the work loop's thread only."""

    def __init__(self, life: Lifecycle, publisher: Publisher, *, default_venue: str = "mexc_spot") -> None:
        """Publish through `publisher`; `default_venue` is for messages that name none."""
        self._life = life
        self._publisher = publisher
        self._default_venue = default_venue
        self._waiting: deque[ForeignMessage] = deque()  # taken and not done: a start over of the service loses nothing
        self._dropped = 0

    def admit(self, bus: Bus) -> int:
        """Admit or bury what has come; returns how many were admitted.

        Before the run has a clock there is nothing to stamp them with: they wait on the bus.
        """
        if self._life.clock.now is None or self._life.clock.run_id is None:
            return 0
        self._waiting.extend(bus.take_foreign())
        admitted = 0
        while self._waiting:
            admitted += self._one(self._waiting[0])
            self._waiting.popleft()
        self._tell_dropped(bus.foreign_dropped)
        return admitted

    def _tell_dropped(self, dropped: int) -> None:
        """Say that more came than the backlog holds; a new bus counts from nothing again."""
        if dropped > self._dropped:
            message = f"{dropped} messages came faster than {self._life.service} could look at them and are lost"
            self._publisher.alert("CRITICAL", "FOREIGN_MESSAGES_DROPPED", message, {"dropped": dropped})
        self._dropped = dropped

    def _one(self, message: ForeignMessage) -> bool:
        life = self._life
        assert life.clock.now is not None
        assert life.clock.run_id is not None
        stalled = life.clock.stalled() if message.channel in STAMPED_WITH_NOW else None
        if stalled is not None:
            self._bury(message, f"nothing that could trade is admitted while the clock stands still: {stalled}")
            return False
        number = self._publisher.next_number(SOURCE)
        try:
            event = admit(
                message.channel,
                message.raw,
                owner=life.service,
                counter=number,
                now=life.clock.now,
                run_id=life.clock.run_id,
                default_venue=self._default_venue,
            )
        except ContractViolation as violation:
            self._bury(message, str(violation))
            return False
        refusal = self._publisher.offer_numbered(SOURCE, number, [event])
        if refusal is not None:
            self._bury(message, str(refusal))
            return False
        life.metrics.foreign_admitted.labels(message.channel).inc()
        life.log.info("foreign_admitted", channel=message.channel, event_id=event.event_id, number=number)
        return True

    def _bury(self, message: ForeignMessage, reason: str) -> None:
        life = self._life
        reason = reason.encode(errors="replace").decode()
        life.metrics.dead_letters.labels(message.channel).inc()
        self._publisher.patiently(
            lambda: life.client.keep_dead_letter(life.service, message.channel, reason, message.raw)
        )
        shown = message.raw[:SHOWN_BYTES].decode(errors="replace")
        life.log.warning("dead_letter", channel=message.channel, reason=reason, raw=shown)
        context = {"channel": message.channel, "reason": reason[:500], "size": len(message.raw)}
        if message.channel in ADMITTED:
            self._publisher.alert("WARNING", "FOREIGN_MESSAGE_INVALID", f"{message.channel}: {reason}"[:500], context)
        else:
            self._publisher.alert(
                "CRITICAL",
                "FOREIGN_MESSAGE_FORBIDDEN",
                f"somebody published on {message.channel} past the journal; the message was not acted upon",
                context,
            )
