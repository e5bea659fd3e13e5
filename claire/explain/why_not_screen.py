"""What `claire explain --why-not` shows to a person."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.explain.screen import heading, layer_table, lines
from claire.explain.story import Story, tell
from claire.explain.why_not import WhyNot
from claire.explain.wording import day_clock, instrument_name, price, short

__all__ = ["render_why_not"]


def render_why_not(found: WhyNot, width: int) -> RenderableType:
    """Return the answer for a terminal of so many columns."""
    return Group(*_parts(found, width))


def _parts(found: WhyNot, width: int) -> Iterator[RenderableType]:
    name = instrument_name(found.venue, found.symbol)
    yield Text(f"Why no trade of {name} at {day_clock(found.asked_us)} UTC?", style="bold")
    yield Text(found.summary(), style="bold yellow")
    yield Text()
    if found.bar is not None:
        yield heading(f"Bar closed {day_clock(found.bar.close_time_us)} at {price(found.bar.close)}")
        if found.conditions:
            yield _conditions(found)
        elif found.signal is None:
            yield lines(found.bar.text())
    if found.signal is not None:
        yield from _signal("The signal", found.signal, width, detailed=True)
    if found.earlier is not None:
        yield from _signal("The entry signal before", found.earlier, width, detailed=False)


def _conditions(found: WhyNot) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column()
    for condition in found.conditions:
        style = "green" if condition.met else "bold red"
        table.add_row(
            "",
            Text("ok" if condition.met else "missing", style=style),
            Text(condition.detail, style="" if condition.met else "bold"),
        )
    return table


def _signal(title: str, story: Story, width: int, *, detailed: bool) -> Iterator[RenderableType]:
    signal = story.signal
    assert signal is not None, "the subject is a signal"
    yield heading(f"{title}: {day_clock(signal.timestamp)} UTC")
    yield lines(signal.reason or f"{signal.signal_type} at {price(signal.price)}, published by hand", tell(story))
    if detailed:
        for path in story.paths[:1]:
            if path.verdict == "refused":
                yield layer_table(path.decision, wide=width >= 110)
    yield lines(f"all of it: claire explain {short(story.id).removesuffix('…')}")
