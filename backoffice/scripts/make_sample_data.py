"""Make the recordings in `backoffice/data/` from the full recordings they are cut from.

    python backoffice/scripts/make_sample_data.py FOLDER [--check]

FOLDER holds `candles/`, `ticks/` and `ws_raw/` (see `backoffice/data/README.md` for where they come from). The same
input gives the same bytes: the gzip header has no time and no name. `--check` writes nothing and fails when a bundled
file or the manifest differs from what would be written.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Sample", "SourceMismatch", "crash_day", "main", "perpetual_ticks"]

TARGET = Path(__file__).resolve().parents[1] / "data"

CRASH_FROM = datetime(2021, 5, 17, 11, tzinfo=UTC)
CRASH_UNTIL = datetime(2021, 5, 20, tzinfo=UTC)
CRASH_WARMUP_MIN = 780

CANDLE_HEADER = "ts_ms,symbol,interval,open,high,low,close,volume"
TICK_HEADER = "ts_ms,symbol,price,qty,side,bid,ask"
SIZED_TICK_HEADER = f"{TICK_HEADER},bid_size,ask_size"


class SourceMismatch(Exception):
    """The full recordings are not the ones these samples are cut from; the text names file, line and difference."""


@dataclass(frozen=True)
class Sample:
    """One bundled file: its lines with the header, and what the manifest says about it."""

    name: str
    lines: list[str]
    sources: list[str]
    licence: str
    warmup_min: int = 0

    @property
    def content(self) -> bytes:
        """The uncompressed file."""
        return ("\n".join(self.lines) + "\n").encode("ascii")

    @property
    def compressed(self) -> bytes:
        """The file as it is bundled."""
        return gzip.compress(self.content, compresslevel=9, mtime=0)

    def manifest(self) -> dict[str, object]:
        """Return the file's entry in the manifest."""
        first, last = self.lines[1], self.lines[-1]
        return {
            "file": self.name,
            "sha256": hashlib.sha256(self.compressed).hexdigest(),
            "content_sha256": hashlib.sha256(self.content).hexdigest(),
            "bytes": len(self.compressed),
            "columns": self.lines[0].split(","),
            "symbol": first.split(",")[1],
            "rows": len(self.lines) - 1,
            "first_utc": _utc(first),
            "last_utc": _utc(last),
            "warmup_min": self.warmup_min,
            "sources": self.sources,
            "licence": self.licence,
        }


def _utc(line: str) -> str:
    moment = datetime.fromtimestamp(int(line.partition(",")[0]) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for line in file:
            yield line.rstrip("\r\n")


def crash_day(folder: Path) -> Sample:
    """Cut 48 hours around the crash of 2021-05-19, and the warm-up before them, from a year of one-minute candles."""
    source = "candles/bitmex_xbtusd_1m_2021.csv.gz"
    lines = _lines(folder / source)
    header = next(lines)
    if header != CANDLE_HEADER:
        raise SourceMismatch(f"{source}:1: {header!r}; {CANDLE_HEADER!r} is meant")
    start_ms, end_ms = int(CRASH_FROM.timestamp()) * 1000, int(CRASH_UNTIL.timestamp()) * 1000
    kept = [line for line in lines if start_ms <= int(line.partition(",")[0]) < end_ms]
    minutes = (end_ms - start_ms) // 60_000
    if len(kept) != minutes:
        raise SourceMismatch(f"{source}: {len(kept)} bars between {CRASH_FROM} and {CRASH_UNTIL}; {minutes} are meant")
    return Sample("crash-2021-05-19_xbtusd_1m.csv.gz", [header, *kept], [source], "ISC", CRASH_WARMUP_MIN)


def _quotes_and_trades(path: Path) -> Iterator[tuple[str, list[str], tuple[str, str]]]:
    """Yield (milliseconds, the row's own values, sizes of the last quote) of each quote or trade of a raw capture."""
    sizes = ("", "")
    for line in _lines(path):
        received_ns, _, text = line.partition(" ")
        message = json.loads(text).get("data", {})
        if message.get("e") == "bookTicker":
            sizes = (message["B"], message["A"])
            values = ["", "", "", message["b"], message["a"]]
        elif message.get("e") == "trade":
            values = [message["p"], message["q"], "sell" if message["m"] else "buy"]
        else:
            continue
        yield str(int(received_ns) // 1_000_000), values, sizes


def perpetual_ticks(folder: Path, symbol: str) -> Sample:
    """Add the sizes at the top of the book to a tick file, from the capture that it was made of.

    Rows of the tick file and quotes and trades of the capture correspond one to one in the order of arrival; every row
    is compared with its message. A trade row has the sizes of the quote before it, as it has that quote's prices.
    """
    ticks = f"ticks/binance_um_{symbol}_20240808.csv.gz"
    capture = f"ws_raw/hftbacktest_usdm_{symbol}_20240808.gz"
    lines = _lines(folder / ticks)
    header = next(lines)
    if header != TICK_HEADER:
        raise SourceMismatch(f"{ticks}:1: {header!r}; {TICK_HEADER!r} is meant")
    out = [SIZED_TICK_HEADER]
    messages = _quotes_and_trades(folder / capture)
    for number, line in enumerate(lines, start=2):
        message = next(messages, None)
        if message is None:
            raise SourceMismatch(f"{ticks}:{number}: the capture has ended")
        ts_ms, values, sizes = message
        columns = line.split(",")
        if columns[0] != ts_ms or columns[2 : 2 + len(values)] != values:
            raise SourceMismatch(f"{ticks}:{number}: {line!r} is not {ts_ms} {values!r} of the capture")
        out.append(",".join([line, *(sizes if columns[5] else ("", ""))]))
    if next(messages, None) is not None:
        raise SourceMismatch(f"{ticks}: ends before its capture")
    return Sample(f"ticks-2024-08-08_{symbol}_perp.csv.gz", out, [ticks, capture], "MIT")


def main(arguments: list[str] | None = None) -> int:
    """Write the samples and the manifest, or check them; 0 when all is well, 1 when something differs."""
    parser = argparse.ArgumentParser(description="Make the recordings in backoffice/data/ from the full recordings.")
    parser.add_argument("folder", type=Path, help="folder with candles/, ticks/ and ws_raw/")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a bundled file differs")
    options = parser.parse_args(arguments)
    try:
        samples = [crash_day(options.folder), *(perpetual_ticks(options.folder, s) for s in ("btcusdt", "ethusdt"))]
    except (SourceMismatch, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    manifest = (json.dumps({"files": [sample.manifest() for sample in samples]}, indent=2) + "\n").encode()
    files = {sample.name: sample.compressed for sample in samples} | {"MANIFEST.json": manifest}
    differing = 0
    for name, content in files.items():
        path = TARGET / name
        same = path.exists() and path.read_bytes() == content
        if options.check:
            differing += not same
            sys.stdout.write(f"{name}: {'as made' if same else 'DIFFERS'}\n")
        else:
            path.write_bytes(content)
            sys.stdout.write(f"{name}: {len(content)} bytes{', unchanged' if same else ''}\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
