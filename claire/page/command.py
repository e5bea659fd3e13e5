"""`claire page`: serves the status page on 127.0.0.1 until Ctrl-C."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from claire.options import FirstPort, RunningFolder, refuse

__all__ = ["page", "register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(page)


def page(
    *,
    data_dir: RunningFolder = None,
    first_port: FirstPort = None,
    port: Annotated[int, typer.Option("--port", help="Where to listen on 127.0.0.1.", min=0, max=65535)] = 8006,
) -> None:
    """Show the state of everything in a browser, read-only and live."""
    from threading import Event

    from claire.address import find_services
    from claire.page.app import create_page
    from claire.status import ask, put_together
    from services.common.runtime.http import HttpServer, PortInUse

    services = find_services(data_dir, first_port, os.environ)
    try:
        server = HttpServer(create_page(lambda: put_together(ask(services))), "127.0.0.1", port).start()
    except PortInUse as taken:
        refuse(str(taken), 1)
    typer.echo(f"http://127.0.0.1:{server.port}  (Ctrl-C ends it)")
    try:
        Event().wait()
    except KeyboardInterrupt:
        server.stop()
