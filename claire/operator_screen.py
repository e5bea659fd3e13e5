"""What an operator reads after a command: the state that trading is in now, and whatever is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from claire.operator_line import Command, Outcome
from services.common import channels
from services.common.events import RiskDecision
from services.common.timestamps import format_timestamp

__all__ = ["MODE_STYLES", "as_record", "render_outcome"]

MODE_STYLES = {"ACTIVE": "bold green", "REDUCING": "bold yellow", "HALTED": "bold red", "FROZEN": "bold white on red"}

WHAT_GOES_ON = {
    "ACTIVE": "entries and exits",
    "REDUCING": "exits only",
    "HALTED": "no entries; protective exits still run",
    "FROZEN": "nothing but claire flatten",
}
UNDONE_BY = {
    "halt": "claire resume --by NAME --reason TEXT",
    "freeze": "claire resume --by NAME --reason TEXT",
    "breaker": "claire reset-breaker --by NAME --reason TEXT",
    "daily_loss": "the next 00:00 UTC of the run's clock",
    "rolling_loss": "time alone: ROLLING_DRAWDOWN_HOURS of the run's clock",
    "loss_streak": "time alone: LOSS_STREAK_PAUSE_MIN of the run's clock",
}


def as_record(command: Command, outcome: Outcome, standing: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the outcome for machines; `standing` is risk's own word on the state when the command changed nothing."""
    state, causes = _state(outcome, standing)
    return {
        "action": command.action,
        "command_id": command.command_id,
        "by": command.by,
        "reason": command.reason,
        "journal_id": str(outcome.place),
        "recorded_at": format_timestamp(outcome.recorded_at),
        "folded": dict(outcome.folded),
        "running": dict(outcome.running),
        "refused": outcome.refused,
        "trading_state": state,
        "changed": outcome.state is not None,
        "previous": outcome.previous,
        "causes": causes,
        "told": list(outcome.told),
        "canceled_orders": [result.order_id for result in outcome.canceled],
        "orders": [
            {
                "order_id": order_id,
                "status": outcome.results[order_id].status if order_id in outcome.results else "PENDING",
                "filled_quantity": outcome.results[order_id].filled_quantity if order_id in outcome.results else None,
            }
            for order_id in sorted(outcome.awaited)
        ],
        "still_open": outcome.still_open,
        "not_sent": [{"symbol": decision.symbol, "reason": decision.reason} for decision in outcome.declined],
    }


def _state(outcome: Outcome, standing: Mapping[str, Any] | None) -> tuple[str | None, list[str]]:
    if outcome.state is not None:
        return outcome.state, outcome.causes
    if standing is None or not outcome.folded[channels.RISK]:
        return None, []
    return str(standing.get("trading_state")), list(standing.get("causes") or ())


def render_outcome(command: Command, outcome: Outcome, standing: Mapping[str, Any] | None) -> RenderableType:
    """Return the outcome for a person."""
    name = command.action.replace("_", "-")
    lines: list[Text] = []
    if outcome.refused is not None:
        lines.append(Text(f"{name} refused: {outcome.refused}", style="bold red"))
    lines.extend(_state_lines(outcome, standing))
    lines.extend(Text(text, style="bold red") for text in _silences(outcome, name))
    lines.extend(
        Text(f"cancelled: working {result.side.lower()} order of {result.symbol} ({result.order_id})")
        for result in outcome.canceled
    )
    lines.extend(_order_line(outcome, order_id) for order_id in sorted(outcome.awaited))
    lines.extend(
        Text(f"not sent yet: {_what(decision)}: {decision.reason}; risk retries", style="yellow")
        for decision in outcome.declined
    )
    lines.extend(
        Text(f"still open: {what}; risk asks again at the next valid quote (claire status)", style="bold yellow")
        for what in outcome.unfilled
    )
    lines.extend(Text(told, style="yellow") for told in outcome.told)
    at = format_timestamp(outcome.recorded_at)[:19].replace("T", " ")
    lines.append(Text(f"journal {outcome.place} at {at}, by {command.by}: {command.reason}", style="dim"))
    return Group(*lines)


def _state_lines(outcome: Outcome, standing: Mapping[str, Any] | None) -> list[Text]:
    state, causes = _state(outcome, standing)
    if state is None:
        if outcome.folded[channels.RISK]:
            return [Text("trading state unchanged (cdb_risk does not answer over HTTP: claire status)")]
        return []
    was = f" (was {outcome.previous})" if outcome.state is not None else " (unchanged)"
    what = WHAT_GOES_ON.get(state, "")
    lines = [Text.assemble("trading is ", (state, MODE_STYLES.get(state, "bold")), f"{was}: {what}")]
    lines.extend(Text(f"  {cause}: lifted by {UNDONE_BY.get(cause, 'nothing known')}", style="dim") for cause in causes)
    return lines


def _silences(outcome: Outcome, name: str) -> list[str]:
    """Say who has not handled the command, and what that means for the money."""
    meaning = {
        channels.RISK: f"no signal is decided meanwhile, and it folds the {name} before anything else",
        channels.EXECUTION: f"no order is accepted meanwhile, and it folds the {name} before any later order",
    }
    lines = []
    for service in outcome.unanswered:
        if outcome.running[service]:
            lines.append(
                f"{service} has not handled the {name} in time: look at claire status, its log, or give it again"
            )
        else:
            lines.append(f"{service} is not running (it holds no lease): {meaning[service]}")
    if outcome.unanswered == [channels.RISK] and name in {"halt", "flatten"}:
        lines.append(f"{channels.EXECUTION} has its own key and has turned it: it accepts no entry")
    return lines


def _what(decision: RiskDecision) -> str:
    return f"{decision.purpose} {decision.side.lower()} {decision.symbol}"


def _order_line(outcome: Outcome, order_id: str) -> Text:
    order, result = outcome.orders.get(order_id), outcome.results.get(order_id)
    subject = order or result
    what = order_id if subject is None else f"{subject.side.lower()} {subject.quantity.normalize():f} {subject.symbol}"
    if result is None:
        return Text(f"{what}: sent, no answer yet", style="yellow")
    if result.status == "FILLED":
        return Text(f"{what}: filled at {result.average_price}", style="green")
    reason = f" ({result.reason})" if result.reason else ""
    return Text(
        f"{what}: {result.status.lower()}, {result.filled_quantity.normalize():f} filled{reason}", style="yellow"
    )
