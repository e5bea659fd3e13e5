"""Recordings on disk: tick and candle CSV, plain or gzip, read as a stream."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from services.cdb_ws.adapters.csv_lines import ReadRows, as_lines, as_rows, csv_rows, opened, row_blocks
from services.cdb_ws.adapters.raw_files import is_raw
from services.cdb_ws.candles import CANDLE_COLUMNS, candle_path, parse_candle
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import BlockSource, Source
from services.cdb_ws.stretches import TickBlock, in_order
from services.cdb_ws.ticks import MARKED_TICK_COLUMNS, SIZED_TICK_COLUMNS, TICK_COLUMNS, TickReader
from services.common.errors import ContractViolation, FeedInputInvalid
from services.common.instruments import normalise_symbol
from services.common.timestamps import format_timestamp

__all__ = ["FileKind", "ReadCounts", "Reader", "RecordedFile"]

FileKind = Literal["ticks", "candles", "raw"]

_KINDS: Final[Mapping[tuple[str, ...], FileKind]] = {
    TICK_COLUMNS: "ticks",
    SIZED_TICK_COLUMNS: "ticks",
    MARKED_TICK_COLUMNS: "ticks",
    CANDLE_COLUMNS: "candles",
}
_ParsedT = TypeVar("_ParsedT")
_HASH_CHUNK: Final = 1 << 20
PIECE: Final = 32
"""Lines that are read one by one, where some are not plain."""


@dataclass(frozen=True)
class RecordedFile:
    """A recording and what proves which one it was.

    Attributes:
        kind: told by the header.
        sha256: of the file as it lies on disk.
        size: bytes on disk.
    """

    path: Path
    kind: FileKind
    sha256: str
    size: int

    @classmethod
    def inspect(cls, path: Path) -> RecordedFile:
        """Look at a file without reading its rows.

        Raises:
            FeedInputInvalid: it is not there, cannot be read, is empty, or has neither of the two headers.
        """
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(_HASH_CHUNK):
                    digest.update(chunk)
            size = path.stat().st_size
        except OSError as error:
            raise FeedInputInvalid(
                f"{path}: cannot be read ({error.strerror}); FEED_FILES names recordings, as "
                "backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz"
            ) from error
        if is_raw(path):
            return cls(path, "raw", digest.hexdigest(), size)
        with opened(path) as text:
            header = next(csv_rows(text), None)
        if header is None:
            raise FeedInputInvalid(f"{path}: the file is empty; a header and rows are meant")
        kind = _KINDS.get(tuple(header))
        if kind is None:
            raise FeedInputInvalid(
                f"{path}:1: header {','.join(header)!r:.200}; {','.join(CANDLE_COLUMNS)!r} (candles) or "
                f"{','.join(TICK_COLUMNS)!r}, if known with ',bid_size,ask_size' and then ',mark_price,funding_rate' "
                "(ticks), is meant"
            )
        return cls(path, kind, digest.hexdigest(), size)

    def provenance(self) -> dict[str, Any]:
        """Return what the configuration event says about the file: no path, that differs from machine to machine."""
        return {"name": self.path.name, "kind": self.kind, "sha256": self.sha256, "bytes": self.size}


@dataclass
class ReadCounts:
    """What was read so far, for `/status`.

    Attributes:
        rows: admitted rows.
        ignored: rows of symbols that are not in SYMBOLS, by symbol as the file writes it.
        rejected: rows skipped because they cannot be used.
    """

    rows: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: int = 0


class Reader:
    """Reads the rows of recordings.

    Args:
        symbols: the symbols to play, as on the wire.
        symbol_map: from a file's symbol, normalised, to one on the wire: `XBTUSD` to `BTCUSDT`.
        skip_bad_rows: skip a row that cannot be used and mark a gap, instead of refusing the file.

    Attributes:
        known: what the symbols seen so far are played as; None for those that are not played.
    """

    def __init__(self, symbols: Sequence[str], symbol_map: Mapping[str, str], *, skip_bad_rows: bool = False) -> None:
        self._symbols = tuple(symbols)
        self._map = dict(symbol_map)
        self._skip = skip_bad_rows
        self.known: dict[str, str | None] = {}
        self._played_as: dict[str, str] = {}
        self.counts = ReadCounts()

    def sources(self, files: Sequence[RecordedFile]) -> list[Source]:
        """Return the streams of all files, to be merged by time, an object a row (see `blocks`)."""
        return [_in_rows(source) for source in self.blocks(files)]

    def blocks(self, files: Sequence[RecordedFile]) -> list[BlockSource]:
        """Return the streams of all files, to be merged by time, with many ticks as one where they are plain.

        A tick file is one stream, in the file's order. A candle file is a stream for each symbol, because such files
        are often sorted by symbol first.
        """
        return [source for file in files for source in self._blocks_of(file)]

    def _blocks_of(self, file: RecordedFile) -> list[BlockSource]:
        if file.kind == "ticks":
            return [_Stream(self, file, self._symbols, first=True).ticks()]
        return [
            _Stream(self, file, (symbol,), first=index == 0).candles() for index, symbol in enumerate(self._symbols)
        ]

    def resolve(self, raw: str) -> str | None:
        """Return a file's symbol as it stands on the wire, or None when it is not to be played.

        Raises:
            FeedInputInvalid: no symbol at all, or a second one that would be played as the same.
        """
        try:
            return self.known[raw]
        except KeyError:
            pass
        try:
            normalised = normalise_symbol(raw)
        except ContractViolation as error:
            raise FeedInputInvalid(str(error)) from error
        symbol = self._map.get(normalised, normalised)
        if symbol not in self._symbols:
            self.known[raw] = None
            return None
        if (other := self._played_as.setdefault(symbol, normalised)) != normalised:
            raise FeedInputInvalid(f"symbol={raw!r}: {other} is already played as {symbol}; two would mix")
        self.known[raw] = symbol
        return symbol

    def reject(self, reason: str) -> None:
        """Count a row that cannot be used.

        Raises:
            FeedInputInvalid: bad rows are not to be skipped.
        """
        if not self._skip:
            raise FeedInputInvalid(f"{reason} (FEED_BAD_ROWS=skip passes over such rows and marks a gap)")
        self.counts.rejected += 1


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a file that is to be played: its columns by name; `symbol` is None when it cannot be told."""

    number: int
    symbol: str | None
    columns: Mapping[str, str]
    reason: str = ""


