"""The operator's commands used wrongly, where they look for the pipeline, and what they show."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claire.address import AddressUnknown, find_address, find_services
from claire.cli import app
from claire.data_folder import DataFolder
from claire.operator_commands import ExitCode, _exit_code
from claire.operator_line import Command, JournalUnreachable, Outcome, _take_answer
from claire.operator_screen import as_record, render_outcome
from services.common import channels
from services.common.events import (
    LAYERS,
    Alert,
    Control,
    LayerVerdict,
    Order,
    OrderResult,
    PortfolioView,
    RiskDecision,
    Sizing,
)
from services.common.journal.entry import JournalId
from services.common.resolution import read_resolution

pytestmark = pytest.mark.unit

T0 = 1_621_382_400_000_000


@pytest.fixture(autouse=True)
def _no_redis_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_HOST", "REDIS_SOCKET", "REDIS_OPERATOR_PASSWORD", "REDIS_OPERATOR_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and everything that was written, in one line."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, re.sub(r"\s+", " ", result.output)


WHO = ("--by", "ada", "--reason", "test")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resume"], "resume needs --by NAME and --reason TEXT"),
        (["resume", "--by", "ada"], "resume needs --reason TEXT"),
        (["resume", "--by", " ", "--reason", "x"], "resume needs --by NAME"),
        (["flatten", "--reason", "x"], "flatten needs --by NAME"),
        (["reset-breaker"], "reset-breaker needs --by NAME and --reason TEXT"),
        (["resolve-order", "ord-1", "--outcome", "canceled"], "resolve-order needs --by NAME and --reason TEXT"),
        (["resolve-order", "ord-1", "--outcome", "filled", *WHO], "--outcome filled needs --price PRICE"),
        (["resolve-order", "ord-1", "--outcome", "never-arrived", "--price", "1", *WHO], "belong to --outcome filled"),
        (["resolve-order", "ord-1", "--outcome", "filled", "--fee", "NaN", *WHO], "--fee NaN: a number"),
        (["resolve-order", "ord-1", "--outcome", "filled", "--price", "much", *WHO], "--price much: a number"),
        (["resolve-order", "ord-1", "--outcome", "filled", "--quantity", "-1", *WHO], "--quantity -1: a number"),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(arguments: list[str], words: str) -> None:
    """Undoing and closing need a name and a reason; an outcome needs its numbers."""
    code, text = run(*arguments)
    assert code == ExitCode.WRONG_USE
    assert words in text


def test_no_pipeline_is_said_with_the_fix(tmp_path: Path) -> None:
    """Nothing was ever run there: nothing is recorded, exit code 3, and how to reach Docker's."""
    code, text = run("halt", "--data-dir", str(tmp_path))
    assert code == ExitCode.NOT_RECORDED
    assert "halt is not recorded" in text
    assert "docker compose exec cdb_risk claire" in text


def test_a_redis_that_is_down_is_said_with_the_fix(tmp_path: Path) -> None:
    """Nobody listens on the socket: exit code 3, not a traceback."""
    code, text = run("halt", "--redis", str(tmp_path / "no.sock"))
    assert code == ExitCode.NOT_RECORDED
    assert "Redis does not answer" in text
    assert "--password-file" in text


def test_a_folder_whose_redis_is_down_says_that_another_may_be_meant(tmp_path: Path) -> None:
    """Somebody who halts in haste and runs elsewhere is told how to name the other folder."""
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("16")
    code, text = run("halt", "--data-dir", str(tmp_path))
    assert code == ExitCode.NOT_RECORDED
    assert "is another one meant: --data-dir DIR" in text


class Line:
    """Stands in for the journal."""

    given: Command | None = None
    outcome: Outcome
    lost: bool = False

    def __init__(self, infra: Any) -> None:
        pass

    def send(self, command: Command) -> Outcome:
        """Take the command."""
        Line.given = command
        return Line.outcome

    def follow(self, outcome: Outcome, timeout_sec: float) -> Outcome:
        """Know the answer already."""
        if Line.lost:
            raise JournalUnreachable("recorded as 1-7, but then Redis went away")
        return outcome

    def close(self) -> None:
        """Hang up."""


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Line]]:
    """Let every command end with an outcome of the test's choice."""
    monkeypatch.setattr("claire.operator_line.OperatorLine", Line)
    Line.outcome, Line.given, Line.lost = Outcome(JournalId(1, 7), T0), None, False
    Line.outcome.folded = dict.fromkeys(Line.outcome.folded, True)
    return Line


