"""The processes of the deciding services: its own machine and metrics for the runtime; nothing on import."""

from __future__ import annotations

import importlib
import runpy
import sys

import pytest

from services.cdb_core.adapters.metrics import CoreMetrics
from services.cdb_core.machine import CoreMachine
from services.cdb_risk.adapters.metrics import RiskMetrics
from services.cdb_risk.machine import RiskMachine
from services.common import channels
from services.common.runtime import process, shell

pytestmark = pytest.mark.unit

MACHINES = {
    "services.cdb_core.service": (CoreMachine, CoreMetrics),
    "services.cdb_risk.service": (RiskMachine, RiskMetrics),
}


@pytest.mark.parametrize("module", sorted(MACHINES))
def test_a_process_runs_its_machine_and_ends_with_its_exit_code(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported, a service waits to be called; run with `python -m`, it ends with the exit code of its machine."""
    given: list[tuple[type, type]] = []

    def run(machine: type, *, metrics: type) -> int:
        given.append((machine, metrics))
        return 3

    monkeypatch.setattr(shell, "run_machine", run)
    monkeypatch.delitem(sys.modules, module, raising=False)

    importlib.import_module(module)
    on_import = list(given)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    monkeypatch.delitem(sys.modules, module, raising=False)

    assert on_import == []
    assert given == [MACHINES[module]]
    assert ended.value.code == 3


def test_execution_asks_for_its_keys_before_it_takes_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with `python -m`, it is the service of its name, checks what live trading needs first, ends with its code."""
    module, given = "services.cdb_execution.service", []

    def run(service: str, _work: object, **options: object) -> int:
        given.append((service, options["before_lease"]))
        return 3

    monkeypatch.setattr(process, "run_service", run)
    monkeypatch.delitem(sys.modules, module, raising=False)

    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    monkeypatch.delitem(sys.modules, module, raising=False)

    assert [service for service, _ in given] == [channels.EXECUTION]
    assert given[0][1] is not None
    assert ended.value.code == 3
