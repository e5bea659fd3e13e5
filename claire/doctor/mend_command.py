"""`claire mend-journal`: take out of the stream what somebody wrote into it past the publish script.

Exit codes: 0 done, or there was nothing to mend; 1 it cannot be mended like this; 2 used wrongly.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["register"]

SHOWN = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="mend-journal")(mend)


def mend(
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Data folder of a running claire up (Docker: its own Redis).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was taken out, as JSON on standard output.")] = False,
) -> None:
    """Take out of the journal's stream what stands beyond its head: no service has put it there."""
    from redis.exceptions import RedisError

    from claire.address import find_address
    from claire.backup.place import redis_of_environment
    from claire.options import refuse, refusing
    from claire.statistics.numbers import counted
    from claire.up import print_json
    from services.common.journal.link import Link
    from services.common.journal.mending import mend_journal

    with refusing():
        infra = redis_of_environment(os.environ) if data_dir is None else None
        infra = infra or find_address(data_dir, "", None, os.environ).infra
        try:
            with closing(Link(infra, name="claire-mend")) as link:
                done = mend_journal(link)
        except (RedisError, OSError) as error:
            refuse(str(error), 1)
    removed = {
        entry_id: b" ".join(fields).decode(errors="replace")[:SHOWN] for entry_id, fields in done.removed.items()
    }
    if as_json:
        print_json({"end": done.end, "removed": removed})
        return
    console = Console()
    for entry_id, text in removed.items():
        console.print(f"{entry_id}: {text}", markup=False, highlight=False, soft_wrap=True)
    told = f"taken out: {counted(len(removed), 'entry', 'entries')}" if removed else "nothing stands beyond the head"
    console.print(f"the journal ends at {done.end}; {told}", markup=False, highlight=False)