def test_halt_needs_nothing(line: type[Line], tmp_path: Path) -> None:
    """Neither name nor reason: both are filled in, and the answer is one line with the state and how to undo it."""
    line.outcome.state, line.outcome.previous, line.outcome.causes = "HALTED", "ACTIVE", ["halt"]
    code, text = run("halt", "--redis", str(tmp_path / "x"))
    assert code == ExitCode.DONE
    assert "trading is HALTED (was ACTIVE)" in text
    assert "claire resume --by NAME --reason TEXT" in text
    assert line.given is not None
    assert line.given.by
    assert line.given.reason == "claire halt"
    assert line.given.details == {}


def test_a_refusal_is_exit_code_1(line: type[Line], tmp_path: Path) -> None:
    """What risk does not do is said with its reason."""
    line.outcome.refused = "nothing is halted by an operator"
    code, text = run("resume", *WHO, "--redis", str(tmp_path / "x"))
    assert code == ExitCode.REFUSED
    assert "resume refused: nothing is halted by an operator" in text


def test_silence_of_risk_is_exit_code_4_and_says_what_holds(line: type[Line], tmp_path: Path) -> None:
    """Risk is dead: recorded, execution's own key is turned, and nobody pretends that risk has answered."""
    line.outcome.folded[channels.RISK] = line.outcome.running[channels.RISK] = False
    code, text = run("halt", "--redis", str(tmp_path / "x"))
    assert code == ExitCode.NOT_ANSWERED
    assert "cdb_risk is not running" in text
    assert "cdb_execution has its own key and has turned it" in text
    line.outcome.running[channels.RISK] = True
    line.outcome.folded[channels.EXECUTION] = line.outcome.running[channels.EXECUTION] = False
    code, text = run("halt", "--redis", str(tmp_path / "x"))
    assert "cdb_risk has not handled the halt in time" in text
    assert "cdb_execution is not running" in text


def test_redis_lost_while_waiting_is_exit_code_4(line: type[Line], tmp_path: Path) -> None:
    """It is recorded, but the answer did not come."""
    line.lost = True
    code, text = run("halt", "--redis", str(tmp_path / "x"))
    assert code == ExitCode.NOT_ANSWERED
    assert "recorded as 1-7" in text


def test_json_says_everything(line: type[Line], tmp_path: Path) -> None:
    """One object on standard output, with the outcome that resolve-order was given as the exchange's word."""
    code, text = run(
        "resolve-order", "ord-1", "--outcome", "filled", "--quantity", "0.5", "--price", "50000", *WHO,
        "--redis", str(tmp_path / "x"), "--json",
    )  # fmt: skip
    record = json.loads(text)
    assert code == ExitCode.DONE
    assert (record["action"], record["journal_id"], record["by"]) == ("resolve_order", "1-7", "ada")
    assert record["changed"] is False
    assert line.given is not None
    assert line.given.details == {
        "order_id": "ord-1", "outcome": "filled", "quantity": Decimal("0.5"), "price": Decimal(50000),
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["--outcome", "never-arrived"],
        ["--outcome", "canceled"],
        ["--outcome", "filled", "--price", "50000"],
        ["--outcome", "filled", "--price", "50000", "--quantity", "0.5", "--fee", "12.5"],
    ],
)
def test_what_resolve_order_says_is_what_risk_reads(line: type[Line], tmp_path: Path, arguments: list[str]) -> None:
    """The details of the command keep the contract that risk and execution fold."""
    assert run("resolve-order", "ord-1", *arguments, *WHO, "--redis", str(tmp_path / "x"))[0] == ExitCode.DONE
    assert line.given is not None
    event = Control(
        event_id="c", timestamp=T0, producer=channels.OPERATOR, action="resolve_order", details=dict(line.given.details)
    )
    said = read_resolution(event)
    assert said.order_id == "ord-1"
    assert said.outcome == arguments[1].replace("-", "_")


# what follows from a command


def decision(**fields: Any) -> RiskDecision:
    """Return a decision of risk to sell."""
    return RiskDecision(
        event_id="d", timestamp=T0, producer=channels.RISK, signal_id=None, venue="mexc_spot", symbol="BTCUSDT",
        side="SELL", purpose="flatten", **{"approved": False, "reason": "data_quality"} | fields,
        layers=tuple(LayerVerdict(layer=layer, code="OK", status="pass") for layer in LAYERS),
        sizing=Sizing(method="position", requested=Decimal(1), approved=Decimal(0)),
        portfolio=PortfolioView(
            equity=None, cash=None, exposure=None, daily_pnl=None, drawdown=None, position=None,
            position_notional=None, trading_state="HALTED",
        ),
    )  # fmt: skip


