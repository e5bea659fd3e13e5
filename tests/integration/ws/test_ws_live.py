"""cdb_ws against the sandbox exchange: real sockets, real answers, real losses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_sandbox.core.depth import Quote
from services.cdb_sandbox.house import House, SandboxOptions
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.cdb_sandbox.sandbox import SandboxExchange
from services.cdb_ws.adapters.raw_files import RawSession
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.settings import FeedSettings
from services.common.book import Book
from services.common.events import Control, MarketData, OrderResult
from services.common.instruments import Venue, instrument_key
from services.common.journal.entry import Cause
from services.common.settings import load_settings
from tests.integration.ws.conftest import wait_for

pytestmark = pytest.mark.integration


class BusyExchange:
    """The sandbox, on which somebody trades 1 every 20 ms; `traded` is the truth: exchange times and quantities."""

    def __init__(self, venue: Venue = "mexc_spot") -> None:
        self.venue = venue
        self.unit = Decimal(1) if venue == "mexc_spot" else Decimal("0.0001")
        self.traded: list[tuple[int, Decimal]] = []
        self.stop = threading.Event()
        self.mexc = SandboxExchange(SandboxOptions(enforce_limits=False)).__enter__()
        self.thread = threading.Thread(target=self._trade, daemon=True)
        self.thread.start()

    def _trade(self) -> None:
        key = instrument_key(self.venue, "BTCUSDT")
        trade = MarketTrade(Decimal("60000.1"), Decimal(1), "BUY")

        def once(house: House) -> int:
            size = Decimal(1 + len(self.traded) % 7)
            house.apply(MarketEvent(key=key, quote=Quote(Decimal(60_000), size, Decimal("60000.1"), size)))
            house.apply(MarketEvent(key=key, trade=trade))
            return house.now_ms()

        while not self.stop.wait(0.02):
            self.traded.append((self.mexc.call(once), self.unit))

    def volume(self, after_ms: int = 0, until_ms: int = 1 << 62) -> Decimal:
        """Return what was traded in a stretch of the exchange's time, its end included."""
        return sum((quantity for at_ms, quantity in list(self.traded) if after_ms < at_ms <= until_ms), Decimal(0))

    @property
    def settings(self) -> dict[str, str]:
        """Where it is."""
        mexc = self.mexc
        return {
            "FEED": self.venue,
            "VENUE": self.venue,
            "SYMBOLS": "BTCUSDT",
            "MEXC_REST_URL": mexc.rest_url,
            "MEXC_PERPETUAL_REST_URL": mexc.rest_url,
            "MEXC_WS_URL": mexc.spot_ws_url,
            "MEXC_PERPETUAL_WS_URL": mexc.perpetual_ws_url,
            "FEED_WARMUP_MIN": "2",
        }

    def pause(self) -> None:
        """Stop trading."""
        self.stop.set()
        self.thread.join()

    def close(self) -> None:
        """End it."""
        self.pause()
        self.mexc.__exit__(None, None, None)


@pytest.fixture
def busy() -> Iterator[Callable[..., BusyExchange]]:
    """Open exchanges on which somebody trades."""
    made: list[BusyExchange] = []

    def open_it(venue: Venue = "mexc_spot") -> BusyExchange:
        made.append(BusyExchange(venue))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def market(one: Any) -> list[MarketData]:
    """Return the market data in the journal."""
    return [entry.event for entry in one.entries() if isinstance(entry.event, MarketData)]


def volume(events: list[MarketData]) -> Decimal:
    """Return what they have together."""
    return sum((event.volume for event in events), Decimal(0))


