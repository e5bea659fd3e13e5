"""Finds events in a history by what a person types: an id or the beginning of one; and all that belongs together.

A file is read in order and in constant memory: only what is looked for is decoded. A database is asked by its indexes.
"""

from __future__ import annotations

import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from claire.history.record import HistoryUnusable
from claire.history.source import DatabaseHistory, History
from services.common import channels
from services.common.errors import ClaireError
from services.common.events import Event, Order, OrderResult
from services.common.journal.entry import Entry, JournalId
from services.common.timestamps import format_timestamp

__all__ = ["DECISIVE", "AmbiguousId", "Hit", "IdTooShort", "Lookup", "UnknownId", "chain_id", "lookup_of", "own_ids"]

DECISIVE: Final = (channels.SIGNALS, channels.RISK_DECISIONS, channels.ORDERS, channels.ORDER_RESULTS)
"""Channels of what was decided and what came of it: few events, and what a person asks about."""
SHORTEST: Final = 4
SHOWN: Final = 6
_ID: Final = re.compile(rb'"(?:event_id|order_id|client_order_id|trade_id)":"([^"]+)"')
_TICK: Final = b'"action":"tick"'

Tell = Callable[[int], None]


class UnknownId(ClaireError):
    """Nothing in the history has such an id.

    Attributes:
        near: ids that resemble it, nearest first.
    """

    def __init__(self, text: str, where: str, near: list[str]) -> None:
        self.near = near
        hint = "".join(f"\n  {other}" for other in near)
        super().__init__(
            f"{where}: no event, order or fill has an id that begins with {text!r}"
            + (f"; perhaps one of\n{hint.lstrip(chr(10))}" if near else "")
        )


class AmbiguousId(ClaireError):
    """Several ids begin with what was given.

    Attributes:
        candidates: some of them.
    """

    def __init__(self, text: str, candidates: list[str]) -> None:
        self.candidates = candidates
        shown = "".join(f"\n  {other}" for other in candidates[:SHOWN])
        more = "\n  …" if len(candidates) > SHOWN else ""
        super().__init__(f"{text!r} is the beginning of several ids; give more of it:{shown}{more}")


class IdTooShort(ClaireError):
    """So little of an id was given that it is not looked for."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r}: at least {SHORTEST} characters of an id are meant, or a symbol as BTCUSDT")


@dataclass(frozen=True)
class Hit:
    """What an id names.

    Attributes:
        id: the whole id.
        kind: event, order or fill.
        entry: the first entry that has it.
    """

    id: str
    kind: str
    entry: Entry


def own_ids(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the ids by which an event may be asked for, each with what it names: event, order or fill."""
    yield event.event_id, "event"
    if isinstance(event, Order | OrderResult):
        yield event.order_id, "order"
        yield event.client_order_id, "order"
    if isinstance(event, OrderResult) and event.trade_id:
        yield event.trade_id, "fill"


def chain_id(event: Event) -> str:
    """Return the id of the event that began the chain of an event."""
    return event.correlation_id or event.causation_id or event.event_id


@dataclass
class _Search:
    """Collects the ids that begin with a text, of what was decided before all others."""

    text: str
    decisive: dict[str, Hit] = field(default_factory=dict)
    others: dict[str, Hit] = field(default_factory=dict)

    def look(self, entry: Entry) -> None:
        found = self.decisive if entry.channel in DECISIVE else self.others
        for own, kind in own_ids(entry.event):
            if own.startswith(self.text) and own not in found and len(found) <= SHOWN:
                found[own] = Hit(own, kind, entry)

    @property
    def exact(self) -> Hit | None:
        return self.decisive.get(self.text) or self.others.get(self.text)

    def result(self) -> Hit | None:
        """Return what is meant; None when there is nothing."""
        if self.exact is not None:
            return self.exact
        found = self.decisive or self.others
        if len(found) > 1:
            raise AmbiguousId(self.text, sorted(found))
        return next(iter(found.values()), None)