def order(order_id: str) -> Order:
    """Return an order to sell one bitcoin."""
    return Order(
        event_id=order_id, timestamp=T0, producer=channels.RISK, order_id=order_id, client_order_id=order_id,
        signal_id=None, decision_id="d", venue="mexc_spot", symbol="BTCUSDT", side="SELL", order_type="LIMIT",
        quantity=Decimal(1), price=Decimal(1), reduce_only=True, purpose="flatten", reference_price=Decimal(1),
    )  # fmt: skip


def result(order_id: str, status: Any, filled: str) -> OrderResult:
    """Return what became of it."""
    return OrderResult(
        event_id=f"{order_id}-{status}", timestamp=T0, producer=channels.EXECUTION, order_id=order_id,
        client_order_id=order_id, status=status, venue="mexc_spot", symbol="BTCUSDT", side="SELL", quantity=Decimal(1),
        filled_quantity=Decimal(filled), average_price=Decimal(50000) if Decimal(filled) else None, reason="QUOTE",
    )  # fmt: skip


def test_the_answer_is_gathered_from_what_risk_emits() -> None:
    """State, refusal, orders, what could not be sent, and other alerts; the state's own alert is not said twice."""
    outcome = Outcome(JournalId(1, 7), T0)
    common: dict[str, Any] = {"timestamp": T0, "producer": channels.RISK}
    for event in (
        Control(
            event_id="1", action="trading_state", details={"state": "HALTED", "previous": "ACTIVE", "causes": ["halt"]},
            **common,
        ),
        Alert(event_id="2", level="WARNING", code="TRADING_HALTED", message="again", **common),
        Alert(event_id="3", level="CRITICAL", code="UNEXPECTED_FILL", message="look", **common),
        Alert(event_id="4", level="WARNING", code="COMMAND_REFUSED", message="no", **common),
        decision(),
        decision(approved=True, reason="approved"),
        order("o1"),
        Control(event_id="5", action="resolve_order", details={"order_id": "o2"}, **common),
    ):  # fmt: skip
        _take_answer(outcome, event)

    assert (outcome.state, outcome.previous, outcome.causes) == ("HALTED", "ACTIVE", ["halt"])
    assert outcome.refused == "no"
    assert outcome.told == ["CRITICAL UNEXPECTED_FILL: look"]
    assert [declined.reason for declined in outcome.declined] == ["data_quality"]
    assert list(outcome.orders) == ["o1"]
    assert not outcome.settled
    outcome.results["o1"] = result("o1", "FILLED", "1")
    assert not outcome.settled
    outcome.results["o2"] = result("o2", "CANCELED", "0")
    assert outcome.settled


def shown(command: Command, outcome: Outcome, standing: dict[str, Any] | None = None) -> str:
    """Return the text that a person reads."""
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_outcome(command, outcome, standing), soft_wrap=True)
    return console.export_text()


def test_flatten_shows_each_order_and_what_became_of_it() -> None:
    """Filled, partly filled and given up, not answered yet, not sent yet, and entries cancelled on the way."""
    outcome = Outcome(JournalId(1, 7), T0, folded=dict.fromkeys((channels.RISK, channels.EXECUTION), True))
    outcome.state, outcome.previous, outcome.causes = "HALTED", "ACTIVE", ["halt"]
    for name in ("o1", "o2", "o3"):
        _take_answer(outcome, order(name))
    outcome.results = {"o1": result("o1", "FILLED", "1"), "o2": result("o2", "EXPIRED", "0.25")}
    outcome.declined.append(decision())
    outcome.canceled.append(result("e1", "CANCELED", "0"))
    outcome.told.append("WARNING X: y")
    command = Command("flatten", "ada", "home")

    text = shown(command, outcome)
    record = as_record(command, outcome, None)

    assert "sell 1 BTCUSDT: filled at 50000" in text
    assert "sell 1 BTCUSDT: expired, 0.25 filled (QUOTE)" in text
    assert "sell 1 BTCUSDT: sent, no answer yet" in text
    assert "not sent yet: flatten sell BTCUSDT: data_quality; risk retries" in text
    assert "still open: 0.75 BTCUSDT; risk asks again at the next valid quote" in text
    assert record["still_open"] == ["0.75 BTCUSDT", "1 BTCUSDT", "BTCUSDT"]
    assert _exit_code(outcome) == ExitCode.NOT_ANSWERED
    assert "cancelled: working sell order of BTCUSDT (e1)" in text
    assert "WARNING X: y" in text
    assert [sent["status"] for sent in record["orders"]] == ["FILLED", "EXPIRED", "PENDING"]
    assert record["canceled_orders"] == ["e1"]


