"""What `claire doctor` shows to a person: a table of all that was looked at, and below it what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claire.doctor.finding import Finding, Level

__all__ = ["render_findings"]

STYLES = {Level.ok: "green", Level.warning: "yellow", Level.problem: "bold red", Level.not_checked: "dim"}


def render_findings(findings: Sequence[Finding]) -> RenderableType:
    """Return the table, the commands that mend (problems first; never broken: print without crop), a line of sums."""
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("", "", "found"):
        table.add_column(column, overflow="fold")
    last = ""
    for finding in findings:
        topic = "" if finding.topic == last else finding.topic
        last = finding.topic
        table.add_row(
            Text(topic, style="bold"), Text(finding.level.value, style=STYLES[finding.level]), Text(finding.words)
        )
    parts: list[RenderableType] = [table]
    order = (Level.problem, Level.warning, Level.not_checked)
    for finding in sorted((f for f in findings if f.mend and f.level in order), key=lambda f: order.index(f.level)):
        parts.append(Text(f"{finding.topic}: {finding.words}", style=STYLES[finding.level]))
        parts.append(Text(f"    {finding.mend}", no_wrap=True, overflow="ignore"))
    counts = Counter(finding.level for finding in findings)
    sums = ", ".join(f"{counts[level]} {level.value}" for level in Level if counts[level])
    parts.append(Text(f"\n{sums}", style="bold"))
    return Group(*parts)
