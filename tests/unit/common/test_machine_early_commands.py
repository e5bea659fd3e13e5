"""An operator's command that comes before a machine can decide is kept and folded as soon as it can."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from services.common.channels import CONTROL, MARKET_DATA, OPERATOR, RISK, WS
from services.common.codec import encode
from services.common.events import Control, Event
from services.common.journal.entry import Entry, JournalId
from services.common.machine import StateMachine
from services.common.settings import MachineSettings

pytestmark = pytest.mark.unit

START = 1_700_000_000_000_000


class NoSettings(MachineSettings):
    """A machine with nothing to tune."""


@dataclass
class Seen:
    """What the machine was shown."""

    actions: list[str] = field(default_factory=list)


class Listener(StateMachine[NoSettings, Seen]):
    """Remembers the actions of the control events that it was shown."""

    service: ClassVar[str] = RISK
    consumes: ClassVar[frozenset[str]] = frozenset({CONTROL, MARKET_DATA})
    settings_type: ClassVar[type[BaseModel]] = NoSettings
    state_type: ClassVar[type[Any]] = Seen

    def on_event(self, event: Event) -> None:
        """Remember."""
        assert isinstance(event, Control)
        self.state.actions.append(event.action)


def entry(n: int, producer: str, action: str, **fields: Any) -> Entry:
    """Return a control entry."""
    event = Control(event_id=f"e{n}", timestamp=START, producer=producer, action=action, **fields)
    return Entry(JournalId(1, n), CONTROL, producer, "", event.data)


HALT = entry(1, OPERATOR, "halt", command_id="c1", by="Anna", reason="test")
STARTED = entry(2, WS, "started", service=WS, run_id="run")
CONFIG = entry(3, RISK, "config", service=RISK, details={"settings": {}, "settings_hash": "h", "code_version": "v"})


def test_command_before_the_first_configuration_is_folded_with_it() -> None:
    """A halt in front of everything reaches the machine before the first event that it may decide on."""
    machine = Listener()

    for each in (HALT, STARTED, CONFIG):
        machine.handle(each)

    assert machine.state.actions == ["halt", "config"]
    assert machine.fold.early_commands == []


def test_early_command_survives_a_restart() -> None:
    """A machine that is dumped between the command and its configuration still folds the command."""
    before = Listener()
    before.handle(HALT)
    machine = Listener()
    machine.restore(before.dump())

    for each in (STARTED, CONFIG):
        machine.handle(each)

    assert machine.state.actions == ["halt", "config"]


def test_ordinary_events_before_the_configuration_are_not_kept() -> None:
    """What services say of themselves before that is no command and is not shown later."""
    machine = Listener()

    for each in (
        STARTED,
        entry(3, WS, "tick"),
        entry(4, RISK, "config", **CONFIG.event.model_dump(include={"service", "details"})),
    ):
        machine.handle(each)

    assert machine.state.actions == ["config"]


def test_copy_of_an_event_has_its_own_bytes() -> None:
    """The bytes of an event are cached; a changed copy does not carry the bytes of its original."""
    event = HALT.event
    assert event.data

    copied = event.model_copy(update={"event_id": "other"})

    assert b'"other"' in copied.data
    assert encode(copied) == copied.data
