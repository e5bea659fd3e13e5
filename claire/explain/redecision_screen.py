"""What `claire explain ID --if NAME=VALUE` shows to a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claire.explain.redecide import Redecision
from claire.explain.screen import STATUS_STYLES, heading, lines
from claire.explain.story import Path, tell_path
from claire.explain.wording import base_of, layer_number, price, quantity, unit_of
from services.common.events import LayerVerdict

__all__ = ["render_redecision"]


def render_redecision(found: Redecision) -> RenderableType:
    """Return the comparison."""
    return Group(*_parts(found))


def _parts(found: Redecision) -> Iterator[RenderableType]:
    yield heading("If " + ", ".join(_change(found, name) for name in found.changes))
    when = (
        "in force from the start of the recorded run; everything was derived again from what came from outside"
        if found.from_start
        else "in force at this decision alone; all before it is as it was recorded (--from-start: the whole run)"
    )
    yield lines(when)
    if not found.faithful:
        yield Text(
            "  Under the recorded settings the recorded decision does not come out again byte for byte: the processes "
            "ran freely, in another order than this repetition. Read the comparison with that in mind.",
            style="yellow",
        )
    other = found.other.path
    yield lines(
        f"recorded: {tell_path(found.recorded)}", f"then: {_nothing(found) if other is None else tell_path(other)}"
    )
    if other is None:
        yield Text("  It would not have come to this decision.", style="bold yellow")
        return
    changed = {change["layer"] for change in found.layer_changes()}
    sizes = [_size(path) for path in (found.recorded, other)]
    if sizes[0] != sizes[1]:
        yield lines(f"order: recorded {sizes[0]}; then {sizes[1]}")
    if changed:
        yield Padding(_layers(found, other, changed), (0, 0, 0, 2))
    else:
        yield lines("no layer's verdict or number changes")
    if found.flips:
        was, now = (path.verdict.replace("_", " ") for path in (found.recorded, other))
        yield Text(f"  It flips: {was}, then {now}.", style="bold green" if other.decision.approved else "bold yellow")
        return
    yield Text("  The outcome is the same." if sizes[0] == sizes[1] else "  The outcome is of the same kind.")


def _change(found: Redecision, name: str) -> str:
    was = sorted({str(values[name]) for values in found.before.values() if name in values})
    return f"{name} were {found.changes[name]} (it was {' and '.join(was) or '?'})"


def _nothing(found: Redecision) -> str:
    bar = found.other.bar
    if found.other.signal_given is False:
        return "no signal" + ("" if bar is None else f": {bar.text()}")
    return "risk decides nothing here: what triggered this decision does not happen"


def _layers(found: Redecision, other: Path, changed: set[Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("recorded")
    table.add_column("then")
    for was, now in zip(found.recorded.decision.layers, other.decision.layers, strict=True):
        if now.layer in changed:
            table.add_row(
                now.layer,
                *(
                    Text(_verdict(layer, path.decision.purpose), style=STATUS_STYLES[layer.status])
                    for layer, path in ((was, found.recorded), (now, other))
                ),
            )
    return table


def _verdict(layer: LayerVerdict, purpose: str) -> str:
    unit = unit_of(layer, purpose)
    text = layer.status.replace("_", " ") + ("" if layer.code == "OK" else f" {layer.code}")
    if layer.value is None:
        return text
    limit = "" if layer.limit is None else f" of {layer_number(layer.limit, unit)}"
    return f"{text}, {layer_number(layer.value, unit)}{limit}"


def _size(path: Path) -> str:
    if path.order is None:
        return "none"
    limit = "at the market" if path.order.price is None else f"limit {price(path.order.price)}"
    return f"{quantity(path.order.quantity)} {base_of(path.order.symbol)} {limit}"
