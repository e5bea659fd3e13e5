"""What `claire validate` shows to a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.audit.difference import Difference
from claire.audit.validate import Verdict

__all__ = ["render_difference", "render_verdict"]

SHOWN_OUTSTANDING = 5


def render_verdict(verdict: Verdict) -> RenderableType:
    """Return what stands at the end."""
    return Group(*_parts(verdict))


def render_difference(difference: Difference) -> RenderableType:
    """Return what is wrong with one event."""
    who = f"event {difference.n}" if difference.n else "before the first event"
    who += f" ({difference.event_id})" if difference.event_id else ""
    facts = Table.grid(padding=(0, 1))
    for name, value in (
        ("check", difference.check),
        ("field", difference.field),
        ("recorded", difference.recorded),
        ("derived", difference.derived),
    ):
        facts.add_row(Text(f"  {name}", style="dim"), Text(value, overflow="fold"))
    return Group(Text(f"{who}: {difference.meaning}", style="red"), facts)


def _parts(verdict: Verdict) -> Iterator[RenderableType]:
    checked = verdict.checked
    if verdict.ok:
        yield Text(f"{verdict.where}: all {verdict.entries:,} events hold", style="bold green")
    else:
        yield Text(f"{verdict.where}: the first {verdict.entries:,} events hold, then not", style="bold red")
        for difference in verdict.differences:
            yield render_difference(difference)
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("compared", overflow="fold")
    table.add_column("how many", justify="right", overflow="fold")
    for service, kinds in checked["derived_events"].items():
        told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
        table.add_row(f"derived again, byte for byte: {service}", told)
    rows = checked["table_rows"]
    for name, count in (
        ("hash chain, events", checked["chain"]),
        ("chain anchors of closed days", checked["anchors"]),
        ("causes and chains followed", checked["references"]),
        ("orders with their approved decision", checked["orders"]),
        ("order results with their order", checked["order_results"]),
        ("fills booked a second time", checked["fills"]),
        ("funding payments and liquidations", checked["funding_and_liquidations"]),
        ("decisions whose books were compared", checked["decisions_with_books"]),
        ("rows of the five tables", sum(rows.values()) if rows else "-"),
        ("configurations in force", sum(checked["configurations"].values())),
        ("starts of services", sum(checked["starts"].values())),
    ):
        table.add_row(name, f"{count:,}" if isinstance(count, int) else count)
    yield table
    inputs = ", ".join(f"{name} {count:,}" for name, count in verdict.not_derivable.items())
    yield Text(f"not derivable, so only chained and checked in form: {inputs}", style="dim")
    if verdict.outstanding:
        told = ", ".join(
            f"{due['type']} of {due['service']} on entry {due['entry']}"
            for due in verdict.outstanding[:SHOWN_OUTSTANDING]
        )
        more = len(verdict.outstanding) - SHOWN_OUTSTANDING
        yield Text(
            f"the record ends before this was said: {told}" + (f" and {more} more" if more > 0 else ""), style="yellow"
        )
    for note in verdict.notes:
        yield Text(note, style="yellow")
    # it is written down elsewhere, so it stands in one line however narrow: print without crop
    yield Text(f"chain tip {verdict.head.hash.hex()}", style="dim", no_wrap=True, overflow="ignore")