def test_a_cut_loses_no_trade_and_the_kept_session_repeats_it(
    feed: Callable[..., Any], busy: Callable[..., BusyExchange], tmp_path: Path
) -> None:
    """Grids, bars, then market data; trades lost with the connection come back; the recording gives the same again."""
    raw, exchange = tmp_path / "raw", busy()
    one = feed(FEED_RECORD_DIR=str(raw), **exchange.settings).start()
    one.wait_for_control("config")
    one.join()

    one.wait_until(lambda: any(event.volume for event in market(one)), "a trade")
    code, health = one.get("/health")
    exchange.mexc.disconnect_streams()
    one.wait_until(lambda: any(event.gap for event in market(one)), "a gap")
    one.wait_until(lambda: not market(one)[-1].gap, "the end of the gap")
    exchange.pause()
    first_ms = exchange_ms(next(event for event in market(one) if event.volume))
    one.wait_until(lambda: volume(market(one)) >= exchange.volume(first_ms), "every trade")
    shown, top = one.get("/status")[1], one.get("/top")[1]
    one.end(signal.SIGTERM)

    events = [e.event for e in one.entries()]
    actions = [e.action for e in events if isinstance(e, Control) and e.action in {"instruments", "warmup"}]
    assert actions == ["instruments", "warmup"]
    session = RawSession(raw.iterdir())
    steps = [step for _, step in session.steps()]
    observations = [seen for step in steps for seen in step.observations]
    counted = volume(market(one))
    assert counted == sum((seen.volume for seen in observations), Decimal(0))
    assert [seen.gap for seen in observations].count(True) >= 1
    assert exchange.volume(first_ms) < counted <= exchange.volume()
    assert [a for step in steps for a, _ in step.facts] == ["instruments"]
    recording = Recording(load_settings(FeedSettings, {"FEED": "raw", "FEED_FILES": ",".join(map(str, raw.iterdir()))}))
    batches = list(recording.open(recording.reader()))
    assert sum((o.volume for batch in batches for o in batch.observations), Decimal(0)) == counted
    assert [batch.kind for batch in batches[:2]] == ["fact", "warmup"]
    assert books(market(one)) == [o.book for batch in batches for o in batch.observations if o.book is not None]
    assert max(len(book.bids or ()) for book in books(market(one))) > 1
    assert shown["exchange"]["reconnects"] == 1
    assert shown["exchange"]["instruments"]["BTCUSDT"]["trades_healed"] > 0
    assert shown["top"]["chosen"] == top["chosen"] == ["BTCUSDT"]
    assert code in {200, 503}
    assert health["service"] == "cdb_ws"


def books(events: list[MarketData]) -> list[Book]:
    """Return the levels of those events that have some."""
    return [Book(event.bids, event.asks) for event in events if event.bids is not None or event.asks is not None]


def exchange_ms(event: MarketData) -> int:
    """Return the exchange's time of an event."""
    assert event.exchange_timestamp is not None
    return event.exchange_timestamp // 1000


@pytest.mark.slow
def test_metrics_show_what_really_happens_on_a_live_feed(
    feed: Callable[..., Any], busy: Callable[..., BusyExchange]
) -> None:
    """On perpetuals: clock offset, reconnects, ages and gaps by symbol: each moves when its cause does."""
    venue: Venue = "mexc_perpetual"
    exchange = busy(venue)
    exchange.mexc.skew(7_000)
    one = feed(FEED_TIME_EVERY_SEC="1", **exchange.settings).start()
    one.wait_for_control("config")
    one.join()

    def metric(name: str) -> float:
        found = [line.rsplit(" ", 1)[1] for line in one.get("/metrics")[1].splitlines() if line.startswith(name)]
        return float(found[0]) if found else float("nan")

    labels = f'{{symbol="BTCUSDT",venue="{venue}"}}'
    one.wait_until(lambda: volume(market(one)) > 0, "a trade")
    one.wait_until(lambda: abs(metric("cdb_exchange_clock_offset_seconds") - 7) < 0.5, "the offset")
    assert metric("cdb_feed_reconnects_total") == 0
    assert metric("cdb_feed_symbol_age_seconds" + labels) < 2
    assert metric("cdb_feed_age_seconds") < 2
    gaps, seen = metric("cdb_feed_gaps_total" + labels), metric("cdb_feed_market_data_total" + labels)

    exchange.mexc.skew(-3_000)
    exchange.mexc.disconnect_streams()
    one.wait_until(lambda: metric("cdb_feed_reconnects_total") == 1, "the reconnect")
    one.wait_until(lambda: metric("cdb_feed_gaps_total" + labels) > gaps, "the gap")
    one.wait_until(lambda: abs(metric("cdb_exchange_clock_offset_seconds") + 3) < 0.5, "the other offset")
    assert metric("cdb_feed_market_data_total" + labels) > seen
    exchange.pause()
    one.wait_until(lambda: metric("cdb_feed_symbol_age_seconds" + labels) > 2, "an age")
    one.end(signal.SIGTERM)