class _Near:
    """Keeps the ids that have most characters in common with a text, place by place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._best: list[tuple[int, str]] = []

    def look(self, own: str) -> None:
        score = sum(mine == theirs for mine, theirs in zip(self._text, own, strict=False))
        candidate = (score, own)
        if score * 2 < len(self._text) or candidate in self._best:
            return
        if len(self._best) < SHOWN:
            heapq.heappush(self._best, candidate)
        else:
            heapq.heappushpop(self._best, candidate)

    @property
    def ids(self) -> list[str]:
        return [own for _, own in sorted(self._best, reverse=True)]


class Lookup(ABC):
    """Asks a history for single events and for what belongs together."""

    def __init__(self, history: History, tell: Tell) -> None:
        self.history = history
        self.tell = tell

    def find(self, text: str) -> Hit:
        """Return what an id, or the beginning of one, names.

        Raises:
            UnknownId: nothing; with what resembles it.
            AmbiguousId: more than one thing.
            IdTooShort: fewer characters than are looked for.
        """
        if len(text) < SHORTEST:
            raise IdTooShort(text)
        search, near = _Search(text), _Near(text)
        self._search(text, search, near)
        hit = search.result()
        if hit is None:
            raise UnknownId(text, self.history.where, near.ids)
        return hit

    @abstractmethod
    def _search(self, text: str, search: _Search, near: _Near) -> None:
        """Show every entry that has the text in it to the search, and the ids of what was decided to `near`."""

    @abstractmethod
    def chain(self, correlation_id: str) -> list[Entry]:
        """Return what has this correlation id, the event that began the chain first, in order.

        What follows from a command has no correlation id: there the direct cause counts.
        """

    @abstractmethod
    def event(self, event_id: str) -> Entry | None:
        """Return the event of this id; None when the history does not have it (any more)."""

    @abstractmethod
    def decided(self, symbol: str) -> Iterator[Entry]:
        """Yield what was decided of a symbol and what came of it, in order, and control events but the ticks."""

    @abstractmethod
    def last_market_data(self, symbol: str) -> Entry | None:
        """Return the last market data of a symbol."""


class FileLookup(Lookup):
    """Reads a file from its beginning; only what is looked for is decoded."""

    def _entries(self) -> Iterator[Entry]:
        for entry in self.history.entries():
            self.tell(entry.id.n)
            yield entry

    def _search(self, text: str, search: _Search, near: _Near) -> None:
        needle = text.encode()
        for entry in self._entries():
            if needle in entry.data:
                search.look(entry)
                if search.exact is not None:
                    return
            if entry.channel in DECISIVE:
                for own in _ID.findall(entry.data):
                    near.look(own.decode())

    def chain(self, correlation_id: str) -> list[Entry]:
        needle, found = correlation_id.encode(), []
        for entry in self._entries():
            if needle in entry.data:
                event = entry.event
                if correlation_id in {event.event_id, event.correlation_id or event.causation_id}:
                    found.append(entry)
        return found

    def event(self, event_id: str) -> Entry | None:
        needle = event_id.encode()
        for entry in self._entries():
            if needle in entry.data and entry.event.event_id == event_id:
                return entry
        return None

    def decided(self, symbol: str) -> Iterator[Entry]:
        needle = f'"{symbol}"'.encode()
        for entry in self._entries():
            control = entry.channel == channels.CONTROL and _TICK not in entry.data
            if control or (entry.channel in DECISIVE and needle in entry.data):
                yield entry

    def last_market_data(self, symbol: str) -> Entry | None:
        needle, last = f'"symbol":"{symbol}"'.encode(), None
        for entry in self._entries():
            if entry.channel == channels.MARKET_DATA and needle in entry.data:
                last = entry
        return last


class DatabaseLookup(Lookup):
    """Asks the event store by its indexes."""

    def _select(self, condition: str, *values: object, order: str = "seq", limit: int | None = None) -> list[Entry]:
        assert isinstance(self.history, DatabaseHistory)
        query = (
            "SELECT seq, epoch, channel, producer, cause, data FROM event_store.events "  # noqa: S608 -- only our own text
            f"WHERE {condition} ORDER BY {order}" + ("" if limit is None else f" LIMIT {limit}")
        )
        with self.history.database.cursor() as cur:
            cur.execute(query, values)
            rows = cur.fetchall()
        return [
            Entry(JournalId(epoch, seq), channel, producer, cause, bytes(data))
            for seq, epoch, channel, producer, cause, data in rows
        ]

    def _search(self, text: str, search: _Search, near: _Near) -> None:
        self._look(self._select("event_id = %s", text), search)
        if search.exact is not None:
            return
        needle = text.encode()
        self._look(self._select("channel = ANY(%s) AND position(%s IN data) > 0", list(DECISIVE), needle), search)
        if search.decisive:
            return
        self._look(self._select("event_id LIKE %s", _beginning(text), limit=SHOWN + 1), search)
        if not search.others:
            for entry in self._select("channel = ANY(%s)", list(DECISIVE)):
                for own in _ID.findall(entry.data):
                    near.look(own.decode())

    @staticmethod
    def _look(entries: Iterable[Entry], search: _Search) -> None:
        for entry in entries:
            search.look(entry)

    def chain(self, correlation_id: str) -> list[Entry]:
        rest = self._select("correlation_id = %s", correlation_id)
        began = self.event(correlation_id) or self._exported(correlation_id, rest)
        if began is not None and began.channel == channels.CONTROL:
            rest += self._caused(began)
            rest.sort(key=lambda entry: entry.id.n)
        known = {entry.id.n for entry in rest}
        return rest if began is None or began.id.n in known else [began, *rest]

    def _caused(self, began: Entry) -> list[Entry]:
        """Return what followed from a command or a tick without a chain of its own, at the same moment of the clock."""
        at = format_timestamp(began.event.timestamp)
        return self._select(
            "channel = ANY(%s) AND timestamp = %s::timestamptz AND correlation_id IS NULL AND causation_id = %s",
            [channels.CONTROL, channels.ALERTS],
            at,
            began.event.event_id,
        )

    def _exported(self, event_id: str, rest: list[Entry]) -> Entry | None:
        """Return market data past retention from the file that they were moved to; None without that file."""
        if not rest:
            return None
        assert isinstance(self.history, DatabaseHistory)
        with self.history.database.cursor() as cur:
            cur.execute(
                "SELECT first_seq, last_seq FROM event_store.exports WHERE dropped_at IS NOT NULL AND first_seq <= %s "
                "ORDER BY first_seq DESC LIMIT 1",
                (rest[0].id.n,),
            )
            moved = cur.fetchone()
        if moved is None:
            return None
        needle = event_id.encode()
        try:
            for record in self.history.records(moved[0] - 1):
                entry = record.entry
                if entry.id.n > min(rest[0].id.n, moved[1]):
                    return None
                if entry.channel == channels.MARKET_DATA and needle in entry.data:
                    return entry
        except HistoryUnusable:  # the file is not there: the story says that the market data are not
            return None
        return None

    def event(self, event_id: str) -> Entry | None:
        return next(iter(self._select("event_id = %s", event_id, limit=1)), None)

    def decided(self, symbol: str) -> Iterator[Entry]:
        yield from self._select(
            "(channel = ANY(%s) AND position(%s IN data) > 0) OR (channel = 'control' AND position(%s IN data) = 0)",
            list(DECISIVE),
            f'"{symbol}"'.encode(),
            _TICK,
        )

    def last_market_data(self, symbol: str) -> Entry | None:
        needle = f'"symbol":"{symbol}"'.encode()
        condition = "channel = 'market_data' AND position(%s IN data) > 0"
        return next(iter(self._select(condition, needle, order="seq DESC", limit=1)), None)


def _beginning(text: str) -> str:
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"{text}%"


def lookup_of(history: History, tell: Tell | None = None) -> Lookup:
    """Return how to look into a history.

    Args:
        history: a file or a database.
        tell: called with the numbers of entries that are read on the way.
    """
    look = DatabaseLookup if isinstance(history, DatabaseHistory) else FileLookup
    return look(history, tell or (lambda _: None))
