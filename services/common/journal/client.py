"""What a service says to the journal: publish, advance, and questions about the whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import redis

from services.common.channels import WRITER
from services.common.errors import FenceLost, JournalClosed, PublishRefused, PublishRejected, StateMismatch
from services.common.events import Event
from services.common.journal import keys
from services.common.journal.admission import (
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    admission_class,
    run_begun,
)
from services.common.journal.archive import EventArchive
from services.common.journal.attachment import Attachment, attach
from services.common.journal.dead_letters import (
    MAX_DEAD_LETTERS,
    MAX_RAW_BYTES,
    MAX_REASON,
    DeadLetter,
    decode_dead_letter,
)
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.link import Link
from services.common.journal.scripts import ADVANCE, DEAD_LETTER, DURABLE, PUBLISH, TRIM
from services.common.journal.stream_reader import await_entries, read_after, read_head
from services.common.settings import Infrastructure

__all__ = ["JournalClient", "Pressure", "PublishResult"]

Pressure = Literal["none", "market_data", "entries"]

_PRESSURE: dict[bytes, Pressure] = {b"market_data": "market_data", b"entries": "entries"}


@dataclass(frozen=True)
class PublishResult:
    """What became of a batch.

    Attributes:
        status: `new`, or `repeated` when the journal already had the outputs of this cause.
        ids: of the appended entries; empty when repeated.
        head: number of the journal's last entry.
        pressure: what a journal short of memory refuses now.
    """

    status: Literal["new", "repeated"]
    ids: tuple[JournalId, ...]
    head: int
    pressure: Pressure


class JournalClient:
    """One connection to the journal, for one service; safe to share between threads.

    Errors of the connection (`redis.ConnectionError`, `redis.TimeoutError`) pass through: whether the call was done is
    unknown then, and it may simply be repeated, since every call here is idempotent (a publish by its cause).

    Args:
        infra: where Redis is; `TURNSTILE` adds the wake-ups of the turnstile.
        name: shown in CLIENT LIST.
        archive: read when the stream has a hole.
    """

    def __init__(self, infra: Infrastructure, *, name: str, archive: EventArchive | None = None) -> None:
        self._link = Link(infra, name=name, greet=self._attach)
        self._archive = archive
        self._turnstile = "1" if infra.TURNSTILE else "0"
        self._lock = threading.RLock()
        self._attachment: Attachment | None = None
        self._bound_epoch: int | None = None
        self._published: dict[str, int] = {}
        self._lost: str | None = None

    # connection

    def _attach(self) -> None:
        found = attach(self._link)
        if self._attachment is not None and self._attachment.epoch != found.epoch:
            self._compare_marks()
        if self._bound_epoch is None:
            self._bound_epoch = found.epoch
        self._attachment = found

    def _compare_marks(self) -> None:
        """Notice that Redis lost something that this client had been told was published."""
        for field, number in self._published.items():
            found = int(self._link.call("HGET", keys.HIGH_WATER, field) or 0)
            if found < number:
                self._lost = f"Redis lost outputs of {field}: {number} was published, the journal knows {found}"

    @property
    def _attached(self) -> Attachment:
        self._link.ensure()
        assert self._attachment is not None
        return self._attachment

    def _attached_for(self, cause: Cause | None) -> Attachment:
        """Return the attachment, made anew when the cause is of an epoch that it does not know yet."""
        attachment = self._attached
        if cause is not None and cause.epoch is not None and cause.epoch > attachment.epoch:
            self._link.close()  # Redis was restarted since; whoever read the cause has noticed that before us
            attachment = self._attached
        return attachment

    def close(self) -> None:
        """Drop the connection; a later call makes a new one."""
        self._link.close()

    # publishing

    def publish(self, producer: str, fence: int | None, cause: Cause | None, events: Sequence[Event]) -> PublishResult:
        """Append all outputs of one cause, exactly once, and publish them on their channels.

        Args:
            producer: the service (or `operator`); every event must name it.
            fence: of the service's lease; None only for the operator.
            cause: what the batch follows from; None only for the operator, whose commands carry a command_id.
            events: in order; one at least.

        Raises:
            FenceLost: another instance of the service has taken over.
            PublishRefused: the journal is short of memory for this class of events, or cannot write now; try again.
            PublishRejected: the batch is malformed: a fault.
            JournalClosed: Redis was restarted and not opened again yet; try again.
            StateMismatch: the cause, or what was published before it, is lost: rebuild from an older snapshot.
            redis.ConnectionError, redis.TimeoutError: unknown outcome; repeat.
        """
        batch = self._pack(producer, events)
        run_id = run_begun(events)
        with self._lock:
            attachment = self._attached_for(cause)
            self._require_lineage(attachment, cause)
            reply = self._run_publish(
                [
                    producer,
                    "" if fence is None else fence,
                    "" if cause is None else cause.source,
                    "" if cause is None else cause.number,
                    attachment.epoch,
                    attachment.server,
                    admission_class(events),
                    self._turnstile,
                    run_id,
                    *batch,
                ]
            )
            if reply[0] not in {b"new", b"repeated"}:
                self._refuse(producer, reply)
            _, count, head, level = reply
            if cause is not None:
                field = f"{producer}/{cause.source}" if cause.source else producer
                self._published[field] = max(cause.number, self._published.get(field, 0))
            ids = tuple(JournalId(attachment.epoch, n) for n in range(head - count + 1, head + 1))
            return PublishResult("new" if count else "repeated", ids, head, _PRESSURE.get(level, "none"))

    @staticmethod
    def _pack(producer: str, events: Sequence[Event]) -> list[str | bytes]:
        if not 1 <= len(events) <= MAX_BATCH_EVENTS:
            raise PublishRejected(f"{producer}: a batch has 1 to {MAX_BATCH_EVENTS} events, not {len(events)}")
        batch: list[str | bytes] = []
        size = 0
        for event in events:
            if event.producer != producer:
                raise PublishRejected(f"{producer} cannot publish an event of {event.producer}")
            data = event.data
            if len(data) > MAX_EVENT_BYTES:
                raise PublishRejected(f"{producer}: {event.event_id} has {len(data)} bytes, over {MAX_EVENT_BYTES}")
            size += len(data)
            batch += (event.channel, data)
        if size > MAX_BATCH_BYTES:
            raise PublishRejected(f"{producer}: a batch of {size} bytes, over {MAX_BATCH_BYTES}")
        return batch

    def _run_publish(self, arguments: list[Any]) -> list[Any]:
        names = (
            keys.JOURNAL, keys.HIGH_WATER, keys.CURSOR, keys.LAST_ID, keys.FENCE, keys.BUS, keys.BUS_OPEN,
        )  # fmt: skip
        try:
            reply: list[Any] = self._link.run(PUBLISH, names, arguments)
        except redis.ResponseError as error:
            raise PublishRejected(f"Redis refused the batch: {error}") from error
        return reply

    def _require_lineage(self, attachment: Attachment, cause: Cause | None) -> None:
        if self._lost is not None:
            raise StateMismatch(self._lost)
        if cause is None or cause.source:
            return
        if cause.epoch is not None:
            place = JournalId(cause.epoch, cause.number)
            if attachment.epochs.id_of(cause.number) != place:
                raise StateMismatch(f"entry {place} is on a tail that Redis lost")
            return
        assert self._bound_epoch is not None
        shared = attachment.epochs.lost_after(self._bound_epoch)
        if shared is not None and cause.number > shared:
            raise StateMismatch(
                f"the journal began epoch {attachment.epoch} after {shared}; a cause without its epoch "
                f"({cause.number}) cannot be told from one that Redis lost"
            )

    def _refuse(self, service: str, reply: list[Any]) -> NoReturn:
        status, detail = reply[0].decode(), reply[1].decode()
        if status == "fence_lost":
            raise FenceLost(f"{service}: fence {detail} was given to another instance")
        if status == "refused":
            raise PublishRefused(f"{service}: the journal is short of memory and refuses {detail}")
        if status == "closed":
            self._link.close()
            raise JournalClosed(f"{service}: {detail}")
        if status == "lost":
            raise StateMismatch(f"{service}: {detail}: Redis lost a tail")
        raise PublishRejected(f"{service}: {detail}")

    def append_fsync(self) -> str:
        """Return when Redis writes its log to the disk: `always`, `everysec`, `no`, or `off` when it keeps none."""
        if dict(self._pairs("appendonly")).get("appendonly") != "yes":
            return "off"
        return dict(self._pairs("appendfsync")).get("appendfsync", "unknown")

    def _pairs(self, name: str) -> list[tuple[str, str]]:
        reply: Any = self._link.call("CONFIG", "GET", name)
        flat = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else list(reply)
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in flat]
        return list(zip(words[::2], words[1::2], strict=True))

    def advance(self, service: str, fence: int, n: int | JournalId) -> None:
        """Say that `service` has handled everything up to `n`, without outputs; an older n changes nothing.

        Raises:
            FenceLost, JournalClosed, StateMismatch: as :meth:`publish`.
        """
        place = n if isinstance(n, JournalId) else None
        with self._lock:
            cause = Cause("", place.n, place.epoch) if place is not None else Cause("", int(n))  # type: ignore[arg-type]
            attachment = self._attached_for(cause)
            self._require_lineage(attachment, cause)
            reply = self._link.run(
                ADVANCE,
                (keys.CURSOR, keys.FENCE, keys.BUS, keys.BUS_OPEN),
                (service, fence, cause.number, attachment.epoch, attachment.server, self._turnstile),
            )
            if reply[0] != b"ok":
                self._refuse(service, reply)

    def set_durable(self, service: str, fence: int, place: JournalId) -> None:
        """Note that a snapshot at `place` is safe on disk, so that the stream before it may be trimmed.

        Raises:
            FenceLost, JournalClosed: as :meth:`publish`.
        """
        with self._lock:
            attachment = self._attached
            reply = self._link.run(
                DURABLE,
                (keys.DURABLE, keys.FENCE, keys.BUS, keys.BUS_OPEN),
                (service, fence, str(place), attachment.epoch, attachment.server),
            )
            if reply[0] != b"ok":
                self._refuse(service, reply)

    def trim(self, fence: int, written: int, margin: int, services: Sequence[str]) -> int:
        """Trim the stream; see :func:`services.common.journal.trimming.trim`."""
        with self._lock:
            attachment = self._attached
            reply = self._link.run(
                TRIM,
                (keys.JOURNAL, keys.DURABLE, keys.FENCE, keys.BUS, keys.BUS_OPEN, keys.EPOCHS),
                (WRITER, fence, written, margin, attachment.epoch, attachment.server, *services),
            )
            if reply[0] != b"ok":
                self._refuse(WRITER, reply)
            return int(reply[1])

    def keep_dead_letter(self, service: str, channel: str, reason: str, raw: bytes) -> None:
        """Keep a refused message; see :class:`services.common.journal.dead_letters.DeadLetter`."""
        self._link.run(
            DEAD_LETTER,
            (keys.DEAD_LETTER, keys.DEAD_LETTER_COUNT),
            (MAX_DEAD_LETTERS, service, channel, reason[:MAX_REASON], len(raw), raw[:MAX_RAW_BYTES]),
        )

    def dead_letters(self, count: int = 100) -> list[DeadLetter]:
        """Return the newest dead letters, newest first."""
        page = self._link.call("XREVRANGE", keys.DEAD_LETTER, "+", "-", "COUNT", count)
        return [decode_dead_letter(letter_id, fields) for letter_id, fields in page]

    def dead_letter_counts(self) -> dict[str, int]:
        """Return channel to the number of dead letters ever."""
        return {name: int(value) for name, value in self._hash(keys.DEAD_LETTER_COUNT).items()}

    # questions

    def head(self) -> JournalId | None:
        """Return the id of the last entry, None while the journal is empty."""
        with self._lock:
            attachment = self._attached
            n = read_head(self._link, attachment)
            return attachment.epochs.id_of(n) if n else None

    def cursors(self) -> dict[str, int]:
        """Return service to the number up to which it has handled everything."""
        return {name: int(value) for name, value in self._hash(keys.CURSOR).items()}

    def durable(self) -> dict[str, JournalId]:
        """Return service to the id of its newest durable snapshot."""
        return {name: JournalId.parse(value) for name, value in self._hash(keys.DURABLE).items()}

    def last_ids(self) -> dict[str, JournalId]:
        """Return channel to the id of its last entry."""
        return {name: JournalId.parse(value) for name, value in self._hash(keys.LAST_ID).items()}

    def high_water(self, field: str) -> int:
        """Return the highest cause number of `<producer>` or `<producer>/<source>`, 0 when there is none."""
        return int(self._link.call("HGET", keys.HIGH_WATER, field) or 0)

    def epochs(self) -> dict[int, int]:
        """Return epoch to the number of its first entry."""
        return dict(self._attached.epochs.first_n)

    def run_id(self) -> str | None:
        """Return the run_id of the last `started` of cdb_ws, None before the first."""
        value = self._link.call("HGET", keys.BUS, "run_id")
        return None if value is None else value.decode()

    def pressure(self) -> Pressure:
        """Return what a journal short of memory refuses, as the last publish saw it."""
        return _PRESSURE.get(self._link.call("HGET", keys.BUS, "memory"), "none")

    def lineage_ok(self, place: JournalId) -> bool:
        """Return whether `place` (of a snapshot, a cursor) exists in the journal: nothing up to it was lost."""
        with self._lock:
            attachment = self._attached
            return attachment.epochs.contains(place, read_head(self._link, attachment))

    def read(self, after: int, count: int, *, block_ms: int | None = None) -> list[Entry]:
        """Return up to `count` entries after number `after`: the whole total order, contiguous.

        Args:
            after: number of the last entry already read (0: none).
            count: at most so many.
            block_ms: wait so long for a first entry; other threads' calls on this client wait as well.

        Raises:
            JournalHole: the next entry is neither in the stream nor in the archive.
            StateMismatch: `after` is beyond the head.
            JournalClosed: as :meth:`publish`.
        """
        with self._lock:
            attachment = self._attached
            entries, _ = read_after(self._link, attachment, after, count, self._archive)
            if entries or block_ms is None:
                return entries
            return await_entries(self._link, attachment, after, count, block_ms=block_ms, archive=self._archive)

    def _hash(self, key: str) -> dict[str, bytes]:
        flat = self._link.call("HGETALL", key)
        return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}
