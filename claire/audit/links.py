"""Each event names its cause and the market data that began its chain: both must have been before it."""

from __future__ import annotations

from typing import Final

from claire.audit.difference import Difference
from services.common import channels
from services.common.events import Control, Event, MarketData
from services.common.journal.entry import Cause, Entry

__all__ = ["Links"]

REMEMBERED: Final = 200_000
"""How many ids of market data and ticks are kept that nothing has referred to yet.

A machine that was away for longer refers to older ones; that its event names the right cause is then told by deriving
it again alone.
"""


class Links:
    """Ids seen so far: those that something refers to and all rare ones for ever, the rest for a while.

    Attributes:
        checked: how many references were followed.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.checked = 0
        self._recent: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._outside: set[str] = set()
        self._forgotten = 0  # the last number of which the id may not be known any more

    def check(self, entry: Entry, cause: Cause | None) -> Difference | None:
        """Look up what the event refers to, then remember it."""
        event = entry.event
        derived = cause is not None and not cause.source
        found = self._causation(entry, event, cause if derived else None) or self._correlation(
            entry, event, cause if derived else None
        )
        before = self._number(event.event_id)
        if found is None and before is not None and entry.producer != channels.OPERATOR:
            meaning = f"doubled: entry {before} has the same id"
            found = Difference.at("links", entry, "event_id", event.event_id, "an id of its own", meaning=meaning)
        self._remember(entry, event)
        return found

    def _causation(self, entry: Entry, event: Event, cause: Cause | None) -> Difference | None:
        if event.causation_id is None:
            return None
        self.checked += 1
        number = self._number(event.causation_id)
        if number is None and self._too_old(cause):
            return None
        if number is None:
            return Difference.at(
                "links",
                entry,
                "causation_id",
                event.causation_id,
                "an event before it",
                meaning="its cause does not exist",
            )
        if cause is not None and number != cause.number:
            meaning = f"its cause is entry {cause.number}, but the event of that id is entry {number}"
            return Difference.at(
                "links", entry, "causation_id", event.causation_id, f"entry {cause.number}", meaning=meaning
            )
        return None

    def _correlation(self, entry: Entry, event: Event, cause: Cause | None) -> Difference | None:
        chain = event.correlation_id
        if chain is None:
            return None
        self.checked += 1
        number = self._number(chain)
        if number is not None:
            self._kept[chain] = number
            return None
        if chain in self._outside or self._too_old(cause):
            return None
        if event.causation_id is None:  # a foreign message may bring the name of a chain of its own
            self._outside.add(chain)
            return None
        return Difference.at(
            "links", entry, "correlation_id", chain, "an event before it", meaning="its chain has no root"
        )

    def _too_old(self, cause: Cause | None) -> bool:
        return cause is not None and cause.number <= self._forgotten

    def _number(self, event_id: str) -> int | None:
        return self._kept.get(event_id) or self._recent.get(event_id)

    def _remember(self, entry: Entry, event: Event) -> None:
        if not isinstance(event, MarketData) and not (isinstance(event, Control) and event.action == "tick"):
            self._kept[event.event_id] = entry.id.n
            return
        self._recent[event.event_id] = entry.id.n
        if len(self._recent) > REMEMBERED:
            oldest = next(iter(self._recent))
            self._forgotten = self._recent.pop(oldest)
