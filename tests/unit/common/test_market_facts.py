"""What the feed tells of the exchange, as every machine folds it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.common import channels
from services.common.channels import WS
from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.instruments import InstrumentSpec, instrument_key
from services.common.journal.entry import Entry, JournalId
from services.common.market_facts import instrument_details, read_instruments, read_symbols
from services.common.runtime.announcement import announcement
from services.common.settings import AUTO, MachineSettings, load_settings

pytestmark = pytest.mark.unit

DOGE = InstrumentSpec(
    venue="mexc_spot",
    symbol="DOGEUSDT",
    base="DOGE",
    tick_size=Decimal("0.00001"),
    lot_size=Decimal("0.01"),
    min_quantity=Decimal("0.01"),
)
KEY = instrument_key("mexc_spot", "DOGEUSDT")


def entry(n: int, action: Any, details: dict[str, Any], *, producer: str = WS, run_id: str | None = None) -> Entry:
    """A control event as it stands in the journal."""
    event = Control(
        event_id=f"e{n}", timestamp=n, producer=producer, action=action, service=WS, run_id=run_id, details=details
    )
    return Entry(JournalId(1, n), channels.CONTROL, producer, f"feed:{n}", event.data)


def begun(machine: Any, settings: MachineSettings) -> Any:
    """A machine in a run, configured."""
    machine.handle(entry(1, "started", {}, run_id="r"))
    for event in announcement(
        machine.service, settings, run_id="r", now=1, number=1, in_force=None, code_version="test"
    ):
        machine.handle(Entry(JournalId(1, 2), event.channel, machine.service, "announce:1", event.data))
    return machine


@pytest.mark.parametrize(
    ("machine", "settings"),
    [(RiskMachine, load_settings(RiskSettings, {"SYMBOLS": "auto"})), (ExecutionMachine, ExecutionSettings())],
)
def test_a_grid_that_the_feed_tells_is_known_until_the_next_run(machine: Any, settings: MachineSettings) -> None:
    """Before the fact the instrument is unknown, after it the grid holds, also in a restored copy, until a new run."""
    one = begun(machine(), settings)
    assert one.settings.spec(KEY) is None

    one.handle(entry(3, "instruments", instrument_details([DOGE])))
    assert one.settings.spec(KEY) == DOGE

    other = machine()
    other.restore(one.dump())
    assert other.settings.spec(KEY) == DOGE
    assert other.dump() == one.dump()

    one.handle(entry(4, "started", {}, run_id="s"))
    assert one.settings.spec(KEY) is None


def test_a_grid_told_before_the_configuration_holds_under_it() -> None:
    """The order of fact and configuration does not matter."""
    machine = ExecutionMachine()
    machine.handle(entry(1, "started", {}, run_id="r"))
    machine.handle(entry(2, "instruments", instrument_details([DOGE])))
    for event in announcement(
        machine.service, ExecutionSettings(), run_id="r", now=1, number=1, in_force=None, code_version="test"
    ):
        machine.handle(Entry(JournalId(1, 3), event.channel, machine.service, "announce:1", event.data))
    assert machine.settings.spec(KEY) == DOGE


def test_with_auto_only_what_the_feed_has_chosen_may_be_entered() -> None:
    """`SYMBOLS=auto` means nothing before the first choice, then each choice in turn; a list stays what it is."""
    risk = begun(RiskMachine(), load_settings(RiskSettings, {"SYMBOLS": "auto"}))
    core = begun(CoreMachine(), load_settings(CoreSettings, {"SYMBOLS": "auto"}))
    assert risk.settings.SYMBOLS == AUTO
    assert not risk.settings.may_enter("mexc_spot", "DOGEUSDT")
    for machine in (risk, core):
        machine.handle(entry(3, "symbols", {"symbols": ["DOGEUSDT"]}))
    assert risk.settings.may_enter("mexc_spot", "DOGEUSDT")
    assert core._symbols == {"DOGEUSDT"}
    risk.handle(entry(4, "symbols", {"symbols": ["BTCUSDT"]}))
    assert not risk.settings.may_enter("mexc_spot", "DOGEUSDT")

    fixed = begun(RiskMachine(), RiskSettings())
    fixed.handle(entry(3, "symbols", {"symbols": ["DOGEUSDT"]}))
    assert not fixed.settings.may_enter("mexc_spot", "DOGEUSDT")


def test_only_the_feed_tells_of_the_exchange() -> None:
    """A grid in the name of another service changes nothing."""
    risk = begun(RiskMachine(), RiskSettings())
    risk.handle(entry(3, "instruments", instrument_details([DOGE]), producer="operator"))
    assert risk.settings.spec(KEY) is None


@pytest.mark.parametrize(
    ("read", "details"),
    [
        (read_instruments, {}),
        (read_instruments, {"instruments": "BTC"}),
        (read_instruments, {"instruments": [{"venue": "mexc_spot"}]}),
        (read_symbols, {}),
        (read_symbols, {"symbols": "BTCUSDT"}),
        (read_symbols, {"symbols": [7]}),
        (read_symbols, {"symbols": ["B"]}),
    ],
)
def test_a_fact_that_is_none_is_refused(read: Any, details: dict[str, Any]) -> None:
    """What is no grid and no list is named."""
    with pytest.raises(ContractViolation):
        read(details)
