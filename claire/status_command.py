"""`claire status`: the one screen, once or kept up to date.

Exit codes: 0 every service answers and is well; 1 some service does not answer or is not well; 3 none answers.
"""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from claire.options import FirstPort, RunningFolder, refuse

__all__ = ["exit_code", "register", "status"]

EVERY_SEC = 1.0
NOBODY_ANSWERS = 3


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    *,
    data_dir: RunningFolder = None,
    first_port: FirstPort = None,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it anew every second until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show on one screen: state and why, money, limits, positions, orders, feed, and why there is no trade now."""
    from claire.address import find_services
    from claire.status import ask, put_together
    from claire.status_screen import render_status
    from claire.up import print_json

    if watch and as_json:
        refuse("--watch draws a screen and --json is for machines; give one of them")
    services = find_services(data_dir, first_port, os.environ)
    found = put_together(ask(services))
    if as_json:
        print_json(found)
        raise typer.Exit(exit_code(found))
    console = Console()
    if not any(service["answers"] for service in found["services"].values()) and not watch:
        ports = ", ".join(f"{host}:{port}" for host, port in services.values())
        refuse(
            f"no service answers at {ports}. Start the pipeline with: claire up; or say where it is: "
            "--data-dir DIR of a running claire up, or --first-port PORT",
            NOBODY_ANSWERS,
        )
    if not watch:
        console.print(render_status(found, console.width), highlight=False)
        raise typer.Exit(exit_code(found))
    with Live(
        render_status(found, console.width), console=console, screen=console.is_terminal, auto_refresh=False
    ) as live:
        try:
            while True:
                time.sleep(EVERY_SEC)
                found = put_together(ask(services))
                live.update(render_status(found, console.width), refresh=True)
        except KeyboardInterrupt:
            pass
    raise typer.Exit(exit_code(found))


def exit_code(found: dict[str, Any]) -> int:
    """Return 0 when every service is well, 3 when none answers, else 1."""
    services = found["services"].values()
    if not any(service["answers"] for service in services):
        return NOBODY_ANSWERS
    return 0 if all(service["healthy"] for service in services) else 1
