"""Batches: what stands in one transaction."""

from __future__ import annotations

from itertools import pairwise

import pytest

from services.cdb_writer.chain import ChainHead
from services.cdb_writer.recorder import Recorder, Run
from services.common.errors import ContractViolation, StateMismatch, StoreError
from services.common.journal.entry import Entry, JournalId
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.unit


def test_batches_of_any_size_give_the_same_chain_and_state() -> None:
    """How entries are cut into batches changes nothing but the batches."""
    entries = tell(5, 300).entries
    whole = Recorder(ChainHead(), None).fold(entries)
    recorder = Recorder(ChainHead(), None)
    cut = [recorder.fold(entries[i : i + 7]) for i in range(0, len(entries), 7)]
    assert cut[-1].after == whole.after
    assert cut[-1].state == whole.state
    assert [row for batch in cut for row in batch.events] == whole.events
    assert [anchor for batch in cut for anchor in batch.anchors] == whole.anchors
    assert all(batch.before == before.after for before, batch in pairwise(cut))


def test_a_recorder_goes_on_from_a_stored_state() -> None:
    """A restart between batches continues the same chain with the same rows."""
    entries = tell(6, 200).entries
    first = Recorder(ChainHead(), None)
    one = first.fold(entries[:90])
    two = first.fold(entries[90:])
    again = Recorder(one.after, one.state).fold(entries[90:])
    assert again == two


@pytest.mark.parametrize("place", [JournalId(1, 2), JournalId(1, 0), JournalId(0, 1)])
def test_entries_that_do_not_follow_are_refused(place: JournalId) -> None:
    """A hole, a repetition and an older epoch stop the writer."""
    entry = tell(1, 3).entries[0]
    head = ChainHead() if place.epoch else ChainHead(0, 1)
    moved = Entry(place, entry.channel, entry.producer, entry.cause, entry.data)
    with pytest.raises(StoreError, match="does not follow"):
        Recorder(head, None).fold([moved])


def test_an_epoch_is_noted_with_its_first_number() -> None:
    """Entries of a new epoch follow the old one without a hole in n."""
    story = Story()
    story.begin()
    story.epoch = 4
    story.tick()
    story.tick()
    batch = Recorder(ChainHead(), None).fold(story.entries)
    assert batch.epochs == {1: 1, 4: 3}
    assert (batch.after.seq, batch.after.epoch) == (4, 4)


def test_a_run_and_each_closed_day_are_noted() -> None:
    """When the clock leaves a day, the chain's head before that event is the day's anchor; so at the end of a run."""
    story = Story()
    story.begin()  # 1, 2
    story.tick(1199)  # 3: 23:59:59
    story.tick(1)  # 4: the next day
    story.tick(1)  # 5
    story.run_id = "run-2"
    story.control("cdb_ws", "started", service="cdb_ws", run_id="run-2")  # 6
    batch = Recorder(ChainHead(), None).fold(story.entries)
    assert [(anchor.run_id, anchor.day, anchor.head.seq) for anchor in batch.anchors] == [
        ("run-1", "2021-05-19", 3),
        ("run-1", "2021-05-20", 5),
    ]
    assert batch.anchors[0].head.hash == batch.events[2].hash
    assert batch.runs == [
        Run("run-1", 1, "2021-05-19T23:40:00.000000Z"),
        Run("run-2", 6, "2021-05-20T00:00:01.000000Z"),
    ]


def test_bytes_that_are_no_event_stop_the_writer() -> None:
    """The journal only admits valid events; what is none is a fault."""
    with pytest.raises(ContractViolation):
        Recorder(ChainHead(), None).fold([Entry(JournalId(1, 1), "alerts", "cdb_risk", "1", b"{}")])


def test_a_foreign_state_is_refused() -> None:
    """A state that is not the projection's stops the start."""
    with pytest.raises(StateMismatch):
        Recorder(ChainHead(), b"{]")
