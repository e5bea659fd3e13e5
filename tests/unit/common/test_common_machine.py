"""The base of all machines: clock, run, configuration, derived ids, dumps."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from services.common import channels
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Alert, Control, Event
from services.common.identity import derive_id
from services.common.journal.entry import Entry, JournalId
from services.common.machine import StateMachine
from services.common.settings import Amount, MachineSettings

pytestmark = pytest.mark.unit

NOON = 1_621_425_600_000_000


class Limits(MachineSettings):
    """Settings of the machine under test."""

    LIMIT: Amount = Decimal(1)


@dataclass
class Seen:
    """State of the machine under test."""

    actions: list[str] = field(default_factory=list)
    restored: int = 0


class Echo(StateMachine[Limits, Seen]):
    """Answers each tick with two alerts."""

    service: ClassVar[str] = channels.RISK
    consumes: ClassVar[frozenset[str]] = frozenset({channels.CONTROL})
    settings_type: ClassVar[type[Limits]] = Limits
    state_type: ClassVar[type[Seen]] = Seen

    def on_event(self, event: Event) -> None:
        """Remember the action and answer ticks."""
        assert isinstance(event, Control)
        self.state.actions.append(event.action)
        if event.action == "tick":
            for _ in range(2):
                self.emit(Alert, level="INFO", code="TICK", message=str(self.settings.LIMIT))


def control(action: str, at: int = 0, *, producer: str = channels.WS, **fields: Any) -> Control:
    """Return a control event so many seconds after noon."""
    fields.setdefault("event_id", f"{action}-{at}")
    return Control(timestamp=NOON + at * 1_000_000, producer=producer, action=action, **fields)


def config(limit: str = "1", producer: str = channels.RISK) -> Control:
    """Return the machine's own config event."""
    details = {"settings": {"LIMIT": Decimal(limit)}, "settings_hash": f"h{limit}"}
    return control("config", producer=producer, service=channels.RISK, details=details)


class Journal:
    """Numbers entries and hands them to a machine."""

    def __init__(self, machine: Echo) -> None:
        self.machine, self.n = machine, 0

    def append(self, event: Event) -> list[Event]:
        """Append one event and return what the machine makes of it."""
        self.n += 1
        return self.machine.handle(Entry(JournalId(1, self.n), event.channel, event.producer, "1", event.data))


@pytest.fixture
def journal() -> Journal:
    """Return a journal with a started run and a configured machine."""
    made = Journal(Echo())
    made.append(control("started", service=channels.WS, run_id="run-1"))
    made.append(config())
    return made


def test_nothing_is_decided_before_run_clock_and_settings_are_known() -> None:
    """A tick before `started` and before `config` gives no output and is not folded."""
    made = Journal(Echo())
    assert made.append(control("tick")) == []
    made.append(control("started", service=channels.WS, run_id="run-1"))
    assert made.append(control("tick", 1)) == []
    assert made.machine.state.actions == []
    made.append(config())
    assert len(made.append(control("tick", 2))) == 2


class Repeating(Echo):
    """Says its alert again instead of making it anew."""

    def on_event(self, event: Event) -> None:
        """Answer ticks with the same alert twice."""
        if isinstance(event, Control) and event.action == "tick":
            alert = self.emit(Alert, level="INFO", code="TICK", message=str(self.settings.LIMIT))
            assert alert.data
            self.emit_again(alert)


def test_what_is_said_again_is_what_would_have_been_made() -> None:
    """`emit_again` gives the bytes that `emit` gives: only id, time and causes are the new event's own."""
    journals = Journal(Echo()), Journal(Repeating())
    answers = []
    for made in journals:
        made.append(control("started", service=channels.WS, run_id="run-1"))
        made.append(config())
        answers.append([event.data for event in made.append(control("tick", 3, correlation_id="m"))])
    assert answers[0] == answers[1]