@pytest.mark.slow
def test_killed_in_mid_stream_it_marks_the_gap_and_counts_nothing_twice(
    feed: Callable[..., Any], busy: Callable[..., BusyExchange]
) -> None:
    """Kill -9 of cdb_ws, twice: what is missing lies between the last and the first event around each, marked."""
    exchange = busy()
    one = feed(**exchange.settings).start()
    one.wait_for_control("config")
    one.join()
    holes: list[tuple[int, int]] = []
    for _ in range(2):
        seen = len(market(one))
        one.wait_until(lambda seen=seen: sum(event.volume > 0 for event in market(one)[seen:]) > 4, "trades")
        one.end(signal.SIGKILL)
        before = len(market(one))
        time.sleep(0.2)  # trades that nobody hears of
        one.start()
        one.wait_until(lambda before=before: any(e.volume for e in market(one)[before:]), "trades again")
        after = market(one)[before:]
        assert after[0].gap
        last = next(event for event in reversed(market(one)[:before]) if event.volume)
        holes.append((exchange_ms(last), exchange_ms(next(event for event in after if event.volume))))
    exchange.pause()
    events = market(one)
    first_ms = exchange_ms(next(event for event in events if event.volume))
    lost = sum((exchange.volume(*hole) for hole in holes), Decimal(0))
    one.wait_until(lambda: volume(market(one)) >= exchange.volume(first_ms) - lost, "the rest")
    one.end(signal.SIGTERM)

    events = market(one)
    assert volume(events) < exchange.volume()
    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers))


