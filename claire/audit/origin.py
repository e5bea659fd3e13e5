"""What no machine derives: who may say it, that it was said once, and what of it follows from something else.

The feed, the operator, foreign messages and what a process says of itself (a start, its settings, an alert) are inputs:
a machine can only be judged by what it made of them.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import Final

from claire.audit.difference import Difference
from services.common import channels
from services.common.codec import encode
from services.common.errors import ClaireError
from services.common.events import Control, Event, MarketData
from services.common.identity import derive_id
from services.common.journal.entry import Cause, Entry
from services.common.journal.foreign import ADMITTED
from services.common.timestamps import format_timestamp

__all__ = ["Origins"]

ANNOUNCE: Final = "announce"
FEED: Final = "feed"
FOREIGN: Final = "foreign"
ALERT: Final = "alert"
EXCHANGE: Final = "exchange"
OPERATOR: Final = "operator"

_DECIDED: Final = frozenset({channels.SIGNALS, channels.ORDERS, channels.RISK_DECISIONS})
"""Channels of which every event is derived, foreign signals apart."""


_GAPLESS: Final = frozenset({ANNOUNCE, FEED})
"""Sources of which the next number is used when, and only when, the one before it stands in the journal."""

_TOLD_BY_EXCHANGE: Final = frozenset({"account", "funding"})


class Origins:
    """Checks the events that follow from no entry.

    Attributes:
        seen: how many there are, by producer and source.
        configurations: how often each service's settings came into force.
        starts: how often each service started.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.seen: Counter[tuple[str, str]] = Counter()
        self.configurations: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        self._numbers: dict[tuple[str, str], int] = {}
        self._batch: tuple[str, str, int, int] | None = None  # producer, cause, last number, events before it
        self._ws_started = False
        self._observed: tuple[int, str] = (0, "")  # when and of which symbol, the last market data of a batch

    def check(self, entry: Entry, cause: Cause | None) -> Difference | None:
        """Look at an entry that no machine derives; `cause` is None for an operator's command."""
        event, source = entry.event, OPERATOR if cause is None else cause.source
        self.seen[entry.producer, source] += 1
        place = self._place_in_batch(entry)
        return (
            self._numbered(entry, cause, place, event)
            or _allowed(entry, source)
            or (self._fed(entry, event, cause, place) if source == FEED and cause is not None else None)
            or (self._announced(entry, event, cause, place) if source == ANNOUNCE and cause is not None else None)
        )

    def _place_in_batch(self, entry: Entry) -> int:
        batch = self._batch
        follows = batch is not None and batch[:3] == (entry.producer, entry.cause, entry.id.n - 1)
        place = batch[3] + 1 if batch is not None and follows else 0
        self._batch = (entry.producer, entry.cause, entry.id.n, place)
        return place

    def _numbered(self, entry: Entry, cause: Cause | None, place: int, event: Event) -> Difference | None:
        """Each source counts; the events of one number stand together."""
        if cause is None:
            return None
        key = (entry.producer, cause.source)
        last = self._numbers.get(key, 0)
        if cause.number > last or (place and cause.number == last):
            self._numbers[key] = cause.number
            owed = cause.source == FEED and self._withheld(event)
            if cause.source in _GAPLESS and cause.number > last + 1 and not owed:
                meaning = f"missing: {entry.producer} says {cause.source} number by number"
                return Difference.at(
                    "origin", entry, "cause", str(cause), f"{cause.source}:{last + 1}", meaning=meaning
                )
            return None
        meaning = f"{entry.producer} has said {cause.source}:{cause.number} before: doubled, swapped or torn apart"
        return Difference.at("origin", entry, "cause", str(cause), f"{cause.source}, above {last}", meaning=meaning)

    def _withheld(self, event: Event) -> bool:
        """Whether the feed owes what is missing: the journal was short of memory, which the next event shows.

        The one after a restart, too, whose process does not know the pressure yet.
        """
        restarted, self._ws_started = self._ws_started, False
        if isinstance(event, MarketData):
            return event.gap
        if not isinstance(event, Control):
            return False
        return restarted or event.details.get("pressure") in {"market_data", "entries"}

    def _fed(self, entry: Entry, event: Event, cause: Cause, place: int) -> Difference | None:
        """The feed numbers its market data by their batch, and says those of one batch by time and symbol."""
        if not isinstance(event, MarketData):
            return None
        before, self._observed = self._observed, (event.timestamp, event.symbol)
        if event.sequence != cause.number:
            meaning = "market data of the feed carry the number of their batch"
            return Difference.at("origin", entry, "sequence", event.sequence, cause.number, meaning=meaning)
        if place and self._observed <= before:
            meaning = "swapped: the feed says what belongs to one number by time, then by symbol"
            at, behind = (f"{format_timestamp(time)} {symbol}" for time, symbol in (self._observed, before))
            return Difference.at("origin", entry, "timestamp", at, f"after {behind}", meaning=meaning)
        return None

    def _announced(self, entry: Entry, event: Event, cause: Cause, place: int) -> Difference | None:
        if not isinstance(event, Control) or event.run_id is None:
            return Difference.at(
                "origin", entry, "type", event.type, "control with a run_id", meaning="this is no announcement"
            )
        derived = derive_id(event.run_id, entry.producer, ANNOUNCE, cause.number, place)
        if event.event_id != derived:
            return Difference.at(
                "origin", entry, "event_id", event.event_id, derived, meaning="its id follows from its cause"
            )
        for name in ("correlation_id", "causation_id", "command_id", "by", "reason"):
            said = getattr(event, name)
            if said is not None:
                meaning = "nobody has told a process to say that it has started, and with which settings"
                return Difference.at("origin", entry, name, said, None, meaning=meaning)
        if event.action == "started":
            self.starts[entry.producer] += 1
            self._ws_started = self._ws_started or entry.producer == channels.WS
            return None
        self.configurations[entry.producer] += 1
        try:
            hashed = sha256(encode(event.details.get("settings"))).hexdigest()
        except ClaireError as error:
            hashed = str(error)
        recorded = event.details.get("settings_hash")
        if recorded != hashed:
            meaning = "the settings are not those that the hash was taken of"
            return Difference.at("origin", entry, "details.settings_hash", recorded, hashed, meaning=meaning)
        return None


