"""One look for many: how often is asked, what happens when something is gone, and how the connection is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg2
import pytest

from claire.page import look as look_module
from claire.page.archive import Archive, ArchiveAway, ArchiveBusy
from claire.page.flow import Rates
from claire.page.look import Looker
from claire.page.past import Past, read_past
from claire.status import Answer
from services.common import channels
from tests.unit.page.page_desk import EVERYONE, NOON, curve

pytestmark = pytest.mark.unit


class Wall:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.seconds

    def clock(self) -> datetime:
        """Return the time of day."""
        return NOON + timedelta(seconds=self.seconds - 100)


class FakeArchive:
    """Answers from what a test has put there, or is away."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.past = Past("run-1", NOON, (), (), {"signals": 4})
        self.curve = curve(*([100] * 61), 101)
        self.away = ""
        self.curve_fails = False

    def ask(self, question: Callable[..., Any]) -> Any:
        """Answer."""
        past = question is read_past
        self.asked.append("read_past" if past else "read_curve")
        if self.away or (self.curve_fails and not past):
            raise ArchiveAway(self.away or "too long")
        return self.past if past else (self.curve, [])


class Desk:
    """A looker, with what it looks at."""

    def __init__(self) -> None:
        self.wall, self.archive, self.asked = Wall(), FakeArchive(), 0
        self.now: str | None = "2021-05-19T13:05:00.000000Z"
        self.finished, self.ticks = False, 100
        self.looker = Looker(self.ask, self.archive, wall=self.wall, clock=self.wall.clock)  # type: ignore[arg-type]

    def ask(self) -> Mapping[str, Answer]:
        """Answer as the services."""
        self.asked += 1
        if self.now is None:
            return {service: Answer() for service in EVERYONE}
        risk = {
            "now": self.now, "equity": "100.5", "drawdown": "0.01", "trading_state": "ACTIVE",
            "quote_age_ms": {"mexc_spot:BTCUSDT": 3},
        }  # fmt: skip
        feed = {"finished": self.finished, "events": {"market_data": self.ticks, "control": 3}}
        return {service: Answer({"run_id": "run-1"}, {}) for service in EVERYONE} | {
            channels.RISK: Answer({"run_id": "run-1", "machine": risk}, {}),
            channels.WS: Answer({"config": {"FEED": "recorded"}, "feed": feed, "run_id": "run-1"}, {}),
            channels.EXECUTION: Answer({"machine": {"order_results": {"FILLED": 2}, "canary": {"fills": 1}}}, {}),
        }

    def look(self, after_sec: float = 2.0, span: str = "run") -> Any:
        """Look again, so much later."""
        self.wall.seconds += after_sec
        return self.looker.look(span)


def test_services_and_database_are_asked_once_for_many_lookers() -> None:
    """Within a second one look serves all; the curve is read every ten seconds."""
    desk = Desk()
    first = desk.looker.look()

    assert desk.look(0.5).at is first.at
    assert desk.asked == 1
    later = desk.look(1)
    assert later.at is not first.at
    assert desk.asked == 2
    assert desk.archive.asked == ["read_past", "read_curve", "read_past"]
    desk.look(10)
    assert desk.archive.asked.count("read_curve") == 2


def test_a_look_knows_rates_ages_and_the_present() -> None:
    """Ticks a second of wall time; the age of quotes; results; the curve ends with what risk says now."""
    desk = Desk()
    desk.look()
    desk.ticks = 150
    view = desk.look(10)

    assert view.rates == {"market_data": Decimal(5), "signals": Decimal(0)}
    assert view.counts == {"market_data": 150, "signals": 4}
    assert view.quote_ages_ms == {"mexc_spot:BTCUSDT": 3}
    assert view.outcomes == {"FILLED": 2}
    assert view.exchange == {"canary": {"fills": 1}}
    assert view.points[-1].equity == Decimal("100.5")
    assert [point.equity for point in view.points[-3:-1]] == [100, 101]
    assert view.stale == []


def test_the_present_is_not_drawn_on_the_curve_of_another_run() -> None:
    """While the database still shows the run before, its curve stays as it is; a new run's begins anew."""
    desk = Desk()
    desk.archive.past = Past("run-0")
    assert [point.equity for point in desk.look().points[-2:]] == [100, 101]
    desk.archive.past = Past("run-1")

    assert [point.equity for point in desk.look().points[-2:]] == [101, Decimal("100.5")]
    assert desk.archive.asked.count("read_curve") == 2
    desk.now = "2021-05-19T12:00:00.000000Z"
    assert desk.look().points[-1].equity == 101


