"""Recordings on disk: what is read, and what is refused with file, line, value and fix."""

from __future__ import annotations

import gzip
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import RecordedFeed
from services.common.errors import FeedInputInvalid

pytestmark = pytest.mark.unit

TICKS = "ts_ms,symbol,price,qty,side,bid,ask"
CANDLES = "ts_ms,symbol,interval,open,high,low,close,volume"
T0 = 1_700_000_000_000


def written(folder: Path, *lines: str, name: str = "file.csv") -> RecordedFile:
    """Write a file and look at it."""
    path = folder / name
    content = ("\n".join(lines) + "\n").encode() if lines else b""
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return RecordedFile.inspect(path)


def rows(file: RecordedFile, *symbols: str, **options: Any) -> list[Observation | RejectedRow]:
    """Read everything of a file, stream after stream."""
    reader = Reader(symbols or ("BTCUSDT",), options.pop("symbol_map", {}), **options)
    return [row for source in reader.sources([file]) for row in source]


def trade(second: int, symbol: str = "BTCUSDT", price: str = "100") -> str:
    """A trade without a quote."""
    return f"{T0 + second * 1000},{symbol},{price},1,buy,,"


def candle(minute: int, symbol: str = "BTCUSDT", close: str = "100") -> str:
    """A flat candle."""
    return f"{T0 + minute * 60_000},{symbol},1m,100,110,90,{close},4"


@pytest.mark.parametrize("name", ["file.csv", "file.csv.gz"])
def test_the_kind_is_told_by_the_header(tmp_path: Path, name: str) -> None:
    """Plain and gzip files of both kinds are known by their columns, and proven by their checksum."""
    ticks = written(tmp_path, TICKS, trade(0), name=name)
    assert (ticks.kind, ticks.sha256) == ("ticks", hashlib.sha256(ticks.path.read_bytes()).hexdigest())
    assert ticks.provenance() == {
        "name": name,
        "kind": "ticks",
        "sha256": ticks.sha256,
        "bytes": ticks.path.stat().st_size,
    }
    assert written(tmp_path, TICKS + ",bid_size,ask_size", name=name).kind == "ticks"
    assert written(tmp_path, "\ufeff" + CANDLES, name=name).kind == "candles"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "the file is empty"),
        (("time,price", "1,2"), r"file\.csv:1: header 'time,price'.* is meant"),
        ((TICKS + ",extra",), "header"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    """An empty file and an unknown header are refused with what is meant."""
    with pytest.raises(FeedInputInvalid, match=message):
        written(tmp_path, *lines)


def test_a_missing_file_is_refused_with_an_example(tmp_path: Path) -> None:
    """The message names the file and how FEED_FILES is meant."""
    with pytest.raises(FeedInputInvalid, match=r"nowhere\.csv: cannot be read.*FEED_FILES"):
        RecordedFile.inspect(tmp_path / "nowhere.csv")


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    """A file that is cut, or no gzip at all, is an error with its name, not a short recording."""
    file = written(
        tmp_path, TICKS, *(trade(n, price=str(1000 + n * 7919 % 997)) for n in range(2000)), name="cut.csv.gz"
    )
    file.path.write_bytes(file.path.read_bytes()[:-200])
    with pytest.raises(FeedInputInvalid, match=r"cut\.csv\.gz: cannot be read as CSV in gzip"):
        rows(file)
    (tmp_path / "no.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(FeedInputInvalid, match=r"no\.csv\.gz: cannot be read as CSV in gzip"):
        RecordedFile.inspect(tmp_path / "no.csv.gz")


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Wrong bytes are an error with the file's name."""
    path = tmp_path / "latin.csv"
    path.write_bytes(TICKS.encode() + b"\n\xff\xfe\n")
    with pytest.raises(FeedInputInvalid, match=r"latin\.csv: cannot be read as CSV"):
        rows(RecordedFile.inspect(path))


def test_symbols_are_mapped_and_others_ignored_with_their_count(tmp_path: Path) -> None:
    """Only SYMBOLS are played, under our names; the rest is counted by the file's names."""
    file = written(
        tmp_path, TICKS, trade(0, "XBT/USD"), trade(1, "DOGEUSDT"), trade(2, "DOGEUSDT"), "", trade(3, "xbt_usd")
    )
    reader = Reader(("BTCUSDT",), {"XBTUSD": "BTCUSDT"})
    assert [r.symbol for s in reader.sources([file]) for r in s] == ["BTCUSDT", "BTCUSDT"]
    assert (reader.counts.rows, reader.counts.ignored) == (2, {"DOGEUSDT": 2})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{T0},BTCUSDT,NaN,1,buy,,", r"file\.csv:3: price='NaN'"),
        (f"{T0},BTCUSDT,100", r"file\.csv:3: 3 columns; 7 are meant"),
        (f"{T0},B!,100,1,buy,,", r"file\.csv:3: symbol 'B!'"),
        (trade(1, "XBTUSD"), r"file\.csv:3: symbol='XBTUSD': BTCUSDT is already played as BTCUSDT"),
    ],
)
def test_a_bad_row_refuses_the_file(tmp_path: Path, line: str, message: str) -> None:
    """The error names file, line and value, and how to pass over such rows."""
    with pytest.raises(FeedInputInvalid, match=message + ".*FEED_BAD_ROWS=skip"):
        rows(written(tmp_path, TICKS, trade(0), line), symbol_map={"XBTUSD": "BTCUSDT"})