def test_the_minute_is_that_of_the_clock() -> None:
    """It turns with `now`, goes back with a run that plays earlier, and is there after a restart and in a twin."""
    made = Journal(Echo())
    made.append(control("started", service=channels.WS, run_id="run-1"))
    made.append(config())
    minutes = []
    for at in (59, 60, 61, 200):
        made.append(control("tick", at))
        minutes.append(made.machine.minute - NOON // 60_000_000)
    assert minutes == [0, 1, 1, 3]
    restored = Echo()
    restored.restore(made.machine.dump())
    assert restored.minute == made.machine.twin().minute == made.machine.minute
    made.append(control("started", -3_600, service=channels.WS, run_id="run-0"))
    made.append(control("tick", -3_599))
    assert made.machine.minute == NOON // 60_000_000 - 60


def test_an_early_halt_is_not_lost() -> None:
    """An operator's command that comes before the machine can decide is folded as soon as it can, in order."""
    made = Journal(Echo())
    made.append(control("started", service=channels.WS, run_id="run-1"))
    made.append(control("halt", 1, producer=channels.OPERATOR))
    made.append(control("flatten", 2, producer=channels.OPERATOR))
    dumped = made.machine.dump()
    again = Journal(Echo())
    again.n = made.n
    again.machine.restore(dumped)
    for each in (made, again):
        each.append(config())
        assert each.machine.state.actions == ["halt", "flatten", "config"]


def test_now_is_the_greatest_time_of_ws(journal: Journal) -> None:
    """Others do not move the clock, and it never goes back."""
    journal.append(control("tick", 10))
    journal.append(control("tick", 5, event_id="late"))
    journal.append(control("halt", 99, producer=channels.OPERATOR))
    assert journal.machine.now == NOON + 10_000_000


def test_outputs_have_derived_ids_and_the_time_of_the_fold(journal: Journal) -> None:
    """Ids are functions of run, service, cause and index; time is `now`; causation is the cause."""
    first, second = journal.append(control("tick", 3, correlation_id="chain"))
    assert first.event_id == derive_id("run-1", channels.RISK, "tick-3", 0)
    assert second.event_id == derive_id("run-1", channels.RISK, "tick-3", 1)
    assert (first.timestamp, first.producer) == (NOON + 3_000_000, channels.RISK)
    assert (first.causation_id, first.correlation_id) == ("tick-3", "chain")


def test_only_the_own_config_of_the_own_producer_counts(journal: Journal) -> None:
    """Somebody else's config event, or one about somebody else, changes nothing."""
    journal.append(config("7", producer=channels.CORE))
    assert journal.machine.settings.LIMIT == 1
    journal.append(config("7"))
    assert journal.machine.settings.LIMIT == 7
    assert journal.machine.fold.settings_hash == "h7"


def test_a_config_that_cannot_be_used_stops_the_machine(journal: Journal) -> None:
    """Running on with old limits would be worse."""
    for details in ({}, {"settings": {"LIMIT": Decimal(-1)}, "settings_hash": "h"}):
        with pytest.raises(ContractViolation, match="config event cannot be used"):
            journal.append(control("config", producer=channels.RISK, service=channels.RISK, details=details))


def test_a_new_run_resets_the_state_and_keeps_the_settings(journal: Journal) -> None:
    """The same run id again changes nothing; another one begins anew, also if its time is earlier."""
    journal.append(control("tick", 10))
    journal.append(control("started", 11, service=channels.WS, run_id="run-1"))
    assert "tick" in journal.machine.state.actions
    journal.append(control("started", -1_000, service=channels.WS, run_id="run-2"))
    assert journal.machine.state.actions == ["started"]
    assert journal.machine.now == NOON - 1_000_000_000
    assert journal.machine.settings.LIMIT == 1


def test_other_channels_only_move_the_place(journal: Journal) -> None:
    """What is not consumed is not even decoded."""
    machine = journal.machine
    assert machine.handle(Entry(JournalId(2, 99), channels.SIGNALS, "x", "1", b"not json")) == []
    assert (machine.fold.epoch, machine.fold.n) == (2, 99)


def test_a_broken_entry_is_a_fault(journal: Journal) -> None:
    """The journal only admits valid events, so this stops the service."""
    with pytest.raises(ContractViolation):
        journal.machine.handle(Entry(JournalId(1, 99), channels.CONTROL, "x", "1", b"not json"))


def test_a_restored_machine_goes_on_as_if_it_had_never_stopped(journal: Journal) -> None:
    """The same dump, the same outputs, the same bytes."""
    journal.append(control("tick", 1))
    dumped = journal.machine.dump()
    again = Journal(Echo())
    again.n = journal.n
    again.machine.restore(dumped)
    assert again.machine.dump() == dumped
    one, two = journal.append(control("tick", 2)), again.append(control("tick", 2))
    assert [event.data for event in one] == [event.data for event in two]
    assert again.machine.dump() == journal.machine.dump()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"fold":{},"state":{"actions":7}}', b'{"fold":{"x":1},"state":{}}', b'{"fold":7,"state":{}}']
)
def test_what_is_no_state_is_refused(data: bytes) -> None:
    """A snapshot of something else never becomes a state."""
    with pytest.raises(StateMismatch):
        Echo().restore(data)


def test_asking_too_early_is_a_fault() -> None:
    """Settings and clock exist only once they were folded; emitting is only for handling."""
    machine = Echo()
    with pytest.raises(AttributeError):
        _ = machine.settings
    with pytest.raises(AttributeError):
        _ = machine.now
    with pytest.raises(AssertionError):
        machine.emit(Alert, level="INFO", code="XX", message="")
