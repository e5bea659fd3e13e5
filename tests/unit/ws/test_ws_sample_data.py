"""The bundled recordings are what their manifest says, and play."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.mint import Mint
from services.cdb_ws.recorded import RecordedFeed
from services.common.timestamps import MINUTE_US, SECOND_US, format_timestamp

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "backoffice" / "data"
FILES: list[dict[str, Any]] = json.loads((DATA / "MANIFEST.json").read_text())["files"]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that makes the samples."""
    spec = importlib.util.spec_from_file_location("make_sample_data", ROOT / "backoffice/scripts/make_sample_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda f: f["file"])
def test_each_file_is_as_the_manifest_says(file: dict[str, Any]) -> None:
    """Checksums, size, columns, rows and span match; no file is over 1.5 MB."""
    packed = (DATA / file["file"]).read_bytes()
    content = gzip.decompress(packed)
    lines = content.decode("ascii").splitlines()
    assert hashlib.sha256(packed).hexdigest() == file["sha256"]
    assert hashlib.sha256(content).hexdigest() == file["content_sha256"]
    assert len(packed) == file["bytes"] < 1_500_000
    assert lines[0].split(",") == file["columns"]
    assert len(lines) - 1 == file["rows"]
    for line, moment in ((lines[1], file["first_utc"]), (lines[-1], file["last_utc"])):
        assert format_timestamp(int(line.split(",")[0]) * 1000).replace("000Z", "Z") == moment


def test_nothing_else_is_bundled() -> None:
    """Every recording in the folder is in the manifest."""
    assert sorted(path.name for path in DATA.glob("*.csv*")) == sorted(file["file"] for file in FILES)


@pytest.mark.slow
def test_the_crash_day_plays_48_hours_after_its_warmup() -> None:
    """780 bars of warm-up, then 2 880 candles as four moments each, a tick a minute, and every event on the wire."""
    reader = Reader(("BTCUSDT", "ETHUSDT"), {"XBTUSD": "BTCUSDT"})
    file = RecordedFile.inspect(DATA / "crash-2021-05-19_xbtusd_1m.csv.gz")
    feed = RecordedFeed(reader.sources([file]), max_hz=4, tick_us=60 * SECOND_US, warmup_min=780)
    assert format_timestamp(feed.start_us) == "2021-05-18T00:00:00.000000Z"
    batches = list(feed)
    assert sum(len(bars) for _, bars in batches[0].bars) == 780
    assert [len([b for b in batches if b.kind == kind]) for kind in ("market_data", "tick", "finished")] == [
        4 * 2_880,
        2_880,
        1,
    ]
    mint = Mint("run", "mexc_spot")
    assert all(event.data for batch in batches for event in mint.events(batch))
    market = [o for b in batches for o in b.observations]
    assert all(o.low <= o.price <= o.high and o.bid is not None and o.bid <= o.price for o in market)
    rows = [line.split(",") for line in gzip.decompress(file.path.read_bytes()).decode().splitlines()[781:]]
    assert sum(o.volume for o in market) == sum(Decimal(row[7]).quantize(Decimal("1e-16")) for row in rows)
    assert min(o.price for o in market) == min(Decimal(row[5]) for row in rows) < 30_000


@pytest.mark.slow
@pytest.mark.no_cover  # 155 000 rows through lines that the rows' own tests cover
def test_the_ticks_play_with_quotes_and_sizes() -> None:
    """At most four events a second and symbol; every trade's volume is in them; every event has a sized quote."""
    reader = Reader(("BTCUSDT", "ETHUSDT"), {})
    files = [RecordedFile.inspect(path) for path in sorted(DATA.glob("ticks-*"))]
    market = [o for b in RecordedFeed(reader.sources(files), max_hz=4, tick_us=SECOND_US) for o in b.observations]
    slots = [(o.symbol, o.timestamp_us * 4 // SECOND_US) for o in market]
    assert len(slots) == len(set(slots))
    assert all(o.bid is not None and o.ask is not None and o.bid < o.ask for o in market)
    assert all(o.bid_size is not None and o.ask_size is not None for o in market)
    for symbol, file in zip(("BTCUSDT", "ETHUSDT"), files, strict=True):
        lines = gzip.decompress(file.path.read_bytes()).decode().splitlines()[1:]
        traded = sum((Decimal(line.split(",")[3] or 0) for line in lines), Decimal(0))
        assert sum(o.volume for o in market if o.symbol == symbol) == traded
    assert reader.counts.rows == sum(f["rows"] for f in FILES if f["file"].startswith("ticks"))


TICK_HEADER = "ts_ms,symbol,price,qty,side,bid,ask"


def small_sources(folder: Path, *, quantity: str = "0.006", header: str = TICK_HEADER) -> Path:
    """A folder with a quote, a trade and a depth update, raw and as ticks."""
    raw = [
        '1723161255088169167 {"data":{"e":"bookTicker","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510"}}',
        '1723161255088176367 {"data":{"e":"trade","p":"61800.30","q":"0.006","m":false}}',
        '1723161255088181667 {"data":{"e":"depthUpdate"}}',
        '1723161255088181668 {"result":null}',
    ]
    ticks = [
        header,
        "1723161255088,BTCUSDT,,,,61800.20,61800.30",
        f"1723161255088,BTCUSDT,61800.30,{quantity},buy,61800.20,61800.30",
    ]
    for name, lines in (
        ("ws_raw/hftbacktest_usdm_btcusdt_20240808.gz", raw),
        ("ticks/binance_um_btcusdt_20240808.csv.gz", ticks),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))
    return folder


def test_sizes_come_from_the_message_of_each_row(script: ModuleType, tmp_path: Path) -> None:
    """A quote has its own sizes, a trade those of the quote before it."""
    sample = script.perpetual_ticks(small_sources(tmp_path), "btcusdt")
    assert sample.lines == [
        "ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size",
        "1723161255088,BTCUSDT,,,,61800.20,61800.30,2.507,2.510",
        "1723161255088,BTCUSDT,61800.30,0.006,buy,61800.20,61800.30,2.507,2.510",
    ]
    assert gzip.decompress(sample.compressed) == sample.content
    assert sample.manifest()["rows"] == 2


@pytest.mark.parametrize("changes", [{"quantity": "0.007"}, {"header": "ts_ms,symbol"}])
def test_other_sources_are_refused(script: ModuleType, tmp_path: Path, changes: dict[str, str]) -> None:
    """A row that is not its message's, or another header, is named; no sample is made of it."""
    with pytest.raises(script.SourceMismatch, match=r"binance_um_btcusdt_20240808\.csv\.gz:[13]"):
        script.perpetual_ticks(small_sources(tmp_path, **changes), "btcusdt")


def test_the_script_names_what_it_lacks(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without the recordings ends with exit code 1 and the missing file."""
    assert script.main([str(tmp_path), "--check"]) == 1
    assert "bitmex_xbtusd_1m_2021.csv.gz" in capsys.readouterr().err


def test_candles_begin_on_their_minute() -> None:
    """The crash day's rows are whole minutes without a hole."""
    lines = gzip.decompress((DATA / FILES[0]["file"]).read_bytes()).decode().splitlines()[1:]
    times = [int(line.split(",")[0]) * 1000 for line in lines]
    assert all(later - earlier == MINUTE_US for earlier, later in pairwise(times))