def test_a_flatten_is_done_when_nothing_is_left_to_close() -> None:
    """Everything filled, and what could not be sent was not held: exit code 0."""
    outcome = Outcome(JournalId(1, 7), T0, folded=dict.fromkeys((channels.RISK, channels.EXECUTION), True))
    _take_answer(outcome, order("o1"))
    outcome.results = {"o1": result("o1", "FILLED", "1")}
    outcome.declined += [decision(reason="NO_POSITION"), decision(reason="DUST")]

    assert outcome.still_open == []
    assert _exit_code(outcome) == ExitCode.DONE


def test_a_command_that_changes_nothing_shows_the_standing_state() -> None:
    """A second halt: the state and its causes come from risk itself; without its word nothing is claimed."""
    outcome = Outcome(JournalId(1, 7), T0, folded=dict.fromkeys((channels.RISK, channels.EXECUTION), True))
    command = Command("halt", "ada", "again")

    text = shown(command, outcome, {"trading_state": "REDUCING", "causes": {"daily_loss": {}}})

    assert "trading is REDUCING (unchanged): exits only" in text
    assert "daily_loss: lifted by the next 00:00 UTC" in text
    assert "trading state unchanged" in shown(command, outcome)


# which pipeline


def test_two_pipelines_in_one_command_are_refused(tmp_path: Path) -> None:
    """A folder and a Redis: one of them is meant."""
    with pytest.raises(AddressUnknown, match="two pipelines"):
        find_address(tmp_path, "127.0.0.1:6379", None, {})


def test_in_a_container_the_environment_leads_to_redis_as_operator(tmp_path: Path) -> None:
    """Compose gives address and password file; services are asked by their names."""
    password = tmp_path / "operator_password"
    password.write_text("of-the-operator\n")
    environ = {
        "REDIS_HOST": "cdb_redis", "REDIS_USERNAME": "service", "REDIS_PASSWORD_FILE": "/nowhere/service",
        "REDIS_PASSWORD": "of-the-service", "REDIS_OPERATOR_PASSWORD_FILE": str(password),
    }  # fmt: skip
    address = find_address(None, "", None, environ)
    assert (address.infra.REDIS_HOST, address.infra.REDIS_USERNAME) == ("cdb_redis", "operator")
    assert address.infra.REDIS_PASSWORD.get_secret_value() == "of-the-operator"
    assert address.services[channels.RISK] == ("cdb_risk", 8002)
    without = find_address(None, "", None, {"REDIS_HOST": "elsewhere", "REDIS_USERNAME": "service"})
    assert without.infra.REDIS_USERNAME == "service"
    assert without.services[channels.RISK] == ("127.0.0.1", 8002)


def test_a_given_redis(tmp_path: Path) -> None:
    """Host and port, host alone, a socket; the password from its file or the environment, never from the command."""
    password = tmp_path / "password"
    password.write_text("of-the-operator")
    address = find_address(None, "10.0.0.1:7000", password, {}, first_port=9000)
    assert (address.infra.REDIS_HOST, address.infra.REDIS_PORT) == ("10.0.0.1", 7000)
    assert address.infra.REDIS_USERNAME == "operator"
    assert address.services[channels.WRITER] == ("127.0.0.1", 9004)
    assert find_address(None, "somewhere", None, {}).infra.REDIS_PORT == 6379
    assert find_address(None, "/run/x.sock", None, {}).infra.REDIS_SOCKET == "/run/x.sock"
    with pytest.raises(AddressUnknown, match="cannot be read"):
        find_address(None, "somewhere", tmp_path / "none", {})
    with pytest.raises(AddressUnknown, match="REDIS_PORT"):
        find_address(None, "somewhere:port", None, {})
    with pytest.raises(AddressUnknown, match="REDIS_PORT"):
        find_address(None, "", None, {"REDIS_HOST": "x", "REDIS_PORT": "y"})


def test_a_data_folder_knows_its_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What claire up wrote down leads to its Valkey and its services; one not in use is not the default."""
    folder = DataFolder(tmp_path / "data" / "paper")
    (folder.path / "postgres" / "data").mkdir(parents=True)
    (folder.path / "postgres" / "data" / "PG_VERSION").write_text("16")
    assert folder.noted() == {}
    assert find_address(folder.path, "", None, {}).infra.REDIS_SOCKET.endswith("valkey.sock")
    folder.note(first_port=9100, redis_port=7001)
    address = find_address(folder.path, "", None, {})
    assert (address.infra.REDIS_PORT, address.services[channels.CORE]) == (7001, ("127.0.0.1", 9101))
    monkeypatch.chdir(tmp_path)
    assert not folder.in_use()
    assert find_services(None, None, {})[channels.CORE] == ("127.0.0.1", 8001)
    folder.acquire()
    assert folder.in_use()
    assert find_services(None, None, {})[channels.CORE] == ("127.0.0.1", 9101)
    folder.release()
    (folder.path / "ports.json").write_text("nonsense")
    assert folder.noted() == {}
