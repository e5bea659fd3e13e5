"""`claire explain` on a database answers what it answers on the same entries in a file, by the database's indexes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from claire.explain.lookup import AmbiguousId, DatabaseLookup, Lookup, UnknownId, lookup_of
from claire.explain.position import holding_of
from claire.explain.redecide import redecide
from claire.explain.screen import render_story
from claire.explain.story import story_of
from claire.explain.trace import trace_of
from claire.explain.why_not import why_not
from claire.history.journal_file import JournalWriter
from claire.history.source import DatabaseHistory, FileHistory
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.retention import retain
from services.cdb_writer.adapters.store import EventStore
from services.common.decimals import use_fixed_context
from services.common.events import Alert, Event, MarketData, Order, OrderResult, RiskDecision, Signal
from services.common.journal.entry import Entry
from tests.integration.writer.writer_support import write_all
from tests.unit.audit.recorded_day import Day, busy_day

pytestmark = pytest.mark.integration


@cache
def day() -> Day:
    """Return the day that is written, made by the first test that wants it: every test process collects this file."""
    return busy_day(1, 200)


@pytest.fixture
def on_file(tmp_path: Path) -> Lookup:
    """The day in a file."""
    use_fixed_context()
    with JournalWriter(tmp_path / "journal.jsonl.zst") as journal:
        for entry in day().entries:
            journal.write(entry)
    return lookup_of(FileHistory(journal.path))


@contextmanager
def opened(connect: Connect) -> Iterator[Lookup]:
    """The day in a database."""
    database = connect()
    try:
        yield lookup_of(DatabaseHistory(database, "here"))
    finally:
        database.close()


def last(kind: type[Event], where: Callable[[Entry], bool] = lambda _: True) -> Event:
    """Return the last event of a type."""
    return [entry.event for entry in day().entries if isinstance(entry.event, kind) and where(entry)][-1]


def ids() -> list[str]:
    """Return an id of each kind."""
    fill = last(OrderResult, lambda entry: b'"trade_id":"' in entry.data)
    assert isinstance(fill, OrderResult)
    found = [last(kind).event_id for kind in (Signal, RiskDecision, Order, MarketData, Alert)]
    return [*found, fill.order_id, fill.client_order_id, fill.trade_id or "", fill.order_id[:14], fill.event_id[:12]]


@pytest.mark.slow
def test_both_tell_the_same(store: EventStore, connect: Connect, on_file: Lookup) -> None:
    """Every kind of id, its beginning, the tree, a position, and why there was no trade."""
    write_all(store, day().entries)
    with opened(connect) as lookup:
        assert isinstance(lookup, DatabaseLookup)
        for id_ in ids():
            here, there = lookup.find(id_), on_file.find(id_)
            assert story_of(lookup, here).as_dict() == story_of(on_file, there).as_dict()
            assert [node.as_dict() for node in trace_of(lookup, id_)] == [
                node.as_dict() for node in trace_of(on_file, id_)
            ]
        assert holding_of(lookup, None, "BTCUSDT").as_dict() == holding_of(on_file, None, "BTCUSDT").as_dict()
        at = day().now
        assert why_not(lookup, None, "BTCUSDT", at).as_dict() == why_not(on_file, None, "BTCUSDT", at).as_dict()


def test_unknown_and_ambiguous_ids_are_refused_alike(store: EventStore, connect: Connect, on_file: Lookup) -> None:
    """The same candidates, the same near ids."""
    write_all(store, day().entries)
    mistyped = last(RiskDecision).event_id[:-1] + "x"
    with opened(connect) as lookup:
        for text, error in (("ord-", AmbiguousId), (mistyped, UnknownId), ("100%_x", UnknownId)):
            with pytest.raises(error) as here:
                lookup.find(text)
            with pytest.raises(error) as there:
                on_file.find(text)
            if error is UnknownId:
                assert str(here.value).partition(":")[2] == str(there.value).partition(":")[2]


def test_a_day_on_which_processes_ran_freely_can_be_decided_again(
    store: EventStore, connect: Connect, on_file: Lookup
) -> None:
    """With restarts and new limits in it; where another order of the processes was recorded, that is said."""
    write_all(store, day().entries)
    decided = [
        entry.event
        for entry in day().entries
        if isinstance(entry.event, RiskDecision) and entry.event.purpose == "entry"
    ]
    with opened(connect) as lookup:
        for decision in (decided[0], decided[len(decided) // 2]):
            found = [
                redecide(
                    place, story_of(place, place.find(decision.event_id)), {"MAX_SPREAD_PCT": "0"}, from_start=False
                )
                for place in (lookup, on_file)
            ]
            assert found[0].as_dict() == found[1].as_dict()
            assert found[0].other.path is not None
            assert "spread_check" in found[0].other.path.decision.reason


def test_market_data_past_retention_come_from_their_file(
    store: EventStore, connect: Connect, on_file: Lookup, short_folder: Path
) -> None:
    """With the folder of exports the story is whole; without it, it says what is missing and goes on."""
    write_all(store, day().entries)
    market_data = {entry.event.event_id for entry in day().entries if isinstance(entry.event, MarketData)}
    chained = last(Order, lambda entry: entry.event.correlation_id in market_data)
    database = connect()
    assert list(retain(database, "2024-10-01", 30, short_folder))
    database.close()
    for folder in (short_folder, None):
        database = connect()
        lookup = lookup_of(DatabaseHistory(database, "here", folder))
        story = story_of(lookup, lookup.find(chained.event_id))
        assert story.verdict == story_of(on_file, on_file.find(chained.event_id)).verdict
        assert (story.began is not None) == (folder is not None)
        assert render_story(story, 80)
        database.close()


def test_an_id_is_found_by_an_index(store: EventStore, connect: Connect) -> None:
    """Found in a moment, without a walk over the market data."""
    write_all(store, day().entries)
    with opened(connect) as lookup:
        begun = time.perf_counter()
        lookup.find(last(RiskDecision).event_id)
        assert time.perf_counter() - begun < 5
