"""Ticks in columns: whatever is done with them, it is what would be done with an observation for each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_ws import tick_columns
from services.cdb_ws.adapters import csv_lines, recorded_files
from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.merging import BlockSource
from services.cdb_ws.observation import Observation, merge
from services.cdb_ws.recorded import Batch, RecordedFeed
from services.cdb_ws.stretches import Stretch, Ticks, divide_at
from services.cdb_ws.tick_columns import (
    NOT_NEGATIVE,
    POSITIVE,
    NotPlainError,
    columns_of,
    lines_by_symbol,
    times_of,
)
from services.cdb_ws.ticks import SIZED_TICK_COLUMNS, TickReader
from services.common.errors import FeedInputInvalid

pytestmark = pytest.mark.unit

T0_MS = 1_621_382_400_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
PRICES = st.sampled_from(["99.5", "100", "100.50", "101.25"])
QUANTITIES = st.sampled_from(["0.1", "2", "3.250", "0.00000001"])
SIZES = st.sampled_from(["0", "1", "2.5"])
ODD = ["0", "00.0", "-1", "+1", "1_0", " 1", "1 ", "1e3", "1E+30", "\u0663", ".5", "5.", "nan", "DOGEUSDT", "btc_usdt"]
ODD += [
    "sell",
    "hold",
    "1",
    "0621382400000",
    "16213824000000",
    "162138240000",
    "1.62138240e12",
    "1621382400\u0660\u0660\u0660",
]


@st.composite
def lines(draw: st.DrawFn, *, ragged: bool = False) -> list[list[str]]:
    """Draw rows of a tick file, in order of time; ragged: also rows that are not plain."""
    made, now_ms = [], T0_MS
    for _ in range(draw(st.integers(1, 40))):
        now_ms += draw(st.sampled_from([0, 1, 100, 249, 250, 60_000]))
        if ragged and draw(st.integers(0, 60)) == 0:
            now_ms -= 1
        trade = draw(st.booleans())
        price, qty = (draw(PRICES), draw(QUANTITIES)) if trade else ("", "")
        quote = [draw(PRICES), draw(PRICES), draw(SIZES), draw(SIZES)]
        if ragged and draw(st.integers(0, 5)) == 0:
            quote = ["", "", "", ""] if trade else [*quote[:2], "", ""]
        made.append([str(now_ms), draw(st.sampled_from(SYMBOLS)), price, qty, "buy" if trade else "", *quote])
        if ragged and draw(st.integers(0, 30)) == 0:
            made[-1][draw(st.integers(0, 8))] = draw(st.sampled_from(ODD))
        if ragged and draw(st.integers(0, 60)) == 0:
            made[-1] = draw(st.sampled_from([[], made[-1][:-1], [*made[-1], "1"], [*made[-1][:8], '"1.5"']]))
    return made


def written(path: Path, rows: list[list[str]]) -> RecordedFile:
    """Return a recording of these rows."""
    path.write_text("\n".join(",".join(row) for row in [list(SIZED_TICK_COLUMNS), *rows]) + "\n")
    return RecordedFile.inspect(path)


def played(sources: list[BlockSource], max_hz: int = 4, warmup_min: int = 0) -> list[Batch] | str:
    """Return all batches of a feed, or the mistake that ended it."""
    try:
        return list(RecordedFeed(sources, max_hz=max_hz, tick_us=1_000_000, warmup_min=warmup_min))
    except FeedInputInvalid as error:
        return str(error)


def one_symbol(rows: list[list[str]]) -> Ticks | None:
    """Return rows in columns, all as the same instrument, after a trade."""
    reader = TickReader()
    first = [str(T0_MS), "BTCUSDT", "100.75", "1", "sell", "100", "101", "1", "1"]
    reader.read(dict(zip(SIZED_TICK_COLUMNS, first, strict=True)), "BTCUSDT")
    block = reader.read_block([",".join([row[0], "BTCUSDT", *row[2:]]) for row in rows], {"BTCUSDT": "BTCUSDT"}, 0)
    return block[0] if block else None


@given(lines(), st.data())
def test_a_slot_of_columns_is_the_merge_of_its_rows(rows: list[list[str]], data: st.DataObject) -> None:
    """Extremes, the exact sum of volumes and the last quote, to the digit; also after a split."""
    ticks = one_symbol(rows)
    assert ticks is not None
    single = ticks.rows()
    parts: list[Stretch] = [ticks]
    assert len(single) == len(ticks) == len(rows)
    for border_us in sorted(data.draw(st.sets(st.sampled_from(ticks.times)))):
        early, late = divide_at(border_us, parts)
        assert all(row.timestamp_us < border_us for part in early for row in part.rows())
        assert all(row.timestamp_us >= border_us for part in late for row in part.rows())
        parts = [*early, *late]
    assert [row for part in parts for row in part.rows()] == single
    assert [time_us for part in parts for time_us in part.all_times()] == ticks.times
    max_hz = data.draw(st.sampled_from([1, 3, 4, 1_000]))
    for part in parts:
        together = [
            (number, list(seen)) for number, seen in groupby(part.rows(), lambda o: o.timestamp_us * max_hz // 10**6)
        ]
        expected = [(seen[0].timestamp_us, number, [merge(seen)]) for number, seen in together]
        assert repr(list(part.slots(max_hz))) == repr(expected)


def test_a_sum_of_volumes_beyond_28_digits_is_refused() -> None:
    """As it is row by row: nothing is rounded away."""
    ticks = one_symbol([[str(T0_MS), "", "100", "1", "buy", "100", "101", "1", "1"]] * 2)
    assert ticks is not None
    too_long = replace(ticks, volumes=(Decimal("999999999999.5"), Decimal("0.0000000000000000001")))
    with pytest.raises(FeedInputInvalid, match="does not fit into 28 digits"):
        list(too_long.slots(4))


@given(
    st.lists(lines(ragged=True), min_size=1, max_size=2),
    st.sampled_from([1, 4, 1_000]),
    st.tuples(st.sampled_from([0, 0, 1]), st.booleans()),
    st.integers(1, 9),
)
def test_a_feed_of_blocks_plays_what_a_feed_of_rows_does(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[list[str]]],
    max_hz: int,
    how: tuple[int, bool],
    chunk: int,
) -> None:
    """The same batches or the same mistake: rows that are not plain, warm-up, and files that overlap."""
    warmup_min, skip = how
    folder = tmp_path_factory.mktemp("ticks")
    recordings = [written(folder / f"{index}.csv", rows) for index, rows in enumerate(files)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK", 300 * chunk)
        patch.setattr(csv_lines, "CHUNK", 4 * chunk)
        patch.setattr(recorded_files, "PIECE", chunk)
        fast, careful = (Reader(SYMBOLS, {}, skip_bad_rows=skip) for _ in range(2))
        blocks = played(fast.blocks(recordings), max_hz, warmup_min)
        patch.setattr(TickReader, "read_block", lambda *_: None)
        rows = played([*careful.sources(recordings)], max_hz, warmup_min)
    assert repr(blocks) == repr(rows)
    if not isinstance(rows, str):
        assert fast.counts == careful.counts


def test_a_mistake_within_a_chunk_is_named_by_its_line(tmp_path: Path) -> None:
    """What stands before it is played, and the counts are those of the rows that were read."""
    good = [str(T0_MS), "BTCUSDT", "100", "1", "buy", "99", "101", "1", "1"]
    other = [str(T0_MS), "DOGEUSDT", "1", "1", "buy", "1", "2", "1", "1"]
    file = written(tmp_path / "ticks.csv", [*[good, other] * 50, ["x", *good[1:]], good])
    reader = Reader(SYMBOLS, {})

    def taken() -> Iterator[Observation]:
        for row in reader.sources([file])[0]:
            assert isinstance(row, Observation)
            yield row

    rows = taken()
    assert len([next(rows) for _ in range(50)]) == 50
    with pytest.raises(FeedInputInvalid, match=r"ticks\.csv:102: ts_ms='x'"):
        next(rows)
    assert reader.counts.ignored == {"DOGEUSDT": 50}


def test_the_rows_before_a_broken_line_are_played(tmp_path: Path) -> None:
    """A file that cannot be read on is a mistake after everything that could be read."""
    good = [str(T0_MS), "BTCUSDT", "100", "1", "buy", "99", "101", "1", "1"]
    file = written(tmp_path / "ticks.csv", [good] * 5)
    with file.path.open("ab") as handle:
        handle.write(b'"unfinished')
    (source,) = Reader(SYMBOLS, {}).sources([file])
    assert [next(source).timestamp_us for _ in range(5)] == [T0_MS * 1_000] * 5
    with pytest.raises(FeedInputInvalid, match="cannot be read as CSV"):
        next(source)


@pytest.mark.parametrize(
    "stamp",
    [
        "162138240000",
        "16213824000000",
        "0621382400000",
        "1.62138240e12",
        "1621382400\u0660\u0660\u0660",
        " 162138240000",
        "-162138240000",
        "162_138240000",
        '"1621382400"',
        "[1621382400]",
        "",
    ],
)
def test_times_that_are_not_13_digits_are_not_plain(stamp: str) -> None:
    """Also between two that are; those two are microseconds."""
    good = str(T0_MS)
    assert times_of([good, good]) == [T0_MS * 1_000] * 2
    for stamps in ([stamp], [good, stamp, good]):
        with pytest.raises(NotPlainError):
            times_of(stamps)


def test_lines_that_are_not_all_alike_are_not_plain() -> None:
    """As many fields on the whole are not enough, and lines are in order of time whatever they are of."""
    assert columns_of(["1,2,3", "4,5,6"], 3) == [["1", "4"], ["2", "5"], ["3", "6"]]
    for lines in (["1,2", "1,2,3,4"], ["1,2,3,4", "1,2"], ["1,2,3", "1,2"], ["1,2,3", "1,2,3,4"]):
        with pytest.raises(NotPlainError):
            columns_of(lines, 3)
    later, earlier = f"{T0_MS + 1},BTCUSDT,1", f"{T0_MS},ETHUSDT,1"
    assert lines_by_symbol([earlier, later]) == {"ETHUSDT": [earlier], "BTCUSDT": [later]}
    for lines in ([later, earlier], [earlier, ""], [earlier, str(T0_MS)]):
        with pytest.raises(NotPlainError):
            lines_by_symbol(lines)


def test_numbers_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is read once while it is remembered; zero is no price."""
    monkeypatch.setattr(tick_columns, "_REMEMBERED", 2)
    NOT_NEGATIVE.clear()
    assert NOT_NEGATIVE.of(["1.50", "0", "2", "1.50"]) == (Decimal("1.5"), Decimal(0), Decimal(2), Decimal("1.5"))
    assert len(NOT_NEGATIVE) <= 2
    with pytest.raises(NotPlainError):
        POSITIVE.of(["1", "0.00"])
