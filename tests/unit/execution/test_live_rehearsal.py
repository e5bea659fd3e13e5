"""What could not be folded never enters the journal: each fact is folded beforehand in a twin of the machine."""

from __future__ import annotations

from typing import Any

import pytest

from services.cdb_execution.live import facts
from services.cdb_execution.machine import ExecutionMachine
from services.common.errors import ClaireError
from services.common.events import Event
from services.common.journal.entry import Entry, JournalId
from tests.unit.common.shared import shared
from tests.unit.execution.test_live_sandbox_chaos import play

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def folded(machine: ExecutionMachine, event: Event, number: int) -> Any:
    """Return what a machine makes of an event: outputs and state, or the fault."""
    place = JournalId(machine.fold.epoch, machine.fold.n + 1)
    try:
        outputs = machine.handle(Entry(place, event.channel, event.producer, f"exchange:{number}", event.data))
        return [output.data for output in outputs], machine.dump()
    except (ArithmeticError, ValueError, ClaireError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("seed", [15, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 40))])
def test_a_twin_folds_what_a_restored_machine_folds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through whole histories of faults and kills: same bytes out, same state or same fault, and nothing is shared."""
    rehearse, rehearsed = facts._rehearse, 0

    def both(machine: ExecutionMachine, event: Event, number: int) -> None:
        nonlocal rehearsed
        rehearsed += 1
        before = machine.dump()
        restored = ExecutionMachine()
        restored.restore(before)
        twin = machine.twin()
        assert shared((twin.fold, twin.state), (machine.fold, machine.state)) == []
        assert folded(twin, event, number) == folded(restored, event, number)
        assert machine.dump() == before
        rehearse(machine, event, number)

    monkeypatch.setattr(facts, "_rehearse", both)
    play(seed, steps=80)

    assert rehearsed >= 5
