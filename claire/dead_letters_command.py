"""`claire dead-letters`: which messages were refused, by whom and why.

Exit codes: 0 shown, or there are none; 1 Redis does not answer; 2 used wrongly.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["register"]

SHOWN_BYTES = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dead-letters")(dead_letters)


def dead_letters(
    *,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="How many, the newest first.")] = 10,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir", help="Folder of a running claire up (default: data/paper, in Docker its own Redis)."
        ),
    ] = None,
    redis: Annotated[
        str, typer.Option("--redis", metavar="HOST:PORT", help="Redis (or the path of its socket) instead of a folder.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the password of the Redis user operator.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show which messages were refused: when, on which channel, by whom, why, and how they begin."""
    from redis.exceptions import RedisError

    from claire.address import AddressUnknown, find_address
    from claire.options import refuse
    from claire.up import print_json
    from services.common.journal import keys
    from services.common.journal.dead_letters import decode_dead_letter
    from services.common.journal.link import Link
    from services.common.timestamps import MS_US, format_timestamp

    try:
        address = find_address(data_dir, redis, password_file, os.environ)
    except AddressUnknown as unknown:
        refuse(str(unknown))
    try:
        with closing(Link(address.infra, name="claire-letters")) as link:
            page = link.call("XREVRANGE", keys.DEAD_LETTER, "+", "-", "COUNT", count)
            kept = link.call("XLEN", keys.DEAD_LETTER)
    except (RedisError, OSError) as error:
        refuse(f"{address.name} does not answer ({type(error).__name__}); {address.fix}", 1)
    letters = [decode_dead_letter(letter_id, fields) for letter_id, fields in page]
    rows = [
        {
            "arrived": format_timestamp(letter.arrived_ms * MS_US),
            "channel": letter.channel,
            "refused_by": letter.service,
            "reason": letter.reason,
            "size": letter.size,
            "text": letter.raw[:SHOWN_BYTES].decode(errors="replace"),
        }
        for letter in letters
    ]
    if as_json:
        print_json({"kept": kept, "letters": rows})
        return
    console = Console()
    for row in rows:
        told = f"{row['arrived']}  {row['channel']}, refused by {row['refused_by']}: {row['reason']}\n  {row['text']!r}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    told = f"{kept} dead letters are kept" if kept else "no dead letters: nothing was refused"
    console.print(told, markup=False, highlight=False)
