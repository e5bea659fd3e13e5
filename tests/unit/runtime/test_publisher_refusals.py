"""A Redis that cannot write now is waited for: what must pass is not given up, no alert takes another's place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from services.common import channels
from services.common.errors import PublishRefused
from services.common.events import Control, Event, Signal
from services.common.journal.client import PublishResult
from services.common.journal.entry import Cause
from services.common.runtime.publisher import Publisher

pytestmark = pytest.mark.unit


class Journal:
    """A journal that refuses the first calls, then takes each cause once."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.marks: dict[str, int] = {}
        self.events: list[Event] = []

    def high_water(self, field: str) -> int:
        """Return the mark of a source."""
        return self.marks.get(field, 0)

    def publish(self, producer: str, _fence: int, cause: Cause, events: Sequence[Event]) -> PublishResult:
        """Take a batch."""
        if self.refusals:
            self.refusals -= 1
            raise PublishRefused("Redis does not write now: MISCONF")
        field = f"{producer}/{cause.source}"
        if cause.number <= self.marks.get(field, 0):
            return PublishResult("repeated", (), 1, "none")
        self.marks[field] = cause.number
        self.events += events
        return PublishResult("new", (), 1, "none")


def publisher_on(journal: Journal) -> Publisher:
    """Return the writer's publisher on a journal."""
    counter = SimpleNamespace(inc=lambda: None)
    metrics: Any = SimpleNamespace(
        outputs_published=SimpleNamespace(labels=lambda _: counter),
        alerts_raised=SimpleNamespace(labels=lambda *_: counter),
        publish_refused=counter,
        outputs_repeated=counter,
        publish_time=SimpleNamespace(observe=lambda _: None),
    )
    life: Any = SimpleNamespace(
        service=channels.WRITER,
        fence=1,
        client=journal,
        clock=SimpleNamespace(now=1_700_000_000_000_000, run_id="r"),
        metrics=metrics,
        stop=threading.Event(),
        log=structlog.get_logger(),
        check=lambda *_: None,
        beat=lambda: None,
        redis_lost=lambda _: None,
        redis_back=lambda: None,
    )
    return Publisher(life)


def test_an_alert_is_not_replaced_by_that_about_its_waiting() -> None:
    """Redis refuses the alert once: what is in the journal in the end is the alert."""
    journal = Journal(refusals=1)

    publisher_on(journal).alert("CRITICAL", "CLOCK_STALLED", "the clock stands still")

    assert "CLOCK_STALLED" in [getattr(event, "code", None) for event in journal.events]


def test_a_foreign_halt_waits_until_redis_writes() -> None:
    """Only what a journal short of memory may refuse is given back to be buried."""
    journal = Journal(refusals=2)
    common: dict[str, Any] = {"event_id": "x", "timestamp": 1_700_000_000_000_000, "producer": channels.WRITER}
    halt = Control(action="halt", command_id="x", by="me", reason="lunch", **common)

    assert publisher_on(journal).offer_numbered("foreign", 1, [halt]) is None
    assert halt in journal.events


def test_a_foreign_entry_is_given_back() -> None:
    """An entry that is refused is not waited for: by then it would be another market."""
    journal = Journal(refusals=1)
    signal = Signal(
        event_id="x",
        timestamp=1_700_000_000_000_000,
        producer=channels.WRITER,
        venue="mexc_spot",
        symbol="BTCUSDT",
        signal_type="buy",
        intent="entry",
        price=50_000,
        confidence=1,
    )

    assert isinstance(publisher_on(journal).offer_numbered("foreign", 1, [signal]), PublishRefused)
    assert signal not in journal.events
