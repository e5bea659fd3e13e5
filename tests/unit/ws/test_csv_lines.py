"""Reading many lines at a time gives the rows, and the mistakes, that the rules of CSV give."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_ws.adapters import csv_lines
from services.cdb_ws.adapters.csv_lines import as_lines, as_rows, row_blocks
from services.common.errors import FeedInputInvalid

pytestmark = pytest.mark.unit

PIECES = ["a", "1.5", ",", ",,", "\n", "\n", "\r\n", "\r", '"', '"",', "\u00e9", "\u2028", "\v", " "]


def outcome(rows: Iterator[list[str]]) -> tuple[list[list[str]], str | None]:
    """Return all rows and what ended them."""
    taken: list[list[str]] = []
    try:
        taken.extend(rows)
    except FeedInputInvalid as error:
        return taken, str(error)
    return taken, None


def by_blocks(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a file as blocks give them."""
    for block in row_blocks(path):
        yield from as_rows(block)


def by_the_rules(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a file as the csv module gives them."""
    with csv_lines.opened(path) as file:
        rows = csv.reader(file, strict=True)
        next(rows, None)
        yield from rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files of all examples."""
    return tmp_path_factory.mktemp("csv")


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.integers(1, 12),
    st.sampled_from([b"", b"\xff", b"\n\xff,1\n"]),
    st.integers(0, 3),
)
def test_blocks_of_lines_are_the_rows_of_the_file(folder: Path, text: str, block: int, broken: bytes, cut: int) -> None:
    """Quotes, line ends of every kind, text that is no UTF-8, a packed file that ends too soon."""
    data = b"head,er\n" + text.encode() + broken
    plain, packed = folder / "plain.csv", folder / "packed.csv.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data)[: -cut or None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK", block)
        patch.setattr(csv_lines, "CHUNK", 2)
        for path in (plain, packed):
            assert outcome(by_blocks(path)) == outcome(by_the_rules(path))


@given(st.lists(st.lists(st.sampled_from(["", "a", "1.5", "a,b", "a\nb", '"']), min_size=1, max_size=4), max_size=4))
def test_rows_are_lines_only_where_nothing_is_lost(rows: list[list[str]]) -> None:
    """Lines of rows have the fields of the rows, or there are no lines."""
    lines = as_lines(rows, 3)
    if lines is not None:
        assert [line.split(",") for line in lines] == rows
    elif all(len(row) == 3 for row in rows):
        assert any("," in field or "\n" in field for row in rows for field in row)
