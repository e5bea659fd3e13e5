"""Draw the picture of a run that the README shows: what happened, the trades, and the equity curve.

Usage: `make paper`, then `python backoffice/scripts/make_run_picture.py data/paper backoffice/docs/bilder/run.svg`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from claire.charts import line_chart
from claire.database import open_database
from claire.stats import equity_curve, summarise
from claire.watch import describe
from services.common.events import parse_event

__all__ = ["main"]

WIDTH = 118
STYLES = {"signal": "cyan", "approved": "green", "refused": "yellow", "fill": "bold white", "alert": "bold red"}
SHOWN = "SELECT channel, data FROM event_store.events WHERE channel <> 'market_data' AND type <> 'control' ORDER BY seq"


def _story(rows: list[tuple[str, Any]]) -> list[Text]:
    lines = []
    for channel, data in rows:
        happening = describe(parse_event(channel, bytes(data)))
        if happening is not None:
            text = Text(f"{happening.time[5:]}  {happening.kind:<9}{happening.text}", STYLES.get(happening.kind, "dim"))
            text.truncate(WIDTH - 4, overflow="ellipsis")
            lines.append(text)
    return lines


def main(arguments: list[str]) -> int:
    """Draw the run in the data folder `arguments[0]` into the SVG file `arguments[1]`."""
    folder, target = Path(arguments[0]), Path(arguments[1])
    with open_database(folder, "", os.environ) as connection:
        summary = summarise(connection)
        curve = [float(equity) for _, equity in equity_curve(connection, summary["run_id"])]
        with connection, connection.cursor() as cursor:
            cursor.execute(SHOWN)
            story = _story(cursor.fetchall())
    portfolio = summary["portfolio"]
    total = Text(
        f"equity {portfolio['equity']:,.2f} USDT   fees {portfolio['fees']:,.2f}   "
        f"trades {len(summary['trades'])}   events {sum(summary['events'].values()):,}",
        style="bold",
    )
    chart = Text("\n".join(line_chart(curve, width=96, height=9)), style="green")
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Panel(Group(*story), title="2021-05-18 and the crash of 2021-05-19, on paper"))
        console.print(Panel(Group(chart, Text(), total), title="equity, USDT"))
        picture = console.export_svg(title="make paper", unique_id="claire")
    # rich names a web font; the picture shall fetch nothing
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    target.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