def _allowed(entry: Entry, source: str) -> Difference | None:
    """Who may say what without a cause in the journal."""
    channel, producer, event = entry.channel, entry.producer, entry.event
    wrong = None
    if source == OPERATOR:
        if producer != channels.OPERATOR or channel != channels.CONTROL:
            wrong = "only an operator's command has no cause"
    elif source == FOREIGN:
        if channels.FOREIGN_OWNER.get(channel) != producer or channel not in ADMITTED:
            wrong = f"{producer} admits nothing foreign on {channel}"
    elif source == ANNOUNCE:
        announced = isinstance(event, Control) and event.action in {"started", "config"} and event.service == producer
        wrong = None if announced else f"{producer} announces its own start and settings, nothing else"
    elif source == EXCHANGE:
        told = channel == channels.ORDER_RESULTS or (isinstance(event, Control) and event.action in _TOLD_BY_EXCHANGE)
        if producer != channels.EXECUTION or not told:
            wrong = f"{producer} states nothing of an exchange on {channel}"
    elif source == ALERT:
        wrong = None if channel == channels.ALERTS else "an alert of a process stands on alerts"
    elif not source:
        wrong = f"{producer} derives nothing"
    elif channel in _DECIDED or (producer in channels.TURNSTILE_ORDER and channel == channels.MARKET_DATA):
        wrong = f"every event on {channel} follows from another one"
    if wrong is None:
        return None
    derived = "an event that follows from an entry"
    return Difference.at("origin", entry, "cause", f"{producer} {entry.cause!r} on {channel}", derived, meaning=wrong)
