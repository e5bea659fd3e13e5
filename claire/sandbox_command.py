"""`claire sandbox`: the exchange to test against, in the foreground.

Exit codes: 0 stopped; 1 the port is taken; 2 used wrongly, or a recording cannot be played.
"""

from __future__ import annotations

import signal
import threading
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from services.common.errors import FeedInputInvalid
from services.common.instruments import Venue

__all__ = ["Lag", "register", "sandbox", "serve"]

DATA: Final = Path(__file__).resolve().parents[1] / "backoffice" / "data"
DEFAULT_FILES: Final = (
    DATA / "ticks-2024-08-08_btcusdt_perp.csv.gz",
    DATA / "ticks-2024-08-08_ethusdt_perp.csv.gz",
)
LOOK_SEC: Final = 10.0
VENUES: Final[tuple[Venue, ...]] = ("mexc_spot", "mexc_perpetual")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sandbox)


def serve(files: list[Path], speed: Decimal, host: str, port: int, *, loop: bool, until: threading.Event) -> None:
    """Play the files as the market of both venues until told to stop; what has none follows one of them.

    Raises:
        FeedInputInvalid: a file cannot be played.
        OSError: the port cannot be listened on.
    """
    from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS
    from services.cdb_sandbox.house import SandboxOptions
    from services.cdb_sandbox.market.derived import DerivedMarket
    from services.cdb_sandbox.market.recorded import RecordedMarket, Recording
    from services.cdb_sandbox.sandbox import SandboxExchange

    recordings = [Recording(file, venue) for venue in VENUES for file in files]
    market = DerivedMarket(RecordedMarket(recordings, DEFAULT_LISTINGS, speed=speed, loop=loop), DEFAULT_LISTINGS)
    with SandboxExchange(SandboxOptions(market=market), host=host, port=port) as mexc:
        Console(stderr=True).print(
            f"The sandbox exchange listens. REST {mexc.rest_url}, streams {mexc.spot_ws_url} and "
            f"{mexc.perpetual_ws_url}; key {mexc.api_key}, secret {mexc.api_secret}; "
            f"control and truth {mexc.rest_url}/sandbox/ledger. Ctrl-C stops it.",
            highlight=False,
            soft_wrap=True,
        )
        for key, source in market.followed.items():
            Console(stderr=True, highlight=False, soft_wrap=True).print(
                f"{key} has no recording; its market is invented and follows {source}."
            )
        lag = Lag(speed)
        while not until.wait(LOOK_SEC):
            lag.tell(mexc.held_up_ms())


class Lag:
    """Says on standard error when the market cannot be played as fast as it was asked to."""

    def __init__(self, speed: Decimal) -> None:
        """Nothing was held up yet."""
        self._speed = speed
        self._told_ms = 0

    def tell(self, held_up_ms: int) -> None:
        """Say it if it has grown since the last time."""
        if held_up_ms > self._told_ms:
            self._told_ms = held_up_ms
            Console(stderr=True, highlight=False, soft_wrap=True).print(
                f"this machine does not keep up with --speed {self._speed}: the market was held up for "
                f"{held_up_ms / 1000:.1f} s so far and plays slower"
            )


def sandbox(
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", help="A recording (ticks or candles) as the market of both venues; repeatable."),
    ] = None,
    speed: Annotated[str, typer.Option(help="Seconds of the recording per second.")] = "1",
    once: Annotated[bool, typer.Option("--once", help="Do not begin again when the recordings have ended.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8100,
) -> None:
    """Be MEXC without MEXC: an exchange that plays recordings, takes orders and fails on request."""
    from claire.options import refuse

    try:
        pace = Decimal(speed)
    except InvalidOperation:
        pace = Decimal(0)
    if not (pace.is_finite() and pace > 0):
        refuse(f"--speed {speed}: a number above 0 is meant")
    until = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: until.set())
    try:
        serve(list(file or DEFAULT_FILES), pace, host, port, loop=not once, until=until)
    except FeedInputInvalid as invalid:
        refuse(str(invalid))
    except OSError as error:
        refuse(f"--port {port}: cannot listen there ({error.strerror}); name another one", 1)
