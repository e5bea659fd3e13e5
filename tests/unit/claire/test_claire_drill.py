"""The drills: every promise about a trading state holds on a copy, and a broken one is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from claire.cli import app
from claire.drill.desk import Desk, Machines, new_machines
from claire.drill.scenarios import DRILLS, Drill
from claire.drill.source import NothingToCopy, fold, from_history
from claire.history.journal_file import JournalWriter
from claire.history.source import FileHistory
from claire.kernel import Kernel
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk import machine as risk_machine
from services.cdb_risk.account import Account
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.trading_state import Latch, TradingState
from services.common import channels
from services.common.events import Control, OrderResult
from services.common.journal.entry import Cause, Entry, JournalId

pytestmark = [pytest.mark.unit, pytest.mark.risk]

NOON = 1_621_425_600_000_000


def nothing(*_: Any) -> None:
    """Hear nothing of progress."""


def begin(venue: Any = "mexc_spot", **risk: Any) -> tuple[Machines, Kernel, list[Entry]]:
    """Return machines that have just joined a run, their kernel, and what is in the journal."""
    machines = new_machines()
    kernel = Kernel(machines)
    started = Control(
        event_id="s", timestamp=NOON, producer=channels.WS, action="started", service=channels.WS, run_id="run"
    )
    journal = list(kernel.step(channels.WS, Cause("feed", 1), [started]))
    settings = {
        channels.CORE: CoreSettings(),
        channels.RISK: RiskSettings(VENUE=venue, **risk),
        channels.EXECUTION: ExecutionSettings(VENUE=venue),
    }
    journal += kernel.announce(settings, code_version="test")
    return machines, kernel, journal


def new_desk(**risk: Any) -> Desk:
    """Return a desk on a fresh run."""
    machines, kernel, _ = begin(**risk)
    return Desk(machines, JournalId(1, kernel.head))


def broken(found: Drill) -> list[str]:
    """Return the promises that did not hold."""
    return [check.promise for check in found.checks if not check.held]


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
@pytest.mark.parametrize("name", DRILLS)
def test_every_promise_holds(name: str, venue: str) -> None:
    """On spot and on perpetuals: tripped, entries cancelled and refused, exits as promised, latched, undone."""
    found = DRILLS[name](new_desk(venue=venue))

    assert found.passed, broken(found)
    assert len(found.checks) >= 8


@pytest.mark.parametrize("name", DRILLS)
@pytest.mark.parametrize("before", ["halt", "freeze", "breaker", "daily-loss", "pauses", "positions"])
def test_a_drill_begins_with_whatever_is_there(name: str, before: str) -> None:
    """A copy that is halted, frozen, tripped or done for the day is first made ACTIVE; what is held stays held."""
    desk = new_desk()
    desk.quote(*desk.prices)
    if before in {"breaker", "daily-loss"}:
        desk.configure(MAX_DAILY_DRAWDOWN_PCT="1" if before == "breaker" else "0.05")
        desk.hold("BTCUSDT", Decimal("0.3"))
        while desk.state == "ACTIVE":
            desk.prices["BTCUSDT"] *= Decimal("0.97")
            desk.quote("BTCUSDT", liquid=False)
        assert desk.causes == [before.replace("-", "_")]
        desk.configure(MAX_DAILY_DRAWDOWN_PCT="0.05")
    elif before == "pauses":
        for latch in ("rolling_loss", "loss_streak"):
            desk.risk.state.trading.set(latch, Latch(desk.now, "cdb_risk", "too many losses"))
    elif before == "positions":
        for symbol in desk.prices:
            desk.hold(symbol, Decimal("0.1"))
    else:
        desk.command("halt", freeze=before == "freeze")
        assert desk.causes == [before]

    found = DRILLS[name](desk)

    assert found.passed, broken(found)


def test_a_drill_fits_other_limits() -> None:
    """Tight limits, a wide stop, another threshold: steps are fitted to them."""
    tight: dict[str, Any] = {
        "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.02", "MAX_DAILY_DRAWDOWN_PCT": "0.01", "STOP_LOSS_PCT": "0.08",
        "TRAILING_STOP_PCT": "0.05",
    }  # fmt: skip
    for name, run in DRILLS.items():
        found = run(new_desk(**tight))
        assert found.passed, (name, broken(found))


SABOTAGE: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "execution cancels nothing": (
        "breaker",
        lambda patch: patch.setattr(ExecutionMachine, "_cancel_forbidden", lambda _: None),
        "a working entry is cancelled when trading becomes HALTED",
    ),
    "the breaker never confirms": (
        "breaker",
        lambda patch: patch.setattr(Account, "confirm_breach", lambda *_: False),
        "the breaker trips at its threshold",
    ),
    "the breaker forgets": (
        "breaker",
        lambda patch: patch.setattr(TradingState, "is_set", lambda _, name: name == "daily_loss"),
        "entries are refused by circuit_breaker",
    ),
    "a reset keeps the peak": (
        "breaker",
        lambda patch: patch.setattr(Account, "reset_peak", lambda _: None),
        "a reset sets the peak to the equity of now",
    ),
    "a reset needs nobody": (
        "breaker",
        lambda patch: patch.setattr(risk_machine, "refusal", lambda *_: None),
        "reset-breaker needs name and reason",
    ),
    "stops do nothing": (
        "breaker",
        lambda patch: patch.setattr(risk_machine.RiskMachine, "_protect", lambda *_, **__: None),
        "protective exits run while trading is restricted",
    ),
    "the daily loss is not latched": (
        "daily-loss",
        lambda patch: patch.setattr(risk_machine.RiskMachine, "_latch", lambda *_: None),
        "the daily loss limit makes trading REDUCING",
    ),
    "execution has no key of its own": (
        "halt",
        lambda patch: patch.setattr("services.cdb_execution.machine.after_command", lambda state, _: state),
        "halt needs nothing and turns both keys",
    ),
    "a restart forgets": (
        "halt",
        lambda patch: patch.setattr(risk_machine.RiskMachine, "restore", _forget),
        "the state is latched over a restart",
    ),
}


RESTORE = risk_machine.RiskMachine.restore


def _forget(machine: risk_machine.RiskMachine, data: bytes) -> None:
    RESTORE(machine, data)
    machine.state.trading.latches.clear()


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_broken_promise_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each drill fails when the thing that it looks at is broken, and names it."""
    name, sabotage, promise = SABOTAGE[what]
    desk = new_desk()
    sabotage(monkeypatch)

    found = DRILLS[name](desk)

    assert not found.passed
    assert promise in broken(found)


