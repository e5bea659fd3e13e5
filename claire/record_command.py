"""`claire record`: the exchange's frames as they come, kept for `--feed raw`."""

from __future__ import annotations

import os
import signal
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from claire.options import refusing
from services.common.errors import InputUnusable, SettingsInvalid

__all__ = ["register"]

LOOK_SEC = 0.5


def record(
    *,
    venue: Annotated[str, typer.Option("--feed", help="mexc_spot or mexc_perpetual.")] = "mexc_spot",
    symbols: Annotated[str, typer.Option("--symbols", help="Separated by commas, or auto.")] = "",
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.001, help="End after so long.")] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder of the recording.")] = Path("data/raw"),
) -> None:
    """Keep the raw frames of the exchange, both ways; `claire up --feed raw --file …` plays them again."""
    from services.cdb_ws.adapters.live_session import LiveSession, Stamp
    from services.cdb_ws.adapters.pacing import WallFeedClock
    from services.cdb_ws.adapters.raw_files import RawWriter
    from services.cdb_ws.live.feed import LiveFeed
    from services.cdb_ws.live.protocols import market_of
    from services.cdb_ws.live_settings import LiveSettings
    from services.cdb_ws.settings import FeedSettings
    from services.common.settings import load_settings

    environ = {**os.environ, "FEED": venue, "VENUE": venue, "FEED_FILES": ""} | (
        {"SYMBOLS": symbols} if symbols else {}
    )
    with refusing():
        settings, live = load_settings(FeedSettings, environ), load_settings(LiveSettings, environ)
        if not settings.live:
            raise SettingsInvalid(f"--feed {venue}: mexc_spot or mexc_perpetual is meant")
        try:
            output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputUnusable(f"--output-dir {output_dir}: cannot be written ({error.strerror})") from error
    console, stop = Console(stderr=True), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    market = market_of(settings.VENUE, live)
    writer = RawWriter(output_dir, settings, live, resumed=False)
    session = LiveSession(
        LiveFeed(market, live, settings.SYMBOLS, resumed=False),
        market,
        Stamp(WallFeedClock(Decimal(1), None).now_us),
        writer,
    )
    end = None if minutes is None else time.monotonic() + minutes * 60
    looked = 0.0
    try:
        session.begin()
        while not stop.is_set() and (end is None or time.monotonic() < end):
            step = session.next(LOOK_SEC)
            for news in [] if step is None else step.news:
                console.print(f"{news.level} {news.code}: {news.message}", markup=False, highlight=False)
            if time.monotonic() - looked >= LOOK_SEC:
                looked = time.monotonic()
                session.tick()
    finally:
        session.close()
        writer.close()
    console.print(f"{session.feed.frames} frames, {writer.lines} lines", highlight=False)
    for path in writer.paths:
        Console().print(str(path), highlight=False, soft_wrap=True)
    raise typer.Exit(0 if session.feed.frames else 1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("record")(record)
