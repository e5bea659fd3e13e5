"""The top of the page: which money, which state and why, what is old, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from claire.operator_screen import UNDONE_BY, WHAT_GOES_ON
from claire.page.html import UNKNOWN, percent, text, time_of, words
from claire.page.look import View
from claire.page.wording import instrument
from claire.statistics.numbers import counted

__all__ = ["banners", "header", "title"]

STATES: Final = {"ACTIVE": "good", "REDUCING": "warn", "HALTED": "bad", "FROZEN": "bad"}
MODES: Final = {"paper": "paper: no money at risk", "shadow": "shadow: nothing is sent", "live": "LIVE: real money"}


def title(status: Mapping[str, Any]) -> str:
    """Return what the browser's tab says."""
    state, pnl = status["trading_state"] or "no answer", status["money"]["daily_pnl_pct"]
    today = "" if pnl is None else f"{percent(pnl, '+')} "
    return f"{today}{state} · {status['mode']} · Claire de Binare"


def header(view: View) -> str:
    """Return the line that stays at the top."""
    status, mode = view.status, str(view.status["mode"])
    state = status["trading_state"]
    meaning = WHAT_GOES_ON.get(state, "cdb_risk does not say")
    return (
        '<header id="head"><h1>Claire de Binare</h1>'
        f'<b class="badge mode">{text(MODES.get(mode, f"mode {mode}"))}</b>'
        f'<b class="badge {STATES.get(state, "bad")}" role="status" title="{text(meaning)}">{text(state)}</b>'
        f'<span class="soft">{text(meaning)}</span>'
        f'<span class="clock"><span class="unit">run</span> {time_of(status["now"])} UTC</span>'
        f'<span class="soft clock"><span class="unit">updated</span> {view.at:%H:%M:%S} UTC</span></header>'
    )


def banners(view: View) -> str:
    """Return all that a person should look at now; empty when there is nothing."""
    lines = [
        *(("bad", text(sentence)) for sentence in view.stale),
        *_causes(view.status),
        *_contradictions(view.status),
        *_of_positions(view.status),
        *_sick(view.status),
    ]
    body = "".join(f'<p class="{css}">{line}</p>' for css, line in lines)
    lost = '<p id="lost" class="bad" hidden></p>'
    return f'<div id="banners" role="alert">{lost}{body}</div>'


def _causes(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, cause in status["causes"].items():
        undone = UNDONE_BY.get(name, "nothing known")
        lifted = f"<code>{text(undone)}</code>" if undone.startswith("claire ") else text(undone)
        yield (
            "warn",
            (
                f"<b>{words(name)}</b> since {time_of(cause.get('since'))} by {text(cause.get('by'))}: "
                f"{text(cause.get('reason'))} <small>lifted by {lifted}</small>"
            ),
        )


def _contradictions(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if status["risk_silent"]:
        yield "bad", "risk does not answer the clock: execution refuses entries"
    state, own = status["trading_state"], status["execution_state"]
    if own is not None and own != state and not (own == "ACTIVE" and state in {"REDUCING", "HALTED"}):
        yield "bad", f"execution's own key says {text(own)}, risk says {text(state or 'nothing')}"


def _of_positions(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for latched in status["latched_exits"]:
        held = latched.get("reason")
        yield (
            "warn",
            f"<b>exit latched</b>: {words(latched.get('purpose'))} of {instrument(latched.get('instrument'))} since "
            f"{time_of(latched.get('since'))}, {text(counted(latched.get('attempts'), 'order'))} so far"
            + (f": {text(held)}" if held else ""),
        )
    if status["stale_marks"]:
        names = ", ".join(instrument(name) for name in status["stale_marks"])
        yield "bad", f"<b>no mark for over 60 s</b>: {names}; entries are blocked"
    for order in status["orders"]:
        if order.get("status") == UNKNOWN.upper():
            yield (
                "bad",
                (
                    f"<b>order {text(order.get('order_id'))} is UNKNOWN</b>: {words(order.get('purpose'))} "
                    f"{text(str(order.get('side')).lower())} {instrument(order.get('instrument'))}; it counts as "
                    "working until its end is known <small><code>claire resolve-order</code></small>"
                ),
            )


def _sick(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    services = status["services"]
    if not any(service["answers"] for service in services.values()):
        return
    for name, service in services.items():
        if not service["answers"]:
            yield "bad", f"<b>{text(name)}</b> does not answer"
        for check, reason in service["failing"].items():
            yield "bad", f"<b>{text(name)}</b> {words(check)}: {text(reason)}"
