"""Turns journal entries into batches: chained events, the rows of the five tables, anchors, and the state after them.

Pure. A batch says what the store must hold before it and what it holds after it, so that a repetition is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.cdb_writer.chain import ChainHead, link
from services.cdb_writer.envelope import read_envelope
from services.cdb_writer.projection import Projection
from services.cdb_writer.rows import EventRow, Row
from services.common.errors import StoreError
from services.common.journal.entry import Entry
from services.common.timestamps import DAY_US, format_timestamp

__all__ = ["Anchor", "Batch", "Recorder", "Run"]


@dataclass(frozen=True)
class Anchor:
    """The head of the chain when the clock of a run left a UTC day (or the run ended)."""

    run_id: str
    day: str
    head: ChainHead


@dataclass(frozen=True)
class Run:
    """A run and the journal number of the `started` that began it."""

    run_id: str
    first_seq: int
    started_at: str


@dataclass(frozen=True)
class Batch:
    """What one transaction writes.

    Attributes:
        before, after: the chain's head that the store must have, and the one that it has then.
        events: the chained events, in order.
        rows: of the five tables, one for each key, parents before children.
        state: the projection's state after these events.
        epochs: first number of each epoch that begins here.
    """

    before: ChainHead
    after: ChainHead
    events: list[EventRow]
    rows: list[Row]
    state: bytes
    anchors: list[Anchor]
    runs: list[Run]
    epochs: dict[int, int]


class Recorder:
    """Folds entries into batches, each one on top of the one before."""

    def __init__(self, head: ChainHead, state: bytes | None) -> None:
        """Go on from what the store holds.

        Raises:
            StateMismatch: the state is not one of the projection.
        """
        self.head = head
        self.projection = Projection()
        if state is not None:
            self.projection.restore(state)

    def fold(self, entries: Sequence[Entry]) -> Batch:
        """Return the batch of the next entries.

        Raises:
            StoreError: the entries do not follow the head.
            ContractViolation, IllegalTransition: an entry cannot be folded; it is named.
        """
        projection = self.projection
        (seq, epoch, digest) = (self.head.seq, self.head.epoch, self.head.hash)
        events: list[EventRow] = []
        anchors: list[Anchor] = []
        runs: list[Run] = []
        epochs: dict[int, int] = {}
        run_id, day = _run_and_day(projection)
        for entry in entries:
            if entry.id.n != seq + 1 or entry.id.epoch < epoch:
                raise StoreError(f"entry {entry.id} does not follow {epoch}-{seq}, the end of the chain")
            if entry.id.epoch != epoch:
                epochs[entry.id.epoch] = entry.id.n
            envelope = read_envelope(entry.channel, entry.data)
            projection.fold(entry, envelope)
            place = _run_and_day(projection)
            if place != (run_id, day):
                if run_id is not None and day is not None:
                    anchors.append(Anchor(run_id, _day_text(day), ChainHead(seq, epoch, digest)))
                if place[0] is not None and place[0] != run_id:
                    runs.append(Run(place[0], entry.id.n, envelope.timestamp))
                run_id, day = place
            digest = link(digest, entry)
            seq, epoch = entry.id.n, entry.id.epoch
            events.append(EventRow.of(entry, envelope, digest))
        before, self.head = self.head, ChainHead(seq, epoch, digest)
        return Batch(before, self.head, events, projection.take_rows(), projection.dump(), anchors, runs, epochs)


def _run_and_day(projection: Projection) -> tuple[str | None, int | None]:
    now = projection.state.now
    return projection.state.run_id, None if now is None else now // DAY_US


def _day_text(day: int) -> str:
    return format_timestamp(day * DAY_US)[:10]
