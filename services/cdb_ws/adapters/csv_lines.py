"""A CSV file many lines at a time, for as long as each row is a line of its own and no field is quoted.

Splitting such lines costs a fraction of what the rules of CSV cost. Where a file needs those rules (a quote, a lone
carriage return) or cannot be read on, the `csv` module reads the rest, so that rows and mistakes are always its own.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, TextIO

from services.common.errors import FeedInputInvalid

__all__ = ["ReadRows", "as_lines", "as_rows", "csv_rows", "opened", "row_blocks"]

BLOCK: Final = 1 << 17
"""Characters that are read as one, two thousand lines: what is made of them fits into the cache of a core."""
CHUNK: Final = 4_096
"""Rows that are read as one by the rules of CSV."""
_UNUSABLE: Final = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error)

ReadRows = list[list[str]]
"""Rows by the rules of CSV."""


@contextmanager
def opened(path: Path) -> Generator[TextIO]:
    """Open a CSV file, plain or gzip; whatever is wrong with it as a whole is a FeedInputInvalid with its name."""
    packed = path.suffix == ".gz"
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if packed
            else path.open(encoding="utf-8-sig", newline="") as file
        ):
            yield file
    except _UNUSABLE as error:
        form = "CSV in gzip" if packed else "CSV"
        raise FeedInputInvalid(f"{path}: cannot be read as {form}: {error}") from error


def csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Return the rows of lines by the rules of CSV."""
    return csv.reader(lines, strict=True)


def row_blocks(path: Path) -> Iterator[list[str] | ReadRows]:
    """Yield the rows of a file after its header, many at a time: as lines without their ends, or as rows if need be.

    Raises:
        FeedInputInvalid: it cannot be read to its end; this comes after everything before it.
    """
    taken = 0
    with opened(path) as file:
        next(csv_rows(file), None)
        for lines in _plain_lines(file):
            if lines is None:
                break
            yield lines
            taken += len(lines)
        else:
            return
    with opened(path) as file:
        next(csv_rows(file), None)
        rows = csv_rows(islice(file, taken, None))
        count = CHUNK
        while count == CHUNK:
            chunk: ReadRows = []
            try:
                chunk.extend(islice(rows, CHUNK))
            except _UNUSABLE:
                yield chunk  # what came before the error is there
                raise
            yield chunk
            count = len(chunk)


def _plain_lines(file: TextIO) -> Iterator[list[str] | None]:
    """Yield lines without their ends, many at a time; at last None where the rules of CSV are needed to go on."""
    text, more = "", True
    while more:
        try:
            read = file.read(BLOCK)
        except _UNUSABLE:
            yield None
            return
        text, more = text + read, read != ""
        end = text.rfind("\n") + 1 if more else len(text)
        whole, text = text[:end], text[end:]
        returns = whole.count("\r")
        if '"' in whole or '"' in text or (returns and not returns == whole.count("\n") == whole.count("\r\n")):
            yield None
            return
        lines = (whole.replace("\r\n", "\n") if returns else whole).split("\n")
        if not lines[-1]:
            lines.pop()
        if lines:
            yield lines


def as_lines(rows: list[str] | ReadRows, columns: int) -> list[str] | None:
    """Return rows as lines, or None where lines would not say which field ends where.

    Args:
        rows: as `row_blocks` gives them, or some of them.
        columns: how many fields a row has.
    """
    if not rows or isinstance(rows[0], str):
        return rows  # type: ignore[return-value]
    lines = [",".join(row) for row in rows]
    text = "\n".join(lines)
    one_a_line = set(map(len, rows)) == {columns} and text.count("\n") == len(rows) - 1
    return lines if one_a_line and text.count(",") == (columns - 1) * len(rows) else None


def as_rows(rows: list[str] | ReadRows) -> Iterable[list[str]]:
    """Return rows as `row_blocks` gives them by the rules of CSV."""
    return csv_rows(rows) if rows and isinstance(rows[0], str) else rows  # type: ignore[return-value]
