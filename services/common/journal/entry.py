"""One place in the journal, and what stands there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from services.common.errors import ContractViolation
from services.common.events import Event, parse_event

__all__ = ["Cause", "Entry", "JournalId"]


class JournalId(NamedTuple):
    """`<epoch>-<n>`: n grows by exactly one over a journal's whole life; the epoch grows when Redis lost a tail."""

    epoch: int
    n: int

    def __str__(self) -> str:
        """Return the id as Redis writes it."""
        return f"{self.epoch}-{self.n}"

    @classmethod
    def parse(cls, text: str | bytes) -> JournalId:
        """Read an id as Redis writes it.

        Raises:
            ContractViolation: not `<epoch>-<n>`.
        """
        epoch, _, n = (text.decode() if isinstance(text, bytes) else text).partition("-")
        if not (epoch.isdigit() and n.isdigit()):
            raise ContractViolation(f"{text!r} is no journal id; <epoch>-<n> is meant, for example 1-42")
        return cls(int(epoch), int(n))


class Cause(NamedTuple):
    """Why a batch was published; the script refuses a cause that is not above its source's high-water mark.

    Attributes:
        source: empty for a journal entry; otherwise the producer's own numbered source, for example `feed`
            (market data and ticks), `foreign` (admitted messages), `alert` (of the shell), `announce` (a start).
        number: journal number n of the entry, or the source's own growing number.
        epoch: epoch of the entry, when known; the publish then refuses an entry that Redis lost. Not part of the form
            that stands in the journal.
    """

    source: str
    number: int
    epoch: int | None = None

    @classmethod
    def of(cls, entry_id: JournalId) -> Cause:
        """Return the cause of what follows from handling one journal entry."""
        return cls("", entry_id.n, entry_id.epoch)

    def __str__(self) -> str:
        """Return the form that stands in the journal: `42` or `feed:42`."""
        return f"{self.source}:{self.number}" if self.source else str(self.number)

    @classmethod
    def parse(cls, text: str | bytes) -> Cause:
        """Read the form that stands in the journal."""
        source, colon, number = (text.decode() if isinstance(text, bytes) else text).rpartition(":")
        if not number.isdigit() or (colon and not source):
            raise ContractViolation(f"{text!r} is no cause; 42 or feed:42 is meant")
        return cls(source, int(number))


class _WhenAsked:
    """The bytes of an entry that was made in this process: encoded when they are first asked for, then kept."""

    def __get__(self, entry: Entry | None, owner: type[Entry]) -> bytes:
        """Encode the event of an entry without bytes (called only while it has none)."""
        if entry is None:
            raise AttributeError("a field of Entry without default")
        data = entry.__dict__["data"] = entry.event.data
        return data


class _ReadWhenAsked:
    """The event of an entry that was read: parsed when it is first asked for, then kept (no lock, as a property's)."""

    def __get__(self, entry: Entry | None, owner: type[Entry]) -> Event:
        """Read the bytes of an entry without event (called only while it has none)."""
        if entry is None:
            raise AttributeError("an entry has its event, its class has none")
        event = entry.__dict__["event"] = parse_event(entry.channel, entry.data)
        return event


@dataclass(frozen=True, repr=False)
class Entry:
    """One journal entry. `data` are the canonical bytes; the event is decoded once, when first asked for.

    An entry that was made in this process (`Entry.of`) has its event at once, and its bytes when first asked for.
    """

    id: JournalId
    channel: str
    producer: str
    cause: str
    data: bytes = _WhenAsked()  # type: ignore[assignment]

    @classmethod
    def of(cls, id_: JournalId, producer: str, cause: str, event: Event) -> Entry:
        """Return the entry of an event that has just been made, without encoding it before anybody needs the bytes."""
        entry = _new(cls)
        fields = entry.__dict__  # straight, since the entry is frozen
        fields["id"], fields["channel"], fields["producer"], fields["cause"] = id_, event.channel, producer, cause
        fields["event"] = event
        return entry

    @classmethod
    def read(cls, id_: JournalId, channel: str, producer: str, cause: str, data: bytes) -> Entry:
        """Return the entry of bytes that were read: as the class itself does, for a third of the time."""
        entry = _new(cls)
        entry.__dict__.update(id=id_, channel=channel, producer=producer, cause=cause, data=data)
        return entry

    def __repr__(self) -> str:
        """Return where the entry stands, without its bytes."""
        return f"Entry(id={self.id!r}, channel={self.channel!r}, producer={self.producer!r}, cause={self.cause!r})"

    event = _ReadWhenAsked()
    """The event of this entry; raises `ContractViolation` when the bytes are not an event of its channel."""


_new = object.__new__
