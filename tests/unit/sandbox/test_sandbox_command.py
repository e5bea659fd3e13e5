"""`claire sandbox`: recordings as the market, and what is said when they cannot be played."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claire.cli import app
from claire.sandbox_command import DEFAULT_FILES, serve
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS
from services.cdb_sandbox.market.recorded import RecordedMarket, Recording
from tests.unit.sandbox.sandbox_desk import SandboxDesk

pytestmark = pytest.mark.unit


def test_the_command_names_a_file_that_is_missing_and_a_speed_that_is_none() -> None:
    """Used wrongly: exit code 2."""
    runner = CliRunner()

    missing = runner.invoke(app, ["sandbox", "--file", "nowhere.csv"])
    stopped = runner.invoke(app, ["sandbox", "--speed", "0"])

    assert (missing.exit_code, stopped.exit_code) == (2, 2)


def test_the_default_recordings_are_served(capsys: pytest.CaptureFixture[str]) -> None:
    """The command says where it listens and ends when told to."""
    until = threading.Event()
    until.set()

    serve(list(DEFAULT_FILES), Decimal(1), "127.0.0.1", 0, loop=True, until=until)

    assert "http://127.0.0.1:" in capsys.readouterr().err


def test_a_recording_plays_at_its_speed_and_begins_again(tmp_path: Path) -> None:
    """Quotes and trades come at their times; levels lie behind the touch; after the end it goes on from the start."""
    file = tmp_path / "ticks.csv"
    file.write_text(
        "ts_ms,symbol,price,qty,side,bid,ask\n"
        "1000,BTCUSDT,,,,59999,60001\n"
        "3000,BTCUSDT,60001,0.5,buy,59999,60001\n"
        "5000,BTCUSDT,,,,60009,60011\n",
        encoding="utf-8",
    )
    market = RecordedMarket([Recording(file)], DEFAULT_LISTINGS, speed=Decimal(2))
    desk = SandboxDesk(market=market)
    book = desk.house.exchange.books["mexc_spot:BTCUSDT"]

    desk.clock.advance(1000)
    desk.house.tick()
    assert [t.price for t in book.trades] == [Decimal(60001)]
    desk.clock.advance(1000)
    desk.house.tick()
    assert book.best("BUY") == 60009
    assert len(book.levels("SELL")) == 20
    desk.clock.advance(1000)
    desk.house.tick()
    assert book.best("BUY") == 59999


def test_a_candle_is_played_as_four_moments(tmp_path: Path) -> None:
    """Open, low, high, close with a quote around each and a quarter of the volume."""
    file = tmp_path / "candles.csv"
    file.write_text(
        "ts_ms,symbol,interval,open,high,low,close,volume\n60000,XBTUSD,1m,100,110,90,105,2400\n", encoding="utf-8"
    )
    recording = Recording(file, "mexc_perpetual", {"XBTUSD": "BTCUSDT"})
    desk = SandboxDesk(market=RecordedMarket([recording], DEFAULT_LISTINGS, loop=False))

    desk.clock.advance(60_000)
    desk.house.tick()

    trades = desk.house.exchange.books["mexc_perpetual:BTCUSDT"].trades
    assert [t.price for t in trades] == [100, 90, 110, 105]
    assert {t.quantity for t in trades} == {Decimal(6_000_000)}
