"""The operator's commands to a running pipeline: halt, resume, flatten, reset-breaker, resolve-order.

Exit codes: 0 done, and risk and execution both have it; 1 refused by risk; 2 used wrongly; 3 not recorded, since the
journal cannot be reached; 4 recorded, but risk or execution has not handled it (which one is said).
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from claire.options import refuse

if TYPE_CHECKING:
    from claire.address import Address
    from claire.operator_line import Action, Command, Outcome

__all__ = ["ExitCode", "register"]

By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who gives the command; stands in the journal.")]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stands in the journal.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of a running claire up (default: data/paper, in Docker its own Redis)."),
]
RedisAt = Annotated[
    str, typer.Option("--redis", metavar="HOST:PORT", help="Redis (or the path of its socket) instead of a folder.")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help="Password of the Redis user operator (or REDIS_OPERATOR_PASSWORD_FILE)."),
]
Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for risk and execution.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

TIMEOUT_SEC = 10.0


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    REFUSED = 1
    WRONG_USE = 2
    NOT_RECORDED = 3
    NOT_ANSWERED = 4


class Resolution(StrEnum):
    """What really became of an order whose result is unknown."""

    never_arrived = "never-arrived"
    canceled = "canceled"
    filled = "filled"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(halt)
    app.command()(resume)
    app.command()(flatten)
    app.command("reset-breaker")(reset_breaker)
    app.command("resolve-order")(resolve_order)


def halt(
    *,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Stop everything but flatten, protective exits too.")
    ] = False,
    by: By = "",
    reason: Why = "",
    data_dir: DataDir = None,
    redis: RedisAt = "",
    password_file: PasswordFile = None,
    timeout: Timeout = TIMEOUT_SEC,
    as_json: AsJson = False,
) -> None:
    """Stop all entries now. Nothing else is needed: no name, no reason, no writer, no database."""
    details = {"freeze": True} if freeze else {}
    by, reason = by.strip() or _login(), reason.strip() or "claire halt"
    _give("halt", by, reason, details, _Where(data_dir, redis, password_file, timeout, as_json=as_json))


def resume(
    *,
    by: By = "",
    reason: Why = "",
    accept: Annotated[
        str,
        typer.Option(help="Differences of the reconciliation to accept, by name, as balance:USDT,trade:1."),
    ] = "",
    data_dir: DataDir = None,
    redis: RedisAt = "",
    password_file: PasswordFile = None,
    timeout: Timeout = TIMEOUT_SEC,
    as_json: AsJson = False,
) -> None:
    """Lift a halt or a freeze (not the circuit breaker, not the daily loss)."""
    named = [name.strip() for name in accept.split(",") if name.strip()]
    details = {"accept": named} if named else {}
    _give("resume", by, reason, details, _Where(data_dir, redis, password_file, timeout, as_json=as_json))


def flatten(
    *,
    by: By = "",
    reason: Why = "",
    data_dir: DataDir = None,
    redis: RedisAt = "",
    password_file: PasswordFile = None,
    timeout: Timeout = TIMEOUT_SEC,
    as_json: AsJson = False,
) -> None:
    """Close every position and stay flat: trading is halted until claire resume."""
    _give("flatten", by, reason, {}, _Where(data_dir, redis, password_file, timeout, as_json=as_json))


def reset_breaker(
    *,
    by: By = "",
    reason: Why = "",
    data_dir: DataDir = None,
    redis: RedisAt = "",
    password_file: PasswordFile = None,
    timeout: Timeout = TIMEOUT_SEC,
    as_json: AsJson = False,
) -> None:
    """Reset the tripped circuit breaker; the peak equity begins anew at the equity of now."""
    _give("reset_breaker", by, reason, {}, _Where(data_dir, redis, password_file, timeout, as_json=as_json))


def resolve_order(
    *,
    order_id: Annotated[str, typer.Argument(metavar="ORDER_ID", help="As claire status shows it.")],
    outcome: Annotated[
        Resolution,
        typer.Option("--outcome", help="never-arrived; canceled: nothing beyond what was reported; filled."),
    ],
    quantity: Annotated[
        str, typer.Option("--quantity", help="Filled in all, base units; the whole order unless given.")
    ] = "",
    price: Annotated[str, typer.Option("--price", help="Average price of what has filled unreported.")] = "",
    fee: Annotated[str, typer.Option("--fee", help="Paid for that, in quote currency; else the taker fee.")] = "",
    by: By = "",
    reason: Why = "",
    data_dir: DataDir = None,
    redis: RedisAt = "",
    password_file: PasswordFile = None,
    timeout: Timeout = TIMEOUT_SEC,
    as_json: AsJson = False,
) -> None:
    """Say what became of an order that is UNKNOWN, so that its reservation ends."""
    details = {"order_id": order_id, "outcome": outcome.value.replace("-", "_")}
    details |= _amounts({"quantity": quantity, "price": price, "fee": fee})
    if outcome is Resolution.filled and "price" not in details:
        refuse("--outcome filled needs --price PRICE, the average that the exchange says")
    if outcome is not Resolution.filled and len(details) > 2:
        refuse(f"--quantity, --price and --fee belong to --outcome filled, not to {outcome.value}")
    _give("resolve_order", by, reason, details, _Where(data_dir, redis, password_file, timeout, as_json=as_json))


def _amounts(given: Mapping[str, str]) -> dict[str, Any]:
    amounts = {}
    for name, text in given.items():
        if not text:
            continue
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or value < 0:
            refuse(f"--{name} {text}: a number not below 0 is meant, for example --{name} 0.05")
        amounts[name] = value
    return amounts


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as containers may have
        return "operator"


class _Where:
    """Which pipeline, how long to wait, and how to answer."""

    def __init__(
        self, data_dir: Path | None, redis: str, password_file: Path | None, timeout_sec: float, *, as_json: bool
    ) -> None:
        self.data_dir, self.redis, self.password_file = data_dir, redis, password_file
        self.timeout_sec, self.as_json = timeout_sec, as_json


def _give(action: Action, by: str, reason: str, details: Mapping[str, Any], where: _Where) -> None:
    """Send a command, show what became of it, and end with its exit code."""
    from claire.address import AddressUnknown, find_address
    from claire.operator_line import Command

    missing = [option for option, given in (("--by NAME", by), ("--reason TEXT", reason)) if not given.strip()]
    if missing:
        refuse(f"{action.replace('_', '-')} needs {' and '.join(missing)}: who and why stand in the journal for ever")
    try:
        address = find_address(where.data_dir, where.redis, where.password_file, os.environ)
    except AddressUnknown as unknown:
        refuse(f"{action.replace('_', '-')} is not recorded: {unknown}", ExitCode.NOT_RECORDED)
    command = Command(action, by.strip(), reason.strip(), details)
    raise typer.Exit(_send(command, address, where))


def _send(command: Command, address: Address, where: _Where) -> int:
    from claire.operator_line import JournalUnreachable, OperatorLine
    from claire.operator_screen import as_record, render_outcome
    from claire.probe import read_json
    from claire.up import print_json
    from services.common import channels

    line = OperatorLine(address.infra)
    try:
        outcome = line.send(command)
        try:
            line.follow(outcome, where.timeout_sec)
        except JournalUnreachable as lost:
            refuse(str(lost), ExitCode.NOT_ANSWERED)
    except JournalUnreachable as unreachable:
        name = command.action.replace("_", "-")
        refuse(f"{name} is not recorded in {address.name}: {unreachable}\n{address.fix}", ExitCode.NOT_RECORDED)
    finally:
        line.close()
    standing = None
    if outcome.state is None and outcome.folded[channels.RISK]:
        host, port = address.services[channels.RISK]
        standing = (read_json(port, "/status", host=host) or {}).get("machine")
    if where.as_json:
        print_json(as_record(command, outcome, standing))
    else:
        Console().print(render_outcome(command, outcome, standing), highlight=False, soft_wrap=True)
    return _exit_code(outcome)


def _exit_code(outcome: Outcome) -> ExitCode:
    if outcome.refused is not None:
        return ExitCode.REFUSED
    return ExitCode.NOT_ANSWERED if outcome.unanswered or outcome.still_open else ExitCode.DONE
