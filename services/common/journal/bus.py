"""A service's consuming side: one cursor over its channels, every entry exactly once and in order.

Pub/sub is fast and forgets; the stream remembers. So the bus subscribes first, then reads the stream from its cursor
until its end, then follows what arrives. Whatever looks wrong (a lost connection, an id that does not follow, a silent
channel whose last id is beyond the cursor) makes it start over from the cursor: nothing was handed out that would have
to be taken back. In mode `xread` it follows the stream itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import redis

from services.common.channels import CONTROL, FOREIGN_OWNER, ORDER_RESULTS, ORDERS, RISK_DECISIONS
from services.common.errors import JournalClosed, StateMismatch
from services.common.journal import keys
from services.common.journal.archive import EventArchive
from services.common.journal.attachment import Attachment, attach
from services.common.journal.entry import Entry, JournalId
from services.common.journal.envelope import Envelope, open_envelope
from services.common.journal.lineage import BEGINNING
from services.common.journal.link import Link
from services.common.journal.stream_reader import await_entries, decode_entry, read_after, read_head
from services.common.journal.subscriber import Message, Subscriber
from services.common.settings import Infrastructure

__all__ = ["Bus", "ForeignMessage"]

PAGE: Final = 512
IDLE_SEC: Final = 0.25
BUSY_SEC: Final = 1.0
LATE_SEC: Final = 0.05
MAX_FOREIGN: Final = 10_000

VERIFIED: Final = frozenset({ORDERS, RISK_DECISIONS, ORDER_RESULTS, CONTROL})
"""Channels whose messages must carry the seal, or be found in the stream, before they are handed out: they trade."""


class ForeignMessage(NamedTuple):
    """A message that did not come through the journal, as it arrived."""

    channel: str
    raw: bytes


class _StartOver(Exception):
    """What arrived does not follow what was handed out."""


class _NothingArrives(_StartOver):
    """The stream has gone on and the subscription has not said so: perhaps it is dead."""


class Bus:
    """One cursor over a service's channels.

    Args:
        infra: where Redis is.
        service: whose bus it is; it decides which foreign messages are taken.
        channels: whose entries are handed out.
        mode: `pubsub` (fast) or `xread` (the stream alone).
        archive: read when the stream has a hole.
    """

    def __init__(
        self,
        infra: Infrastructure,
        service: str,
        channels: frozenset[str],
        *,
        mode: Literal["pubsub", "xread"] = "pubsub",
        archive: EventArchive | None = None,
    ) -> None:
        self._infra = infra
        self._service = service
        self._channels = channels
        self._mode = mode
        self._archive = archive
        self._foreign_channels = frozenset(name for name, owner in FOREIGN_OWNER.items() if owner == service)
        self._link = Link(infra, name=f"{service}:bus", greet=self._greet)
        self._attachment: Attachment | None = None
        self._subscriber: Subscriber | None = None
        self._following = False
        self._floor = 0
        self._seen: dict[str, JournalId] = {}
        self._head = 0
        self._heard = self._looked = 0.0
        self._ready: list[Entry] = []  # behind the cursor and not handed out yet: a failure in between loses nothing
        self._foreign: list[ForeignMessage] = []
        self.cursor: JournalId = BEGINNING
        """Everything on this bus's channels up to here has been handed out."""
        self.problem: str | None = "not opened"
        """Why nothing can be received now; None while all is well."""
        self.restarts = 0
        """How often it started over from its cursor."""
        self.foreign_dropped = 0
        """Foreign messages beyond the backlog of 10 000 that nobody had taken."""

    # what the service sees

    def open(self, cursor: JournalId | None, *, timeout_sec: float = 10.0) -> None:
        """Take up the journal after `cursor` (None: from its beginning), waiting for the bus to be opened.

        Raises:
            JournalClosed: the bus was not opened within `timeout_sec`.
            StateMismatch: the journal does not have the cursor's entry (any more): take an older snapshot.
            redis.ConnectionError, redis.TimeoutError: Redis cannot be reached within `timeout_sec`.
        """
        self.hear()
        self.close()
        self.cursor = BEGINNING if cursor is None else cursor
        self._ready = []
        deadline = time.monotonic() + timeout_sec
        while True:
            try:
                self._link.ensure()
            except (JournalClosed, redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
            else:
                self.problem = None
                return

    def poll(self, timeout_sec: float) -> list[Entry]:
        """Return the next entries after the cursor, in order; an empty list when none came within `timeout_sec`.

        Returns early, and perhaps empty, when a foreign message came. While Redis is away or closed, `problem` says so.

        Raises:
            JournalHole: events between the cursor and what is left are gone.
            StateMismatch: Redis lost the entry at the cursor, or an entry was passed over: rebuild from a snapshot.
        """
        deadline = time.monotonic() + timeout_sec
        while True:
            try:
                self._next(deadline)
                self.problem = None
            except _NothingArrives:
                self._start_over()
            except _StartOver:  # what is behind it on this connection is not lost: the stream tells which of it is new
                self._following = False
                self.restarts += 1
            except (redis.ConnectionError, redis.TimeoutError, OSError, JournalClosed) as error:
                self.problem = str(error)
                self._link.close()
                self._start_over()
                if not self._ready:
                    time.sleep(max(0.0, min(LATE_SEC, deadline - time.monotonic())))
            if self._ready or self._foreign or time.monotonic() >= deadline:
                ready, self._ready = self._ready, []
                return ready

    def hear(self) -> None:
        """Take the foreign messages that have arrived, and only them: they stand nowhere else.

        In mode `pubsub` this drops what else had arrived: only for a bus that starts over, or reads the stream itself.
        """
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError, OSError):
            for _ in range(MAX_FOREIGN // PAGE + 1):
                messages = self._receive(0.0)
                if not messages:
                    return
                self._take_foreign_from(messages)

    def take_foreign(self) -> list[ForeignMessage]:
        """Return the foreign messages that came on channels this service owns, in order of arrival."""
        taken, self._foreign = self._foreign, []
        return taken

    @property
    def at_head(self) -> bool:
        """Whether everything that the journal had at the last look has been handed out."""
        return self._following and self.lag == 0

    @property
    def lag(self) -> int:
        """Journal entries between the cursor and the head as last seen (those of other channels included)."""
        return max(0, self._head - self.cursor.n)

    def close(self) -> None:
        """Drop the connections."""
        self._drop_subscriber()
        self._link.close()
        self.problem = "closed"

    # connections

    def _greet(self) -> None:
        found = attach(self._link)
        if not found.epochs.contains(self.cursor, found.head):
            raise StateMismatch(
                f"{self._service}: entry {self.cursor} is not in the journal (head {found.head}, epoch {found.epoch}): "
                "Redis lost it"
            )
        self._attachment = found
        self._head = found.head

    @property
    def _attached(self) -> Attachment:
        self._link.ensure()
        assert self._attachment is not None
        return self._attachment

    def _drop_subscriber(self) -> None:
        self._following = False
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None

    def _start_over(self) -> None:
        self.hear()
        self._drop_subscriber()
        self.restarts += 1

    # reading

    def _next(self, deadline: float) -> None:
        self._link.ensure()
        if self._subscriber is None:
            subscribed = self._foreign_channels if self._mode == "xread" else self._channels | self._foreign_channels
            if subscribed:
                self._subscriber = Subscriber(self._infra, subscribed, name=f"{self._service}:subscriber")
        if not self._following:
            self._catch_up()
        elif self._mode == "xread":
            self._follow_stream(deadline)
        else:
            self._follow_channels(deadline)

    def _catch_up(self) -> None:
        # What arrived already is in the stream that is read below; taking it here keeps the server's buffer short.
        self._take_foreign_from(self._receive(0.0))
        last_ids = self._last_ids()  # before the page, so that each channel's last id is here or in the page
        entries, self._head = read_after(self._link, self._attached, self.cursor.n, PAGE, self._archive)
        self._take(entries)
        if self.cursor.n >= self._head:
            self._following = True
            self._floor = self.cursor.n
            self._seen = last_ids | {entry.channel: entry.id for entry in entries}
            self._heard = self._looked = time.monotonic()

    def _follow_stream(self, deadline: float) -> None:
        self._take_foreign_from(self._receive(0.0))
        wait_sec = 0.0 if self._foreign else max(0.0, min(IDLE_SEC, deadline - time.monotonic()))
        entries = await_entries(
            self._link, self._attached, self.cursor.n, PAGE, block_ms=int(1000 * wait_sec), archive=self._archive
        )
        self._take(entries)
        self._head = max(self._head, self.cursor.n)
        if len(entries) == PAGE:
            self._head = read_head(self._link, self._attached)

    def _take(self, entries: Sequence[Entry]) -> None:
        """Move the cursor over a page and keep what is ours in it: both or neither."""
        if entries:
            self.cursor = entries[-1].id
            self._ready += [entry for entry in entries if entry.channel in self._channels]

    # pub/sub

    def _receive(self, timeout_sec: float) -> list[Message]:
        return [] if self._subscriber is None else self._subscriber.receive(timeout_sec, PAGE)

    def _follow_channels(self, deadline: float) -> None:
        look_at = min(max(self._heard, self._looked) + IDLE_SEC, self._looked + BUSY_SEC)
        messages = self._receive(max(0.0, min(deadline, look_at) - time.monotonic()))
        now = time.monotonic()
        if messages:
            self._heard = now
        self._accept(messages)
        if now >= look_at:
            self._look()

    def _accept(self, messages: Sequence[Message]) -> None:
        """Take the messages that follow from the cursor.

        Raises:
            _StartOver: one does not follow; those before it are taken.
        """
        for channel, envelope in self._take_foreign_from(messages):
            if channel in self._channels:
                self._follow(channel, envelope)

    def _follow(self, channel: str, envelope: Envelope) -> None:
        entry_id, previous = envelope.id, envelope.previous
        if entry_id.n <= self._floor:
            return  # published while we caught up: read from the stream already
        attached = self._attachment
        assert attached is not None, "what is followed was greeted"
        if entry_id.epoch != attached.epoch or entry_id.n <= self.cursor.n:
            raise _StartOver
        if previous != self._seen[channel]:
            self._refuse_passed_over(channel, previous)
            raise _StartOver
        entry = envelope.entry(channel)
        if entry is None:
            raise _StartOver
        if (
            channel in VERIFIED
            and not envelope.is_sealed(channel, attached.secret)
            and self._entry_at(entry_id) != entry
        ):
            raise _StartOver  # whoever may PUBLISH can write our envelope around an order: the stream is believed
        self._seen[channel] = self.cursor = entry_id
        self._head = max(self._head, entry_id.n)
        self._ready.append(entry)

    def _entry_at(self, place: JournalId) -> Entry | None:
        """Return what the stream has at this very place."""
        found = self._link.call("XRANGE", keys.JOURNAL, str(place), str(place))
        return decode_entry(*found[0]) if found else None

    def _refuse_passed_over(self, channel: str, place: JournalId) -> None:
        """Halt when an entry of ours before the cursor was never handed out: it cannot be put back in order."""
        if not self._seen[channel].n < place.n <= self.cursor.n:
            return
        entry = self._entry_at(place)
        if entry is not None and entry.channel == channel:
            raise StateMismatch(f"{self._service}: entry {place} on {channel} was passed over; restart from a snapshot")

    def _last_ids(self) -> dict[str, JournalId]:
        names = sorted(self._channels)
        values = self._link.call("HMGET", keys.LAST_ID, *names) if names else []
        return {
            name: BEGINNING if value is None else JournalId.parse(value)
            for name, value in zip(names, values, strict=True)
        }

    def _look(self) -> None:
        """Compare the channels' last ids with what came: a lost last message shows no gap."""
        self._looked = time.monotonic()
        head = read_head(self._link, self._attached)
        last_ids = self._last_ids()
        for name, last in last_ids.items():
            self._refuse_passed_over(name, last)
        self._head = max(head, self.cursor.n)
        if all(last.n <= self.cursor.n for last in last_ids.values()):
            if head > self.cursor.n:
                self.cursor = self._attached.epochs.id_of(head)  # the rest are entries of channels that are not ours
            return
        before = self.cursor
        messages = self._receive(LATE_SEC)
        self._accept(messages)
        if self.cursor == before and not messages:  # what is missing may stand behind a flood of foreign messages
            raise _NothingArrives

    # foreign messages

    def _take_foreign_from(self, messages: Iterable[Message]) -> list[tuple[str, Envelope]]:
        """Keep the messages that did not come through the journal, and return the others."""
        ours = []
        for message in messages:
            envelope = open_envelope(message.data)
            if envelope is not None:
                ours.append((message.channel, envelope))
            elif message.channel in self._foreign_channels:
                if len(self._foreign) >= MAX_FOREIGN:
                    self.foreign_dropped += 1
                else:
                    self._foreign.append(ForeignMessage(*message))
        return ours
