"""The last decisions: what came of each, its seven layers as a strip, and on unfolding every number it looked at."""

from __future__ import annotations

from claire.explain.story import NOTHING_TO_DO
from claire.explain.wording import day_clock, layer_number, rounded, unit_of
from claire.page.html import UNKNOWN, amount, number, percent, price, table, text, words
from claire.page.look import View
from claire.page.past import Decided
from claire.page.wording import LAYER_NAMES, STATUS_SIGNS, instrument
from services.common.events import LayerVerdict, RiskDecision
from services.common.instruments import instrument_key

__all__ = ["decisions", "verdicts"]


def verdicts(view: View) -> str:
    """Return how many were approved and refused, by layer."""
    counted = view.status["decisions"]
    if view.status["trading_state"] is None:
        return "counts unknown: cdb_risk does not answer"
    refused = counted.get("refused") or {}
    parts = [f"{text(counted.get('approved', UNKNOWN))} approved"]
    parts += [f"{text(count)} refused by {words(name)}" for name, count in refused.items() if name not in NOTHING_TO_DO]
    idle = sum(count for name, count in refused.items() if name in NOTHING_TO_DO)
    if idle:
        parts.append(f"{idle} with nothing to do")
    return " · ".join(parts)


def decisions(view: View) -> str:
    """Return the last decisions of the run, the newest first."""
    if not view.past.decisions:
        return '<p class="soft">No decision yet in this run.</p>'
    rows = "".join(map(_decision, view.past.decisions))
    return f'<ol class="decisions" tabindex="0" aria-label="Last decisions, the newest first">{rows}</ol>'


def _decision(decided: Decided) -> str:
    decision = decided.decision
    css, verdict = _verdict(decided)
    name = instrument(instrument_key(decision.venue, decision.symbol))
    strip = "".join(_cell(layer, decision.purpose) for layer in decision.layers)
    key = text(decision.event_id)
    return (
        f'<li data-key="{key}"><details><summary><span class="when">{day_clock(decision.timestamp)}</span> '
        f"<b>{name}</b> <span>{words(decision.purpose)} {decision.side.lower()}</span> "
        f'<b class="{css}">{text(verdict)}</b><span class="strip">{strip}</span></summary>{_inside(decided)}</details>'
        f'<a class="explain" href="/explain/{key}">explain<span class="unseen"> decision {key[:10]}</span></a></li>'
    )


def _verdict(decided: Decided) -> tuple[str, str]:
    decision = decided.decision
    if not decision.approved:
        if decision.reason in NOTHING_TO_DO:
            return "soft", f"nothing to do: {decision.reason}"
        codes = [layer.code for layer in decision.layers if layer.status == "fail"]
        return "warn", f"refused: {', '.join(codes) or decision.reason}"
    if decided.status == "filled":
        return "good", f"filled {number(decided.filled)} at {price(decided.average)}"
    if decided.status in {"rejected", "expired", "cancelled", "unknown"}:
        part = f", {number(decided.filled)} filled" if decided.filled else ""
        return "bad", f"approved, {decided.status}{part}"
    return "good", f"approved, {decided.status or 'order on its way'}"


def _cell(layer: LayerVerdict, purpose: str) -> str:
    unit = unit_of(layer, purpose)
    said = f"{layer_number(layer.value, unit)} of {layer_number(layer.limit, unit)}" if layer.limit is not None else ""
    status = layer.status.replace("_", " ")
    hint = text(f"{layer.layer}: {status} {layer.code} {said}")
    return (
        f'<span class="cell {layer.status}" title="{hint}">'
        f'<i aria-hidden="true">{STATUS_SIGNS[layer.status]}</i>{LAYER_NAMES[layer.layer]}'
        f'<span class="unseen"> {text(status)}</span><small>{text(said)}</small></span>'
    )


def _inside(decided: Decided) -> str:
    decision = decided.decision
    rows = []
    for layer in decision.layers:
        unit = unit_of(layer, decision.purpose)
        status = layer.status.replace("_", " ") + ("" if layer.code == "OK" else f" {layer.code}")
        cells = (
            words(layer.layer),
            f'<b class="{layer.status}">{STATUS_SIGNS[layer.status]} {text(status)}</b>',
            *(text(layer_number(value, unit)) for value in (layer.value, layer.limit, layer.headroom)),
            text(rounded(layer.detail)),
        )
        rows.append((layer.layer, cells))
    columns = ("layer", "verdict", ">value", ">limit", ">headroom", "what it looked at")
    layers = table(columns, rows, caption="The seven layers", css="wide layers")
    reason = f"<p>execution: {text(rounded(decided.reason))}</p>" if decided.reason else ""
    return f'<div class="inside">{layers}{_facts(decision)}{reason}</div>'


def _facts(decision: RiskDecision) -> str:
    seen, sizing = decision.portfolio, decision.sizing
    size = f"{number(sizing.requested)} asked for by {words(sizing.method)}, {number(sizing.approved)} approved"
    capped = f", capped by {words(sizing.capped_by)}" if sizing.capped_by else ""
    return (
        f"<p>size: {size}{capped}</p><p>it saw: equity {amount(seen.equity)}, exposure {amount(seen.exposure)}, "
        f"today {amount(seen.daily_pnl, '+')}, {percent(seen.drawdown)} under the peak, "
        f"position {number(seen.position)}, state {text(seen.trading_state)}</p>"
        f'<p class="soft">decision <code>{text(decision.event_id)}</code></p>'
    )
