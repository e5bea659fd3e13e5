"""Live trading that was recorded by the code of an earlier day: today's code takes it, and goes on with it.

Both files were made by processes at the sandbox exchange, a hundred commits or so before this test: entries and exits,
an order without an answer, a process killed, a fill made by hand that froze trading until it was accepted, a halt, a
flatten. They are never made anew: what they hold is what must be understood for ever.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from claire.audit.validate import validate
from claire.cli import app
from claire.history.source import FileHistory
from services.cdb_core.machine import CoreMachine
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_risk.machine import RiskMachine
from services.common import channels
from services.common.events import Control
from services.common.journal.entry import Entry, JournalId
from services.common.machine import StateMachine
from services.common.timestamps import SECOND_US

pytestmark = [pytest.mark.unit, pytest.mark.risk]

RECORDED = Path(__file__).parent / "recorded"
VENUES = ("spot", "perpetual")
MACHINES: tuple[type[StateMachine], ...] = (CoreMachine, RiskMachine, ExecutionMachine)  # type: ignore[type-arg]


@pytest.mark.parametrize("venue", VENUES)
def test_every_decision_follows_again(venue: str) -> None:
    """The chain holds, and each machine of today says byte for byte what that of then said."""
    verdict = validate(FileHistory(RECORDED / f"live-{venue}.jsonl.zst"))
    assert verdict.ok, verdict


@pytest.mark.parametrize("venue", VENUES)
def test_a_restart_goes_on_with_it(venue: str) -> None:
    """Folded to its end, dumped and restored, each machine takes the next tick and is as before the restart."""
    entries = list(FileHistory(RECORDED / f"live-{venue}.jsonl.zst").entries())
    for machine_type in MACHINES:
        machine, restored = machine_type(), machine_type()
        for entry in entries:
            machine.handle(entry)
        restored.restore(machine.dump())
        tick = Control(
            event_id="tick", timestamp=machine.now + SECOND_US, producer=channels.WS, action="tick"
        )  # fmt: skip
        place = JournalId(machine.fold.epoch, machine.fold.n + 1)
        said = [
            [event.data for event in each.handle(Entry(place, channels.CONTROL, channels.WS, "feed:9999", tick.data))]
            for each in (machine, restored, machine.twin())
        ]
        assert said[0] == said[1]
        assert machine.dump() == restored.dump()


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_it_replays_and_explains_itself(venue: str) -> None:
    """`claire replay` ends with an equal record, and `claire explain` tells the story of its first order."""
    file = str(RECORDED / f"live-{venue}.jsonl.zst")
    entries = FileHistory(Path(file)).entries()
    order_id = next(entry.event.order_id for entry in entries if entry.channel == channels.ORDERS)  # type: ignore[attr-defined]

    replayed = CliRunner().invoke(app, ["replay", "--journal", file, "--json"])
    explained = CliRunner().invoke(app, ["explain", order_id, "--journal", file])

    assert replayed.exit_code == 0, replayed.output
    assert explained.exit_code == 0, explained.output
    assert "filled" in explained.output.lower()