class _Stream:
    """One pass over one file for some of its symbols. Only the first pass looks after rows that belong to no symbol."""

    def __init__(self, reader: Reader, file: RecordedFile, symbols: Sequence[str], *, first: bool) -> None:
        self._reader = reader
        self._path = file.path
        self._symbols = frozenset(symbols)
        self._first = first
        self._last_us = 0
        self._gaps: set[str] = set()

    def ticks(self) -> BlockSource:
        """Yield the rows in order: many as one where they are plain, else one observation a row."""
        reader, number = TickReader(), 2
        with opened(self._path) as file:
            header = next(csv_rows(file))
        sized = tuple(header) == SIZED_TICK_COLUMNS
        for rows in row_blocks(self._path):
            yield from self._plain_ticks(reader, number, header, rows, sized=sized)
            number += len(rows)

    def _plain_ticks(
        self, reader: TickReader, first_number: int, header: list[str], rows: list[str] | ReadRows, *, sized: bool
    ) -> BlockSource:
        """Yield as one what is plain: all rows, or those of a half, of a half of it, and so on."""
        block = self._block(reader, rows) if sized else None
        if block is not None:
            if block:
                yield block
        elif len(rows) <= PIECE or not sized:
            yield from self._single_ticks(reader, first_number, header, rows)
        else:
            half = len(rows) // 2
            yield from self._plain_ticks(reader, first_number, header, rows[:half], sized=sized)
            yield from self._plain_ticks(reader, first_number + half, header, rows[half:], sized=sized)

    def _block(self, reader: TickReader, rows: list[str] | ReadRows) -> TickBlock | None:
        """Return plain rows as a block; None when they are to be read one by one."""
        lines = None if self._gaps else as_lines(rows, len(SIZED_TICK_COLUMNS))
        block = None if lines is None else reader.read_block(lines, self._reader.known, self._last_us)
        if block is None or lines is None:
            return None
        counts = self._reader.counts
        counts.rows += (played := sum(map(len, block)))
        if played < len(lines):
            symbols = (line.split(",", 2)[1] for line in lines)
            counts.ignored.update(raw for raw in symbols if self._reader.known[raw] is None)
        self._last_us = max((ticks.last_us for ticks in block), default=self._last_us)
        return block

    def _single_ticks(
        self, reader: TickReader, first_number: int, header: list[str], rows: list[str] | ReadRows
    ) -> Source:
        for number, values in enumerate(as_rows(rows), first_number):
            row = self._to_play(number, header, values)
            if row is None:
                continue
            tick = self._parse(row, reader.read)
            if isinstance(tick, Observation):
                self._check_order(row, tick.timestamp_us, "the row before it")
                self._last_us = tick.timestamp_us
                tick = self._after_gap(tick)
            yield tick

    def candles(self) -> Source:
        """Yield four observations a row."""
        for row in self._rows():
            candle = self._parse(row, parse_candle)
            if isinstance(candle, RejectedRow):
                yield candle
                continue
            self._check_order(row, candle.open_us, f"the end of the candle of {candle.symbol} before it")
            self._last_us = candle.end_us
            opening, *rest = candle_path(candle)
            yield self._after_gap(opening)
            yield from rest

    def _rows(self) -> Iterator[_Row]:
        with opened(self._path) as file:
            lines = csv_rows(file)
            header = next(lines)
            for number, values in enumerate(lines, start=2):
                row = self._to_play(number, header, values)
                if row is not None:
                    yield row

    def _to_play(self, number: int, header: list[str], values: list[str]) -> _Row | None:
        """Return a row that this pass plays, or, in the first pass, one that cannot be told whose it is; else None."""
        if not values:
            return None
        row = self._row(number, header, values)
        if row.symbol in self._symbols:
            self._reader.counts.rows += 1
            return row
        if self._first and row.reason:
            return row
        if self._first and row.symbol is None:
            self._reader.counts.ignored[row.columns["symbol"]] += 1
        return None

    def _row(self, number: int, header: list[str], values: list[str]) -> _Row:
        if len(values) != len(header):
            reason = f"{len(values)} columns; {len(header)} are meant"
            return _Row(number, None, {str(place): value for place, value in enumerate(values)}, reason)
        columns = dict(zip(header, values, strict=True))
        try:
            return _Row(number, self._reader.resolve(columns["symbol"]), columns)
        except FeedInputInvalid as error:
            return _Row(number, None, columns, str(error))

    def _parse(self, row: _Row, read: Callable[[Mapping[str, str], str], _ParsedT]) -> _ParsedT | RejectedRow:
        try:
            if row.symbol is None:
                raise FeedInputInvalid(row.reason)
            return read(row.columns, row.symbol)
        except FeedInputInvalid as error:
            reason = f"{self._path}:{row.number}: {error}"
            self._reader.reject(reason)
            self._gaps.update((row.symbol,) if row.symbol is not None else self._symbols)
            return RejectedRow(self._last_us, reason, ",".join(row.columns.values()).encode())

    def _check_order(self, row: _Row, timestamp_us: int, before: str) -> None:
        if timestamp_us < self._last_us:
            raise FeedInputInvalid(
                f"{self._path}:{row.number}: ts_ms={row.columns['ts_ms']} lies before {before} "
                f"({format_timestamp(self._last_us)}); sort the file by time"
            )

    def _after_gap(self, observation: Observation) -> Observation:
        if observation.symbol not in self._gaps:
            return observation
        self._gaps.discard(observation.symbol)
        return replace(observation, gap=True)


def _in_rows(source: BlockSource) -> Source:
    for item in source:
        if isinstance(item, tuple):
            yield from in_order(item)
        else:
            yield item