@pytest.mark.slow
def test_the_exchange_killed_in_mid_stream_is_marked_and_doubles_nothing(
    feed: Callable[..., Any], tmp_path: Path
) -> None:
    """Kill -9 of the sandbox process: the feed says so, waits, subscribes anew; what the exchange forgot is a gap."""
    quotes = tmp_path / "quotes.csv"
    rows = [f"{number * 200},BTCUSDT,,,,{60_000 + number % 7},60010" for number in range(5_000)]
    quotes.write_text("\n".join(["ts_ms,symbol,price,qty,side,bid,ask", *rows]) + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "claire", "sandbox", "--port", str(port), "--file", str(quotes)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: asked(f"{url}/health"), "the sandbox")
        return process

    def asked(address: str, body: dict[str, str] | None = None) -> bool:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(address, data, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def trade() -> int:
        row = {"symbol": "BTCUSDT", "price": "60010", "quantity": "1", "taker": "BUY"}
        return int(asked(f"{url}/sandbox/market/trade", row))

    exchange = start()
    try:
        one = feed(
            FEED="mexc_spot", SYMBOLS="BTCUSDT", MEXC_REST_URL=url, MEXC_WS_URL=url.replace("http", "ws") + "/ws",
            FEED_WARMUP_MIN="2",
        ).start()  # fmt: skip
        one.wait_for_control("config")
        one.join()
        one.wait_until(lambda: market(one), "a quote")
        traded = sum(trade() for _ in range(30))
        one.wait_until(lambda: volume(market(one)) == traded, "every trade")
        late = sum(trade() for _ in range(5))
        exchange.kill()
        exchange.wait()
        one.wait_until(lambda: one.get("/health")[0] == 503, "503")
        exchange = start()
        one.wait_until(lambda: one.get("/health")[0] == 200, "200 again")
        again = sum(trade() for _ in range(30))
        one.wait_until(lambda: volume(market(one)) >= traded + again, "every new trade")
        one.end(signal.SIGTERM)
        events = market(one)
        assert traded + again <= volume(events) <= traded + late + again
        assert any(event.gap for event in events)
        assert not events[-1].gap
    finally:
        exchange.kill()
        exchange.wait()


@pytest.mark.slow
def test_a_held_symbol_that_the_screener_drops_over_a_kill_keeps_its_market_data(
    feed: Callable[..., Any], busy: Callable[..., BusyExchange]
) -> None:
    """SYMBOLS=auto, one symbol: bought, outrun by another, killed; it is quoted until the journal has its sale."""
    exchange = busy()
    settings = exchange.settings | {
        "SYMBOLS": "auto", "SCREENER_TOP": "1", "SCREENER_KEEP_MIN": "0", "SCREENER_MIN_AGE_DAYS": "0",
        "SCREENER_MIN_TURNOVER_USDT": "0", "SNAPSHOT_EVERY": "20",
    }  # fmt: skip

    def keep_quoting() -> None:
        size = 1
        while not exchange.stop.wait(0.1):
            size = size % 9 + 1
            exchange.mexc.quote("SOLUSDT", "150", str(size), "150.01", "7")

    def told(side: str) -> OrderResult:
        return OrderResult(
            event_id=f"result-{side}", timestamp=market(one)[-1].timestamp, producer="cdb_execution", order_id=side,
            client_order_id=side, status="FILLED", venue="mexc_spot", symbol="SOLUSDT", side=side,  # type: ignore[arg-type]
            quantity=Decimal(2), filled_quantity=Decimal(2), last_quantity=Decimal(2), last_price=Decimal(150),
        )  # fmt: skip

    exchange.pause()
    exchange.stop.clear()
    quoting = threading.Thread(target=keep_quoting, daemon=True)
    quoting.start()
    one = feed(**settings).start()
    one.wait_for_control("config")
    fences = one.join()
    assert one.wait_for_control("symbols").details["symbols"] == ["SOLUSDT"]
    one.wait_until(lambda: market(one), "quotes")
    one.client.publish("cdb_execution", fences["cdb_execution"], Cause("test", 1), [told("BUY")])
    exchange.mexc.trade("BTCUSDT", "60000", "900")
    one.end(signal.SIGKILL)

    before = len(market(one))
    one.start()
    second = one.wait_for_control("symbols", count=2).details
    assert (second["symbols"], second["leaving"]) == (["BTCUSDT"], ["SOLUSDT"])
    top = one.wait_until(lambda: one.get("/top")[1]["ranking"] and one.get("/top")[1], "the ranking")
    assert [row["symbol"] for row in top["ranking"]][:2] == ["BTCUSDT", "SOLUSDT"]

    def quoted() -> list[MarketData]:
        return [event for event in market(one)[before:] if event.symbol == "SOLUSDT"]

    one.wait_until(lambda: len(quoted()) > 20, "quotes of what is held, long after others would be dropped")
    assert quoted()[0].gap
    one.client.publish("cdb_execution", fences["cdb_execution"], Cause("test", 2), [told("SELL")])
    one.wait_until(lambda: "SOLUSDT" not in one.get("/status")[1]["exchange"]["instruments"], "the end of it")
    one.end(signal.SIGTERM)


def test_without_the_exchange_the_clock_ticks_and_health_names_host_and_cause(feed: Callable[..., Any]) -> None:
    """Nothing answers: ticks go on, `/health` is 503 with the address and the cause."""
    one = feed(FEED="mexc_spot", SYMBOLS="BTCUSDT", MEXC_REST_URL="http://127.0.0.1:9").start()
    one.wait_for_control("config")
    one.join()
    one.wait_for_control("tick")
    health = one.wait_until(lambda: "refused" in str(one.get("/health")[1]) and one.get("/health"), "the cause")
    one.end(signal.SIGTERM)
    assert health[0] == 503
    assert "http://127.0.0.1:9/api/v3" in health[1]["failing"]["exchange"]


def test_claire_record_keeps_what_the_exchange_says(
    busy: Callable[..., BusyExchange], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command names its files; a torn end costs no more than what came after the last second."""
    from typer.testing import CliRunner

    from claire.cli import app

    for name, value in busy().settings.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(
        app, ["record", "--symbols", "BTCUSDT", "--minutes", "0.02", "--output-dir", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.iterdir()
    whole = [seen for _, step in RawSession([path]).steps() for seen in step.observations]
    assert whole
    path.write_bytes(path.read_bytes()[:-7])
    torn = [seen for _, step in RawSession([path]).steps() for seen in step.observations]
    assert torn == whole[: len(torn)]
    assert CliRunner().invoke(app, ["record", "--feed", "external"]).exit_code == 2
