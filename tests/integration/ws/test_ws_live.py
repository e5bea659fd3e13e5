"""cdb_ws against an exchange on this machine: real sockets, real answers, real losses."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection, serve

from services.cdb_ws.adapters.raw_files import RawSession
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.settings import FeedSettings
from services.common.events import Control, MarketData
from services.common.settings import load_settings
from tests.unit.ws.live_desk import book, deals, spot_row

pytestmark = pytest.mark.integration


class Exchange:
    """Pushes a trade of 1 every 20 ms, keeps what it traded, and cuts a connection when it is told to."""

    def __init__(self) -> None:
        self.traded: list[dict[str, Any]] = []
        self.cut = threading.Event()
        self.stop = threading.Event()
        self.socket = serve(self._serve, "127.0.0.1", 0)
        outer = self

        class Rest(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer a question."""
                body = json.dumps(outer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self.rest = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
        for target in (self.socket.serve_forever, self.rest.serve_forever, self._trade):
            threading.Thread(target=target, daemon=True).start()

    def answer(self, path: str) -> Any:
        """Return what the path is answered with."""
        if path.endswith("/time"):
            return {"serverTime": time.time_ns() // 1_000_000}
        if path.endswith("/exchangeInfo"):
            return {"symbols": [spot_row()]}
        if "/klines" in path:
            minute = time.time_ns() // 60_000_000_000 * 60_000
            return [[minute - 60_000, "99", "101", "98", "100", "5", minute, "500"]]
        return list(self.traded)

    def _trade(self) -> None:
        while not self.stop.wait(0.02):
            now = time.time_ns() // 1_000_000
            self.traded.append({"a": None, "p": "100", "q": "1", "T": now, "m": False, "id": f"t{len(self.traded)}"})

    def _serve(self, connection: ServerConnection) -> None:
        with suppress(Exception):
            topics = json.loads(connection.recv())["params"]
            connection.send(json.dumps({"id": 1, "code": 0, "msg": ",".join(topics)}))
            seen = len(self.traded)
            while not self.stop.wait(0.02):
                if self.cut.is_set():
                    self.cut.clear()
                    time.sleep(0.1)  # trades that nobody hears of
                    return
                new, seen = self.traded[seen:], len(self.traded)
                connection.send(book("BTCUSDT", "99", "101"))
                if new:
                    rows = [(row["p"], row["q"], 1, row["T"], row["id"]) for row in new]
                    connection.send(deals("BTCUSDT", *rows))

    @property
    def settings(self) -> dict[str, str]:
        """Where it is."""
        return {
            "MEXC_REST_URL": f"http://127.0.0.1:{self.rest.server_address[1]}",
            "MEXC_WS_URL": f"ws://127.0.0.1:{self.socket.socket.getsockname()[1]}/ws",
        }

    def close(self) -> None:
        """End it."""
        self.stop.set()
        self.socket.shutdown()
        self.rest.shutdown()
        self.rest.server_close()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """Return an exchange that trades."""
    made = Exchange()
    yield made
    made.close()


def test_a_cut_loses_no_trade_and_the_kept_session_repeats_it(
    feed: Callable[..., Any], exchange: Exchange, tmp_path: Path
) -> None:
    """Grids, bars, then market data; trades lost with the connection come back; the recording gives the same again."""
    raw = tmp_path / "raw"
    one = feed(FEED="mexc_spot", SYMBOLS="BTCUSDT", FEED_RECORD_DIR=str(raw), **exchange.settings).start()
    one.wait_for_control("config")
    one.join()

    def market() -> list[MarketData]:
        return [e.event for e in one.entries() if isinstance(e.event, MarketData)]

    one.wait_until(lambda: any(event.volume for event in market()), "a trade")
    code, health = one.get("/health")
    exchange.cut.set()
    one.wait_until(lambda: any(event.gap for event in market()), "a gap")
    one.wait_until(lambda: not market()[-1].gap, "the end of the gap")
    shown, top = one.get("/status")[1], one.get("/top")[1]
    one.end(signal.SIGTERM)

    events = [e.event for e in one.entries()]
    actions = [e.action for e in events if isinstance(e, Control) and e.action in {"instruments", "warmup"}]
    assert actions == ["instruments", "warmup"]
    session = RawSession(raw.iterdir())
    steps = [step for _, step in session.steps()]
    observations = [seen for step in steps for seen in step.observations]
    volume = sum((event.volume for event in market()), Decimal(0))
    assert volume == sum((seen.volume for seen in observations), Decimal(0))
    assert [seen.gap for seen in observations].count(True) >= 1
    first = next(n for n, row in enumerate(exchange.traded) if row["T"] * 1000 >= observations[0].timestamp_us - 60_000)
    assert volume >= len(exchange.traded[first:]) - 20
    assert [a for step in steps for a, _ in step.facts] == ["instruments"]
    recording = Recording(load_settings(FeedSettings, {"FEED": "raw", "FEED_FILES": ",".join(map(str, raw.iterdir()))}))
    batches = list(recording.open(recording.reader()))
    assert sum((o.volume for batch in batches for o in batch.observations), Decimal(0)) == volume
    assert [batch.kind for batch in batches[:2]] == ["fact", "warmup"]
    assert shown["exchange"]["reconnects"] == 1
    assert shown["exchange"]["instruments"]["BTCUSDT"]["trades_healed"] > 0
    assert shown["top"]["chosen"] == top["chosen"] == ["BTCUSDT"]
    assert code in {200, 503}
    assert health["service"] == "cdb_ws"


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
    exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command names its files; a torn end costs no more than what came after the last second."""
    from typer.testing import CliRunner

    from claire.cli import app

    for name, value in exchange.settings.items():
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
