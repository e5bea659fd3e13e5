"""References are followed, in constant memory."""

from __future__ import annotations

import pytest

from claire.audit import links
from claire.audit.links import Links
from services.common.events import Alert
from services.common.journal.entry import Cause, Entry, JournalId
from tests.unit.audit.recorded_day import Day

pytestmark = pytest.mark.unit


def alert(n: int, cause: str, correlation_id: str | None, causation_id: str | None = None) -> Entry:
    """Return an alert that refers to something."""
    event = Alert(
        event_id=f"alert-{n}", timestamp=1, producer="cdb_risk", level="INFO", code="TEST", message="",
        correlation_id=correlation_id, causation_id=causation_id,
    )  # fmt: skip
    return Entry(JournalId(1, n), "alerts", "cdb_risk", cause, event.data)


def test_a_foreign_message_may_name_a_chain_of_its_own() -> None:
    """What follows from it may name that chain, too; a derived event cannot begin one."""
    followed = Links()
    assert followed.check(alert(1, "foreign:1", "mine"), Cause("foreign", 1)) is None
    assert followed.check(alert(2, "1", "mine", "alert-1"), Cause("", 1)) is None
    found = followed.check(alert(3, "1", "nobody's", "alert-1"), Cause("", 1))
    assert found is not None
    assert found.field == "correlation_id"


def test_what_is_older_than_memory_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was away for long refers to market data whose id is forgotten; what it has referred to stays."""
    monkeypatch.setattr(links, "REMEMBERED", 10)
    day = Day(1)
    for _ in range(20):
        day.second()
    followed = Links()
    early = next(entry for entry in day.entries if entry.channel == "market_data")
    kept = next(entry for entry in day.entries[early.id.n :] if entry.channel == "market_data")
    n = len(day.entries)
    for entry in day.entries:
        assert followed.check(entry, Cause.parse(entry.cause)) is None
        if entry is kept:
            referring = alert(n + 1, str(kept.id.n), kept.event.event_id, kept.event.event_id)
            assert followed.check(referring, Cause("", kept.id.n)) is None
    late = alert(n + 2, str(early.id.n), early.event.event_id, early.event.event_id)
    assert followed.check(late, Cause("", early.id.n)) is None
    again = alert(n + 3, str(n), kept.event.event_id, day.entries[-1].event.event_id)
    assert followed.check(again, Cause("", n)) is None
    unknown = alert(n + 4, str(n), None, "nobody")
    found = followed.check(unknown, Cause("", n))
    assert found is not None
    assert found.field == "causation_id"
