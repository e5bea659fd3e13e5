"""`claire sandbox`: recordings as the market, and what is said when they cannot be played."""

from __future__ import annotations

import threading
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claire.cli import app
from claire.sandbox_command import DEFAULT_FILES, Lag, serve
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS
from services.cdb_sandbox.house import House, SandboxOptions
from services.cdb_sandbox.market.derived import DerivedMarket
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

    said = capsys.readouterr().err
    assert "http://127.0.0.1:" in said
    assert "mexc_spot:SOLUSDT has no recording" in said


def test_a_symbol_without_a_recording_follows_a_recorded_one(tmp_path: Path) -> None:
    """It trades and is quoted from the first moment, the same moves and values at its own price, every time."""
    file = tmp_path / "ticks.csv"
    file.write_text(
        "ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size,mark_price\n"
        "1000,BTCUSDT,,,,59990,60000,1,2,\n"
        "2000,BTCUSDT,60600,0.5,buy,,,,,60500\n"
        "3000,ETHUSDT,3000,1,sell,,,,,\n"
        "4000,BTCUSDT,60000,0.5,buy,,,,,\n",
        encoding="utf-8",
    )

    def play() -> tuple[SandboxDesk, DerivedMarket]:
        recordings = [Recording(file), Recording(file, "mexc_perpetual")]
        market = DerivedMarket(RecordedMarket(recordings, DEFAULT_LISTINGS, loop=False), DEFAULT_LISTINGS)
        desk = SandboxDesk(market=market)
        desk.clock.advance(10_000)
        desk.house.tick()
        return desk, market

    desk, market = play()
    books = desk.house.exchange.books
    spot, perpetual, ether = (
        books[key] for key in ("mexc_spot:SOLUSDT", "mexc_perpetual:SOLUSDT", "mexc_spot:ETHUSDT")
    )
    assert [(t.price, t.quantity) for t in spot.trades] == [(Decimal("151.5"), 200), (150, 200)]
    assert (spot.best("BUY"), spot.best("SELL")) == (Decimal("149.97"), 150)
    assert desk.house.exchange.marks["mexc_perpetual:SOLUSDT"] == Decimal("151.25")
    assert perpetual.trades[0].quantity * perpetual.listing.unit_value == 200
    assert [t.price for t in ether.trades] == [3030, 3000], "what is recorded ends what was invented"
    assert market.followed.keys() == {"mexc_spot:SOLUSDT", "mexc_perpetual:SOLUSDT"}
    assert market.keys == set(books)
    again = play()[0].house.exchange.books["mexc_spot:SOLUSDT"]
    assert list(again.trades) == list(spot.trades)


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


class Hands:
    """A clock that is no stepped one: it goes on while the sandbox works."""

    def __init__(self) -> None:
        self.ms = 1_780_272_000_000

    def now_ms(self) -> int:
        """Return the time."""
        return self.ms


def trades(file: Path, count: int, every_ms: int) -> Path:
    """Write a recording of trades whose prices rise one by one."""
    rows = (f"{n * every_ms},BTCUSDT,{60_000 + n},0.5,buy,,,,,\n" for n in range(count))
    file.write_text("ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size,mark_price\n" + "".join(rows))
    return file


def played(house: House) -> list[int]:
    """Return the prices of the trades that were, in order."""
    return [int(trade.price) for trade in house.exchange.books["mexc_spot:BTCUSDT"].trades]


def test_a_lot_that_is_due_is_played_in_steps_so_that_it_answers_between(tmp_path: Path) -> None:
    """300 trades of a second: no more than 50 at once, none lost, none twice, in their order."""
    clock = Hands()
    market = RecordedMarket([Recording(trades(tmp_path / "t.csv", 300, 3))], DEFAULT_LISTINGS, loop=False)
    house = House(SandboxOptions(market=market, clock=clock))
    house.tick()
    clock.ms += 900

    steps = []
    while house.tick():
        steps.append(len(played(house)))

    assert steps[0] <= 51
    assert max(after - before for before, after in pairwise(steps)) <= 50
    assert played(house) == [60_000 + n for n in range(300)]
    assert house.held_up_ms == 0


def test_a_market_that_the_machine_cannot_keep_up_with_plays_slower_and_says_so(tmp_path: Path) -> None:
    """Ten minutes are due in one second: nothing is left out, the rest comes later, and the hold-up is counted."""
    clock = Hands()
    recorded = RecordedMarket(
        [Recording(trades(tmp_path / "t.csv", 400, 1_000))], DEFAULT_LISTINGS, speed=Decimal(600), loop=False
    )
    house = House(SandboxOptions(market=DerivedMarket(recorded, DEFAULT_LISTINGS), clock=clock, at_once=10))
    for _ in range(200):
        clock.ms += 500  # what ten events cost this machine
        house.tick()

    assert house.held_up_ms > 2_000
    assert played(house) == [60_000 + n for n in range(400)][: len(played(house))]
    assert len(played(house)) > 100


def test_the_command_tells_when_it_lags(capsys: pytest.CaptureFixture[str]) -> None:
    """Once a look, with how long the market was held up; nothing while it keeps up."""
    lag = Lag(Decimal(30))

    for held_up_ms in (0, 0, 4_200, 4_200, 9_000):
        lag.tell(held_up_ms)

    said = capsys.readouterr().err.splitlines()
    assert said == [
        "this machine does not keep up with --speed 30: the market was held up for 4.2 s so far and plays slower",
        "this machine does not keep up with --speed 30: the market was held up for 9.0 s so far and plays slower",
    ]
