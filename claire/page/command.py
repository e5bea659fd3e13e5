"""`claire page`: serves the status page on 127.0.0.1 until Ctrl-C. A running `claire up` does so by itself."""

from __future__ import annotations

import os
import signal
import threading
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
    dsn: Annotated[str, typer.Option("--dsn", help="Its database instead of a data folder's; env: POSTGRES_*.")] = "",
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="PORT", help="Where to listen; by default 8006, beside cdb_ws.", min=0, max=65535
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 is for containers alone.")] = "127.0.0.1",
) -> None:
    """Show the state of everything in a browser, read-only and live (claire up does so by itself)."""
    from claire.address import DEFAULT_FOLDER, find_services
    from claire.data_folder import DataFolder
    from claire.database import connect_elsewhere
    from claire.page import PORT_AFTER_FIRST
    from claire.page.serve import IN_DOCKER, page_of, page_of_folder
    from services.common import channels
    from services.common.runtime.http import HttpServer, PortInUse

    services = find_services(data_dir, first_port, os.environ)
    chosen = services[channels.WS][1] + PORT_AFTER_FIRST if port is None else port
    if dsn:
        _require_readable(dsn)
        app = page_of(services, lambda: connect_elsewhere(dsn, os.environ), IN_DOCKER)
    else:
        app = page_of_folder(DataFolder(data_dir or DEFAULT_FOLDER), services)
    try:
        server = HttpServer(app, host, chosen).start()
    except PortInUse:
        refuse(
            f"port {chosen} is in use: claire up and docker compose serve the page there by themselves; look at "
            f"http://127.0.0.1:{chosen}, or choose another --port",
            1,
        )
    until = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: until.set())
    typer.echo(f"http://{host}:{server.port}  (Ctrl-C ends it)")
    until.wait()
    server.stop()


def _require_readable(dsn: str) -> None:
    """Refuse a connection string that is none; what libpq says of it, perhaps with the password, is not repeated."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    if dsn == "env":
        return
    try:
        parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        refuse("--dsn: a connection string is meant, as postgresql://USER@HOST/NAME or host=… dbname=…, or env")