# what the copy is taken of


def recorded() -> tuple[Machines, list[Entry]]:
    """Return machines in the middle of trading, and the whole journal that led there."""
    machines, kernel, journal = begin()
    desk = Desk(machines, JournalId(1, kernel.head))
    entries: list[Entry] = []
    desk._kernel = Recording(desk._kernel, entries)  # type: ignore[assignment]
    desk.quote(*desk.prices)
    desk.signal("BTCUSDT", "entry")
    desk.quote("BTCUSDT")
    desk.signal("ETHUSDT", "entry")
    return machines, journal + entries


class Recording:
    """A kernel whose entries are kept."""

    def __init__(self, kernel: Kernel, entries: list[Entry]) -> None:
        self._kernel, self._entries = kernel, entries

    def step(self, *arguments: Any) -> list[Entry]:
        """Step, and keep what came of it."""
        made = list(self._kernel.step(*arguments))
        self._entries += made
        return made


def test_a_fold_gives_the_same_machines() -> None:
    """The copy's state is byte for byte that of the machines which recorded the journal."""
    machines, journal = recorded()

    start = fold(journal, "here", nothing)

    assert [machine.dump() for machine in start.machines] == [machine.dump() for machine in machines]
    assert start.place == journal[-1].id


def test_what_was_not_recorded_yet_follows() -> None:
    """The record ends between a decision's cause and the decision: the copy decides it, and nothing is forgotten."""
    machines, journal = recorded()
    last_input = max(number for number, entry in enumerate(journal) if not entry.cause.isdigit())

    start = fold(journal[: last_input + 1], "here", nothing)

    assert last_input < len(journal) - 1
    assert [machine.dump() for machine in start.machines] == [machine.dump() for machine in machines]
    assert start.place == journal[-1].id


def test_an_empty_record_is_nothing_to_copy(tmp_path: Path) -> None:
    """A journal without a run: said, with what to do."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path):
        pass
    with pytest.raises(NothingToCopy, match="start claire up first"):
        from_history(FileHistory(path), nothing)


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and what was written."""
    result = CliRunner().invoke(app, ["drill", *arguments])
    return result.exit_code, result.output


def test_the_command_on_a_journal_file(tmp_path: Path) -> None:
    """A recorded journal is copied and drilled; the file stays as it is; JSON says the same as the screen."""
    path = tmp_path / "journal.jsonl.zst"
    with JournalWriter(path) as writer:
        for entry in recorded()[1]:
            writer.write(entry)
    before = path.read_bytes()

    code, text = run("breaker", "--journal", str(path))

    assert code == 0, text
    assert "passed: 10 of 10 promises held" in text
    code, text = run("halt", "--journal", str(path), "--json")
    record = json.loads(text)
    assert (code, record["passed"], record["drill"]) == (0, True, "halt")
    assert path.read_bytes() == before


@pytest.mark.slow
def test_the_command_without_a_source_takes_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled crash day is played to two hours before noon, and the drill goes on from there."""
    code, text = run("daily-loss")
    assert code == 0, text
    assert "the bundled sample crash-2021-05-19" in text
    monkeypatch.setattr(Account, "confirm_breach", lambda *_: False)
    code, text = run("breaker")
    assert code == 1
    assert "FAILED" in text


def test_no_source_where_one_is_named(tmp_path: Path) -> None:
    """A folder without a database is named with the fix; so is a file that is not there."""
    code, text = run("breaker", "--data-dir", str(tmp_path))
    assert code == 2
    assert "claire up" in text
    assert run("breaker", "--journal", str(tmp_path / "none"))[0] == 2
    assert run("nonsense")[0] == 2


def test_results_of_unknown_orders_are_none() -> None:
    """What was refused has no order and no result."""
    desk = new_desk()
    assert desk.last_result(None) is None
    assert desk.of(OrderResult) == []
