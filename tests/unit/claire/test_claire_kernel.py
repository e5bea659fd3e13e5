"""The kernel: turnstile order, contiguous ids, outputs with their entry as cause, the same journal each time."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from claire.kernel import Kernel, deciding_machines
from services.common import channels
from services.common.errors import ContractViolation
from services.common.events import Alert, Control, Event, MarketData, parse_event
from services.common.identity import derive_id
from services.common.journal.entry import Cause, Entry
from services.common.machine import StateMachine
from services.common.runtime.announcement import settings_hash
from services.common.settings import MachineSettings

pytestmark = pytest.mark.unit

T0 = 1_621_382_400_000_000


class EchoSettings(MachineSettings):
    """Nothing much."""

    LOUD: bool = True


@dataclass
class EchoState:
    """How much was heard."""

    heard: int = 0


class Echo(StateMachine[EchoSettings, EchoState]):
    """Answers each market data event with an alert; the later ones in the order also answer alerts of those before."""

    consumes: ClassVar[frozenset[str]] = frozenset({channels.MARKET_DATA, channels.ALERTS})
    settings_type = EchoSettings
    state_type = EchoState
    answers: ClassVar[str] = channels.WS

    def on_event(self, event: Event) -> None:
        """Answer the one that this machine listens to."""
        self.state.heard += 1
        if event.producer == self.answers:
            self.emit(Alert, level="INFO", code="ECHO", message=f"{self.service} heard {event.producer}")


class CoreEcho(Echo):
    """In the place of core."""

    service: ClassVar[str] = channels.CORE


class RiskEcho(Echo):
    """In the place of risk, answering core."""

    service: ClassVar[str] = channels.RISK
    answers: ClassVar[str] = channels.CORE


class ExecutionEcho(Echo):
    """In the place of execution, answering the feed."""

    service: ClassVar[str] = channels.EXECUTION


SETTINGS = {service: EchoSettings() for service in channels.TURNSTILE_ORDER}


def market_data(number: int) -> MarketData:
    """Return a market data event."""
    return MarketData(
        event_id=derive_id("m", number), timestamp=T0 + number, producer=channels.WS, venue="mexc_spot",
        symbol="BTCUSDT", price=Decimal(1), high=Decimal(1), low=Decimal(1), sequence=number,
    )  # fmt: skip


def begin(kernel: Kernel) -> list[Entry]:
    """Begin a run and let everybody join."""
    started = Control(
        event_id="w", timestamp=T0, producer=channels.WS, action="started", service=channels.WS, run_id="r"
    )
    entries = list(kernel.step(channels.WS, Cause("announce", 1), [started]))
    return entries + list(kernel.announce(SETTINGS, code_version="0.1.0+x"))


def play(machines: tuple[Any, ...]) -> list[Entry]:
    """Return the journal of a small run."""
    kernel = Kernel(machines)
    journal = begin(kernel)
    for number in (1, 2):
        journal += kernel.step(channels.WS, Cause("feed", number), [market_data(number)])
    return journal


def test_entries_are_handled_in_turnstile_order() -> None:
    """One tick: core's and execution's answers follow it in this order, then risk's answer to core's."""
    journal = play((CoreEcho(), RiskEcho(), ExecutionEcho()))
    assert [entry.id.n for entry in journal] == list(range(1, len(journal) + 1))
    told = [(entry.producer, entry.cause) for entry in journal[7:]]
    assert told[:4] == [("cdb_ws", "feed:1"), ("cdb_core", "8"), ("cdb_execution", "8"), ("cdb_risk", "9")]
    assert told[4:] == [("cdb_ws", "feed:2"), ("cdb_core", "12"), ("cdb_execution", "12"), ("cdb_risk", "13")]


def test_everybody_joins_in_order_with_settings() -> None:
    """`started` and `config` of core, risk, execution; a second announcement has nothing new to configure."""
    kernel = Kernel((CoreEcho(), RiskEcho(), ExecutionEcho()))
    journal = begin(kernel)
    said = [(entry.producer, entry.event.action) for entry in journal if isinstance(entry.event, Control)]
    assert said == [("cdb_ws", "started")] + [
        (service, action) for service in channels.TURNSTILE_ORDER for action in ("started", "config")
    ]
    config = journal[2].event
    assert isinstance(config, Control)
    assert config.details["settings_hash"] == settings_hash(EchoSettings())
    again = list(kernel.announce(SETTINGS, code_version="0.1.0+x"))
    assert {entry.event.action for entry in again if isinstance(entry.event, Control)} == {"started"}


def test_two_runs_are_equal_byte_for_byte() -> None:
    """Entries of two kernels on the same inputs are the same."""
    first = play((CoreEcho(), RiskEcho(), ExecutionEcho()))
    assert first == play((CoreEcho(), RiskEcho(), ExecutionEcho()))
    assert len(first) == 15


def test_every_entry_is_what_its_bytes_say() -> None:
    """Also where an event does not go through them: market data, ticks, and a control event without details."""
    kernel = Kernel((CoreEcho(), RiskEcho(), ExecutionEcho()))
    beat = Control(
        event_id="b",
        timestamp=T0,
        producer=channels.RISK,
        action="heartbeat",
        service=channels.RISK,
        reason="caf\u00e9",
    )
    journal = [*begin(kernel), *kernel.step(channels.RISK, Cause("beat", 1), [beat])]
    assert journal[-1].event is beat
    journal += play((CoreEcho(), RiskEcho(), ExecutionEcho()))
    assert [entry.event for entry in journal] == [parse_event(entry.channel, entry.data) for entry in journal]


def test_a_wrong_order_of_machines_is_refused() -> None:
    """The order decides the journal, so it is not left to the caller's luck."""
    with pytest.raises(ContractViolation, match="order"):
        Kernel((RiskEcho(), CoreEcho(), ExecutionEcho()))


def test_nobody_joins_before_the_run_has_begun() -> None:
    """Without a clock there is nothing to join."""
    with pytest.raises(ContractViolation, match="started"):
        list(Kernel((CoreEcho(),)).announce(SETTINGS, code_version="x"))


def test_the_real_machines_fit() -> None:
    """Core, risk and execution of the product are accepted."""
    assert Kernel(deciding_machines()).head == 0