def test_a_young_curve_is_read_at_every_look() -> None:
    """Who has just started does not wait ten seconds for the first line."""
    desk = Desk()
    desk.archive.curve = []
    desk.look()
    desk.look()

    assert desk.archive.asked.count("read_curve") == 2


def test_each_span_has_a_curve_of_its_own() -> None:
    """Two lookers with two spans: services are asked once, each curve is read for itself."""
    desk = Desk()

    assert desk.look(span="day").span == "day"
    assert desk.look(0.1, span="week").span == "week"
    assert desk.look(0.1, span="day").span == "day"
    assert desk.asked == 1
    assert desk.archive.asked == ["read_past", "read_curve", "read_curve"]


def test_no_answer_is_stale_since_the_first_of_it() -> None:
    """The moment at which nobody answered any more stays; when one answers it is over."""
    desk = Desk()
    desk.now = None
    desk.look()
    (said,) = desk.look(60).stale

    assert said == "Stale since 12:00:02 UTC: no service answers."
    desk.now = "2021-05-19T13:06:00.000000Z"
    assert desk.look().stale == []


def test_the_database_gone_keeps_what_was_known_and_says_since_when() -> None:
    """Decisions and curve stay, marked; the curve is not asked for again at every look when it takes too long."""
    desk = Desk()
    known = desk.look().past
    desk.archive.away = "the server is gone"
    desk.look()
    view = desk.look(5)

    assert view.past is known
    assert view.stale == ["Curve, decisions and alerts are stale since 12:00:04 UTC: the server is gone"]
    desk.archive.away = ""
    assert desk.look().stale == []
    desk.archive.curve_fails = True
    desk.look(20)
    asked = desk.archive.asked.count("read_curve")
    later = desk.look()
    assert (later.stale, later.curve_fault) == ([], "too long")
    assert later.points[:62] == view.points[:62]
    assert desk.archive.asked.count("read_curve") == asked


def test_a_clock_that_stands_still_is_named() -> None:
    """After a minute and a half of wall time without a step; not when the recording has ended."""
    desk = Desk()
    assert desk.look().stale == []
    assert desk.look(89).stale == []
    (said,) = desk.look(2).stale

    assert said.startswith("The run's clock stands still since 12:00:02 UTC")
    desk.finished = True
    assert desk.look().stale == []
    desk.finished, desk.now = False, "2021-05-19T13:05:01.000000Z"
    assert desk.look().stale == []


def test_without_a_database_there_is_none_to_be_stale() -> None:
    """A page of the services alone."""
    desk = Desk()
    looker = Looker(desk.ask, None)

    assert looker.look().stale == []
    assert looker.look().at.tzinfo is UTC
    assert look_module.FRESH_SEC == 1


def test_rates_are_of_the_last_minute() -> None:
    """The oldest count within a minute is the base; a count that fell (another run) has no rate."""
    rates = Rates()
    assert rates.note(0, {"a": 0}) == {}
    assert rates.note(0.5, {"a": 5}) == {}
    assert rates.note(30, {"a": 60, "b": 1}) == {"a": 2}
    assert rates.note(90, {"a": 120, "b": 31}) == {"a": 1, "b": Decimal("0.5")}
    assert rates.note(91, {"a": 3, "b": 31}) == {"b": 0}


class FakeConnection:
    """A connection that notes what is done with it."""

    def __init__(self) -> None:
        self.statements: list[Any] = []
        self.rolled_back = self.was_closed = 0

    def __enter__(self) -> FakeConnection:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def cursor(self) -> FakeConnection:
        """Be one's own cursor."""
        return self

    def execute(self, statement: Any, values: Any = None) -> None:
        """Note a statement."""
        self.statements.append((statement, values))

    def rollback(self) -> None:
        """Note it."""
        self.rolled_back += 1

    def close(self) -> None:
        """Note it."""
        self.was_closed += 1


def archive_with(connections: list[FakeConnection], wall: Wall) -> Archive:
    """Return an archive whose every connection is noted."""

    def connect() -> FakeConnection:
        connections.append(FakeConnection())
        return connections[-1]

    return Archive(connect, timeout_ms=700, wall=wall)  # type: ignore[arg-type]


