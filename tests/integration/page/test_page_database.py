"""The page's questions to a real database: the curve thinned out, the last decisions, and the story of each."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import psycopg2
import pytest

from claire.page.archive import Archive, ArchiveAway
from claire.page.past import BUCKETS, read_curve, read_past
from claire.page.story import teller
from claire.stats import current_run
from services.cdb_writer.adapters.connection import connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common import channels
from services.common.events import Alert, OrderResult, RiskDecision
from services.common.journal.entry import Entry
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import write_all
from tests.unit.audit.recorded_day import busy_day

pytestmark = pytest.mark.integration


@cache
def first_run() -> tuple[Entry, ...]:
    """Return what is written, made by the first test that wants it: a day up to where its second run begins."""
    entries = busy_day(1, 200).entries
    starts = [place for place, entry in enumerate(entries) if b'"action":"started","service":"cdb_ws"' in entry.data]
    return tuple(entries[: starts[1]])


@pytest.fixture
def archive(infrastructure: Infrastructure) -> Iterator[Archive]:
    """The way to a database with tables and nothing in them."""
    connect = connector(infrastructure)
    migrate(connect)
    archive = Archive(connect)
    yield archive
    archive.close()


def fill(infrastructure: Infrastructure) -> None:
    """Write the run."""
    store = EventStore(connector(infrastructure))
    store.open()
    write_all(store, first_run())
    store.close()


def of(kind: type[Any]) -> list[Any]:
    """Return its events of a kind."""
    return [entry.event for entry in first_run() if isinstance(entry.event, kind)]


def test_the_last_decisions_come_with_all_their_digits_and_their_orders(
    archive: Archive, infrastructure: Infrastructure
) -> None:
    """As they were recorded, the newest first, with what became of each order; counts; the story of each."""
    fill(infrastructure)
    made = of(RiskDecision)

    past = archive.ask(read_past)

    assert [shown.decision for shown in past.decisions] == made[::-1][:25]
    assert [alert.event_id for alert in past.alerts] == [alert.event_id for alert in of(Alert)][::-1][:8]
    assert past.counts[channels.RISK_DECISIONS] == len(made)
    assert past.counts[channels.ORDER_RESULTS] == len(of(OrderResult))
    assert {shown.status for shown in past.decisions if not shown.decision.approved} <= {None}
    filled = [shown for shown in past.decisions if shown.status == "filled"]
    assert filled
    assert all(shown.filled and shown.average for shown in filled)
    told = teller(archive)(filled[0].decision.event_id)
    assert told.code == 200
    assert "<h2>" in told.body
    assert teller(archive)(filled[0].decision.event_id[:20]).body == told.body, "the beginning is enough"
    assert teller(archive)("0" * 32).code == 404
    assert teller(archive)("ord-" + filled[0].decision.event_id[:28]).code == 200
    points, marks = archive.ask(read_curve)
    assert len(points) >= 2
    assert len(marks) > 0


def test_the_curve_keeps_its_extremes_and_is_thinned_out(archive: Archive, infrastructure: Infrastructure) -> None:
    """Of five thousand minutes under 500 points remain: first, last, highest, lowest and deepest among them."""
    fill(infrastructure)
    connection = connector(infrastructure)()
    with connection, connection.cursor() as cursor:
        run_id = current_run(connection)
        cursor.execute("SELECT max(timestamp) FROM portfolio_snapshots WHERE run_id = %s", (run_id,))
        (ends,) = cursor.fetchone()
        cursor.execute(
            "INSERT INTO portfolio_snapshots SELECT %s, %s::timestamptz + n * interval '1 minute', "
            "100000 + (n * 7919) %% 1009 + 0.123456789, 0, 0, 0, 0, 0, 0, 0, 0, "
            "CASE WHEN n = 777 THEN 0.09 ELSE 0.001 END, 0.09, 0 FROM generate_series(1, 5000) n",
            (run_id, ends),
        )
        cursor.execute(
            "SELECT min(total_equity), max(total_equity), max(drawdown_pct), "
            "floor(extract(epoch FROM min(timestamp))), floor(extract(epoch FROM max(timestamp))) "
            "FROM portfolio_snapshots WHERE run_id = %s",
            (run_id,),
        )
        low, high, deep, first, last = cursor.fetchone()
    connection.close()

    points, _ = archive.ask(read_curve)

    assert 200 < len(points) <= 4 * (BUCKETS + 1) + 1 <= 500
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert (points[0].at, points[-1].at) == (first, last)
    assert min(point.equity for point in points) == low
    assert max(point.equity for point in points) == high
    assert max(point.fall for point in points) == deep
    week, _ = archive.ask(lambda connection: read_curve(connection, "week"))
    today, _ = archive.ask(lambda connection: read_curve(connection, "day"))
    assert week == points, "it is three and a half days long"
    assert today[0].at == last // 86_400 * 86_400
    assert today[-1] == points[-1]
    assert any(point.equity % 1 == Decimal("0.123456789") for point in points)


def test_an_empty_database_has_no_run_and_nothing_can_be_written(archive: Archive) -> None:
    """No run yet is nothing to show, not an error; the connection refuses to write; a slow question ends."""
    assert archive.ask(read_past).run_id is None
    assert archive.ask(read_curve) == ([], [])

    def write(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM portfolio_snapshots")

    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        archive.ask(write)
    assert archive.ask(read_past).run_id is None


def test_a_question_that_takes_too_long_ends(infrastructure: Infrastructure) -> None:
    """The database stops it; the connection stays."""
    archive = Archive(connector(infrastructure), timeout_ms=50)

    def sleep(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")

    with pytest.raises(ArchiveAway, match="took too long"):
        archive.ask(sleep)
    with pytest.raises(ArchiveAway, match="no tables yet"):
        archive.ask(read_past)
    archive.close()