def test_a_skipped_row_marks_a_gap_of_its_symbol(tmp_path: Path) -> None:
    """The next row of the same symbol has the gap; other symbols and later rows do not."""
    bad = f"{T0 + 1000},BTCUSDT,-5,1,buy,,"
    file = written(tmp_path, TICKS, trade(0), bad, trade(2, "ETHUSDT"), trade(3), trade(4))
    out = rows(file, "BTCUSDT", "ETHUSDT", skip_bad_rows=True)
    assert isinstance(out[1], RejectedRow)
    assert (out[1].raw.decode(), out[1].timestamp_us) == (bad, T0 * 1000)
    assert [(r.symbol, r.gap) for r in out if isinstance(r, Observation)] == [
        ("BTCUSDT", False),
        ("ETHUSDT", False),
        ("BTCUSDT", True),
        ("BTCUSDT", False),
    ]


def test_a_skipped_row_of_nobody_marks_a_gap_of_all(tmp_path: Path) -> None:
    """When the row does not say whose it is, every symbol of the file may have lost something."""
    file = written(tmp_path, TICKS, trade(0), "garbage", trade(2, "ETHUSDT"), trade(3))
    reader = Reader(("BTCUSDT", "ETHUSDT"), {}, skip_bad_rows=True)
    out = [r for s in reader.sources([file]) for r in s]
    assert [(r.symbol, r.gap) for r in out if isinstance(r, Observation)] == [
        ("BTCUSDT", False),
        ("ETHUSDT", True),
        ("BTCUSDT", True),
    ]
    assert reader.counts.rejected == 1


def test_time_that_goes_back_is_refused_even_when_bad_rows_are_skipped(tmp_path: Path) -> None:
    """Equal times are allowed; an unsorted file is not."""
    assert len(rows(written(tmp_path, TICKS, trade(1), trade(1)))) == 2
    file = written(tmp_path, TICKS, trade(2), trade(1))
    with pytest.raises(FeedInputInvalid, match=r"file\.csv:3: .* lies before the row before it .*sort the file"):
        rows(file, skip_bad_rows=True)


def test_candles_of_one_symbol_do_not_overlap(tmp_path: Path) -> None:
    """A candle twice, or one that begins before the last has ended, is refused."""
    with pytest.raises(FeedInputInvalid, match="the end of the candle of BTCUSDT before it"):
        rows(written(tmp_path, CANDLES, candle(0), candle(0)))


def test_a_candle_file_sorted_by_symbol_is_played_by_time(tmp_path: Path) -> None:
    """Files that list one symbol after the other are merged, each row once."""
    lines = [candle(minute, symbol) for symbol in ("ETHUSDT", "BTCUSDT", "DOGEUSDT") for minute in range(3)]
    reader = Reader(("BTCUSDT", "ETHUSDT"), {})
    feed = RecordedFeed(reader.sources([written(tmp_path, CANDLES, *lines)]), max_hz=4, tick_us=60_000_000)
    played = [o for batch in feed for o in batch.observations]
    assert len(played) == 2 * 3 * 4
    assert sum(o.volume for o in played) == 2 * 3 * 4
    assert [o.timestamp_us for o in played] == sorted(o.timestamp_us for o in played)
    assert (reader.counts.rows, reader.counts.ignored) == (6, {"DOGEUSDT": 3})


def test_a_bad_candle_is_skipped_once(tmp_path: Path) -> None:
    """Each pass over the file reports only its own symbol's rows; nobody's rows are reported by the first."""
    lines = [candle(0), candle(1, close="500"), candle(2), "short", candle(0, "ETHUSDT"), candle(1, "ETHUSDT")]
    file = written(tmp_path, CANDLES, *lines)
    reader = Reader(("BTCUSDT", "ETHUSDT"), {}, skip_bad_rows=True)
    out = [r for s in reader.sources([file]) for r in s]
    assert [r.reason.split(": ")[1] for r in out if isinstance(r, RejectedRow)] == [
        "close=500 lies outside low=90 and high=110",
        "1 columns; 8 are meant",
    ]
    assert reader.counts.rejected == 2
    gaps = [(r.symbol, r.price) for r in out if isinstance(r, Observation) and r.gap]
    assert gaps == [("BTCUSDT", Decimal(100))]
