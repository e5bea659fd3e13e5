"""The tree of events that one of them began: each under its direct cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from claire.explain.lookup import Lookup, chain_id
from claire.explain.story import plain
from claire.explain.wording import clock, day_clock, duration, instrument_name, percent, price, quantity, short
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision, Signal

__all__ = ["Node", "render_trace", "trace_of"]


@dataclass
class Node:
    """An event and what followed from it directly."""

    n: int
    event: Event
    children: list[Node] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return this node and all under it."""
        return {"n": self.n, "event": plain(self.event), "children": [child.as_dict() for child in self.children]}


def trace_of(lookup: Lookup, text: str) -> list[Node]:
    """Return the trees of a chain, given its id or that of any event, order or fill in it.

    One tree, unless causes are missing: what execution answers later has a later quote as its cause, and stands under
    the order that it answers.

    Raises:
        UnknownId: there is nothing of this id.
        AmbiguousId: there is more than one.
    """
    hit = lookup.find(text)
    subject = hit.entry.event
    chain = lookup.chain(chain_id(subject)) or [hit.entry]
    nodes = {entry.event.event_id: Node(entry.id.n, entry.event) for entry in chain}
    orders = {node.event.order_id: node for node in nodes.values() if isinstance(node.event, Order)}
    roots = []
    for node in nodes.values():
        parent = nodes.get(node.event.causation_id or "")
        if parent is None and isinstance(node.event, OrderResult):
            parent = orders.get(node.event.order_id)
        if parent is None and isinstance(node.event, RiskDecision):
            parent = nodes.get(node.event.signal_id or "")
        if parent is None and node.event.event_id != node.event.correlation_id:
            parent = nodes.get(node.event.correlation_id or "")
        if parent is None or parent is node:
            roots.append(node)
        else:
            parent.children.append(node)
    return roots


def render_trace(roots: list[Node]) -> RenderableType:
    """Return the trees for a person."""
    first = roots[0].event
    tree = Tree(Text(f"chain {chain_id(first)}, {day_clock(first.timestamp)} UTC", style="bold"))
    for root in roots:
        _grow(tree, root, first.timestamp)
    return tree


def _grow(tree: Tree, node: Node, began_us: int) -> None:
    event = node.event
    label = Text.assemble(
        (event.type, "bold cyan"),
        f" {short(event.event_id)} ",
        (f"{clock(event.timestamp)} +{duration(event.timestamp - began_us)} n {node.n}", "dim"),
        f"\n{_brief(event)}",
    )
    branch = tree.add(label)
    for child in node.children:
        _grow(branch, child, began_us)


def _brief(event: Event) -> str:
    if isinstance(event, MarketData):
        return f"{instrument_name(event.venue, event.symbol)} {price(event.price)}"
    if isinstance(event, Signal):
        return f"{event.signal_type} to {event.intent}, m {percent(event.pct_change, signed=True)}"
    if isinstance(event, RiskDecision):
        return f"{event.purpose.replace('_', ' ')}: {event.reason}"
    if isinstance(event, Order):
        limit = "market" if event.price is None else price(event.price)
        return f"{event.side.lower()} {quantity(event.quantity)} limit {limit}"
    if isinstance(event, OrderResult):
        if event.last_quantity:
            return f"{event.status}: {quantity(event.last_quantity)} at {price(event.last_price)}"
        return event.status + (f": {event.reason}" if event.reason else "")
    if isinstance(event, Alert):
        return f"{event.level} {event.code}: {event.message}"
    assert isinstance(event, Control)
    return event.action + (f" by {event.by}" if event.by else "") + (f": {event.reason}" if event.reason else "")
