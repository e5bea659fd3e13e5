"""The hash chain: its formula, and what it notices."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest

from services.cdb_writer.chain import GENESIS, ChainHead, link, verify
from services.cdb_writer.recorder import Recorder
from services.cdb_writer.rows import EventRow
from services.common.journal.entry import Entry, JournalId
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def rows() -> list[EventRow]:
    """Sixty chained events."""
    return Recorder(ChainHead(), None).fold(tell(1, 60).entries[:60]).events


def test_genesis_is_the_hash_of_its_name() -> None:
    """h_0 never changes: it is the sha256 of a fixed text."""
    assert sha256(b"claire_de_binare event chain 1").digest() == GENESIS


def test_link_hashes_each_part_behind_its_length() -> None:
    """h_n is sha256 over previous hash, epoch, seq, channel, producer and data, each with a four-byte length."""
    entry = Entry(JournalId(3, 17), "alerts", "cdb_risk", "16", b"{}")
    text = b"\x00\x00\x00\x20" + GENESIS
    text += b"\x00\x00\x00\x013" + b"\x00\x00\x00\x0217" + b"\x00\x00\x00\x06alerts" + b"\x00\x00\x00\x08cdb_risk"
    text += b"\x00\x00\x00\x02{}"
    assert link(GENESIS, entry) == sha256(text).digest()


def test_an_untouched_chain_verifies_up_to_the_cursor(rows: list[EventRow]) -> None:
    """All events are walked and the end is the cursor's head."""
    head = ChainHead(60, 1, rows[-1].hash)
    report = verify(rows, expected=head)
    assert report.ok
    assert (report.events, report.head) == (60, head)


def test_a_chain_can_be_walked_from_an_anchor(rows: list[EventRow]) -> None:
    """Starting at a known head gives the same verdict about the rest."""
    report = verify(rows[20:], start=ChainHead(20, 1, rows[19].hash))
    assert report.ok
    assert report.events == 40


def test_an_empty_chain_is_good() -> None:
    """Nothing stored and a cursor at zero fit together."""
    assert verify([], expected=ChainHead()).ok


CHANGES: dict[str, Callable[[EventRow], EventRow]] = {
    "data": lambda row: row._replace(data=row.data.replace(b'"schema_version":"1.0"', b'"schema_version":"1.1"')),
    "epoch": lambda row: row._replace(epoch=2),
    "channel": lambda row: row._replace(channel="orders"),
    "producer": lambda row: row._replace(producer="cdb_core"),
    "hash": lambda row: row._replace(hash=bytes(32)),
}


@pytest.mark.security
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_event_is_named(rows: list[EventRow], change: str) -> None:
    """Whatever of the hashed content is changed, the walk stops exactly there."""
    changed = [*rows]
    changed[30] = CHANGES[change](changed[30])
    assert changed[30] != rows[30]
    report = verify(changed)
    assert (report.broken_at, report.events) == (31, 30)
    assert report.reason is not None


@pytest.mark.security
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("day", "1999-01-01"),
        ("type", "alert"),
        ("event_id", "another"),
        ("timestamp", "2021-05-19T00:00:00.000000Z"),
        ("correlation_id", "another"),
        ("causation_id", "another"),
    ],
)
def test_a_changed_repetition_of_the_data_is_named(rows: list[EventRow], column: str, value: str) -> None:
    """Columns that repeat what stands in the data are compared with it."""
    changed = [*rows]
    changed[30] = changed[30]._replace(**{column: value})
    report = verify(changed)
    assert report.broken_at == 31
    assert column in (report.reason or "")


@pytest.mark.security
def test_missing_added_and_reordered_events_are_named(rows: list[EventRow]) -> None:
    """A missing event is named by its own number, a repeated or swapped one where it does not follow."""
    assert verify(rows[:30] + rows[31:]).broken_at == 31
    assert verify(rows[:30] + rows[29:]).broken_at == 31
    assert verify([*rows[:29], rows[30], rows[29], *rows[31:]]).broken_at == 30


@pytest.mark.security
def test_a_cut_tail_is_named(rows: list[EventRow]) -> None:
    """A chain that ends before or after the cursor, or with another hash, is not good."""
    head = ChainHead(60, 1, rows[-1].hash)
    assert verify(rows[:-1], expected=head).broken_at == 60
    assert verify(rows, expected=ChainHead(59, 1, rows[58].hash)).broken_at == 60
    assert verify(rows, expected=ChainHead(60, 1, bytes(32))).broken_at == 60


@pytest.mark.security
def test_an_epoch_that_goes_back_is_named() -> None:
    """Epochs only grow."""
    first = Recorder(ChainHead(), None).fold(tell(1, 5).entries[:3]).events
    story = tell(1, 8)
    entry = story.entries[3]
    back = Entry(JournalId(0, 4), entry.channel, entry.producer, entry.cause, entry.data)
    row = first[2]._replace(seq=4, epoch=0, data=back.data, hash=link(first[2].hash, back))
    report = verify([*first, row])
    assert report.broken_at == 4
    assert "epoch" in (report.reason or "")


@pytest.mark.security
def test_a_chained_event_that_is_no_event_is_named(rows: list[EventRow]) -> None:
    """A correct hash over bytes that are no event does not pass."""
    entry = Entry(JournalId(1, 61), "alerts", "cdb_risk", "1", b"not json")
    bad = rows[-1]._replace(
        seq=61, channel="alerts", producer="cdb_risk", data=entry.data, hash=link(rows[-1].hash, entry)
    )
    report = verify([*rows, bad])
    assert report.broken_at == 61
    assert "no event" in (report.reason or "")
