"""Foreign messages: what is lost is told, what was taken is not lost, and a dead clock stamps nothing that trades."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from services.common import channels
from services.common.errors import StateMismatch
from services.common.events import Event
from services.common.journal.bus import ForeignMessage
from services.common.runtime.admission import Admission

pytestmark = pytest.mark.unit


def test_dropped_foreign_messages_raise_an_alert_that_counts_them() -> None:
    """Each time more were dropped one alert says how many in all; nothing new, no alert."""
    alerts: list[tuple[Any, ...]] = []
    life: Any = SimpleNamespace(service="cdb_core", clock=SimpleNamespace(now=1, run_id="r", stalled=lambda: None))
    publisher: Any = SimpleNamespace(alert=lambda *told: alerts.append(told))
    bus: Any = SimpleNamespace(foreign_dropped=0, take_foreign=list)
    admission = Admission(life, publisher)

    for dropped in (0, 3, 3, 5):
        bus.foreign_dropped = dropped
        assert admission.admit(bus) == 0

    assert [(told[0], told[1], told[3]) for told in alerts] == [
        ("CRITICAL", "FOREIGN_MESSAGES_DROPPED", {"dropped": dropped}) for dropped in (3, 5)
    ]


HALT = ForeignMessage(channels.CONTROL, b'{"type":"control","action":"halt","reason":"lunch"}')
ALERT = ForeignMessage(channels.ALERTS, b'{"type":"alert","level":"info","code":"HELLO","message":"x"}')
PRICE = ForeignMessage(channels.MARKET_DATA, b'{"type":"market_data","symbol":"BTCUSDT","price":50000}')
SIGNAL = ForeignMessage(channels.SIGNALS, b'{"type":"signal","symbol":"BTCUSDT","signal_type":"buy","price":50000}')


class Desk:
    """A service's admission with what it stands on: a clock that may be dead, and a journal that may be lost."""

    def __init__(self, service: str, *messages: ForeignMessage) -> None:
        self.waiting = list(messages)
        self.published: list[Event] = []
        self.buried: list[tuple[str, str]] = []
        self.stalled: str | None = None
        self.lost = False
        counter: Any = SimpleNamespace(labels=lambda *_: SimpleNamespace(inc=lambda: None))
        life: Any = SimpleNamespace(
            service=service,
            clock=SimpleNamespace(now=1_700_000_000_000_000, run_id="r", stalled=lambda: self.stalled),
            metrics=SimpleNamespace(foreign_admitted=counter, dead_letters=counter),
            client=SimpleNamespace(keep_dead_letter=lambda _s, name, why, _raw: self.buried.append((name, why))),
            log=structlog.get_logger(),
        )
        publisher: Any = SimpleNamespace(
            alert=lambda *_: None,
            next_number=lambda _: len(self.published) + 1,
            offer_numbered=self._offer,
            patiently=lambda action: action(),
        )
        self.bus: Any = SimpleNamespace(foreign_dropped=0, take_foreign=self._take)
        self.admission = Admission(life, publisher)

    def _take(self) -> list[ForeignMessage]:
        taken, self.waiting = self.waiting, []
        return taken

    def _offer(self, _source: str, _number: int, events: list[Event]) -> None:
        if self.lost:
            raise StateMismatch("Redis lost a tail")
        self.published += events


def test_what_was_taken_is_admitted_after_redis_lost_its_tail() -> None:
    """The loss is noticed at the first of two messages; once the service has started over both are admitted."""
    desk = Desk(channels.WRITER, ALERT, HALT)
    desk.lost = True

    with pytest.raises(StateMismatch):
        desk.admission.admit(desk.bus)
    desk.lost = False

    assert desk.admission.admit(desk.bus) == 2
    assert [event.type for event in desk.published] == ["alert", "control"]


@pytest.mark.parametrize(("owner", "message"), [(channels.CORE, PRICE), (channels.RISK, SIGNAL)])
def test_a_dead_clock_admits_nothing_that_could_trade(owner: str, message: ForeignMessage) -> None:
    """A `now` that stands still would make any message look fresh for ever: it is buried with the reason."""
    desk = Desk(owner, message)
    desk.stalled = "no event of cdb_ws for 6.0 s"

    assert desk.admission.admit(desk.bus) == 0
    assert [(name, "no event of cdb_ws for 6.0 s" in why) for name, why in desk.buried] == [(message.channel, True)]

    desk.stalled, desk.waiting = None, [message]
    assert desk.admission.admit(desk.bus) == 1


def test_a_dead_clock_stops_neither_a_halt_nor_an_alert() -> None:
    """Stopping must always be possible."""
    desk = Desk(channels.WRITER, HALT, ALERT)
    desk.stalled = "no event of cdb_ws for 6.0 s"

    assert desk.admission.admit(desk.bus) == 2
    assert desk.buried == []