def test_one_connection_serves_all_questions() -> None:
    """It is opened once, read-only, with a limit of time; after each question nothing of it is left open."""
    connections: list[FakeConnection] = []
    archive = archive_with(connections, Wall())

    assert [archive.ask(lambda connection: connection) for _ in range(3)] == connections * 3
    assert len(connections) == 1
    said = str(connections[0].statements)
    assert "READ ONLY" in said
    assert "statement_timeout" in said
    assert "700" in said
    assert connections[0].rolled_back == 3


def lost(_: Any) -> None:
    """Be a question during which the server goes away."""
    raise psycopg2.OperationalError("server closed the connection\nunexpectedly")


def test_what_was_lost_while_nobody_asked_is_no_news() -> None:
    """A connection that turns out to be dead is opened again at once, and the answer comes."""
    connections: list[FakeConnection] = []
    archive = archive_with(connections, Wall())
    archive.ask(lambda _: 1)

    def dead_at_first(connection: Any) -> int:
        if connection is connections[0]:
            lost(connection)
        return 7

    assert archive.ask(dead_at_first) == 7
    assert [connection.was_closed for connection in connections] == [1, 0]


def test_a_database_that_is_gone_is_tried_again_after_a_moment() -> None:
    """The loss is told; for two seconds nobody tries; then it works. A slow question costs no connection."""
    connections: list[FakeConnection] = []
    wall = Wall()
    archive = archive_with(connections, wall)

    def slow(_: Any) -> None:
        raise psycopg2.errors.QueryCanceled("canceling statement")

    with pytest.raises(ArchiveAway, match=r"^server closed the connection$"):
        archive.ask(lost)
    with pytest.raises(ArchiveAway, match="server closed"):
        archive.ask(lambda _: 1)
    assert len(connections) == 1
    wall.seconds += 2.1
    assert archive.ask(lambda _: 1) == 1
    with pytest.raises(ArchiveAway, match="took too long"):
        archive.ask(slow)
    assert archive.ask(lambda _: 2) == 2
    assert len(connections) == 2
    archive.close()
    assert connections[1].was_closed == 1


def test_a_connection_whose_first_statements_fail_is_closed() -> None:
    """A server that goes away between the login and the settings leaves nothing open here, however often we try."""

    class Dying(FakeConnection):
        def execute(self, statement: Any, values: Any = None) -> None:
            raise psycopg2.OperationalError("terminating connection")

    made: list[FakeConnection] = []
    wall = Wall()

    def connect() -> Any:
        made.append(Dying())
        return made[-1]

    archive = Archive(connect, wall=wall)
    for _ in range(2):
        with pytest.raises(ArchiveAway, match="terminating"):
            archive.ask(lambda _: 1)
        wall.seconds += 2.1

    assert [connection.was_closed for connection in made] == [1, 1]


def test_what_the_database_lacks_is_told() -> None:
    """No tables yet; nobody listens; a history that cannot be used."""
    from claire.history.record import HistoryUnusable

    def refuse() -> Any:
        raise psycopg2.OperationalError("")

    def no_tables(_: Any) -> None:
        raise psycopg2.errors.UndefinedTable("x")

    def no_store(_: Any) -> None:
        raise HistoryUnusable("no event store yet")

    with pytest.raises(ArchiveAway, match="OperationalError"):
        Archive(refuse).ask(lambda _: 1)
    archive = archive_with([], Wall())
    with pytest.raises(ArchiveAway, match="no tables yet"):
        archive.ask(no_tables)
    with pytest.raises(ArchiveAway, match="no event store yet"):
        archive.ask(no_store)


def test_one_question_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would have to wait long is told so instead."""
    monkeypatch.setattr("claire.page.archive.WAIT_SEC", 0.01)
    archive = archive_with([], Wall())
    asked, go_on = threading.Event(), threading.Event()

    def long_question(_: Any) -> None:
        asked.set()
        go_on.wait(5)

    thread = threading.Thread(target=archive.ask, args=(long_question,))
    thread.start()
    asked.wait(5)
    try:
        with pytest.raises(ArchiveBusy):
            archive.ask(lambda _: 1)
    finally:
        go_on.set()
        thread.join()
