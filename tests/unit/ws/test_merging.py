"""Streams merged block by block, and rows read the short way: nothing differs from one row after the other."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claire.paper.scenarios import SCENARIOS
from services.cdb_ws import merging
from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.merging import Block, Source, merge_sources
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.ticks import SIZED_TICK_COLUMNS, TickReader
from services.common.errors import FeedInputInvalid

pytestmark = pytest.mark.unit

T0 = 1_621_382_400_000_000
ONE = Decimal("1.0")


def row(at_us: int, symbol: str = "BTCUSDT") -> Observation:
    """Return a row at a time after the beginning."""
    return Observation(T0 + at_us, symbol, ONE, ONE, ONE)


def merged(*sources: Sequence[Observation | RejectedRow]) -> list[Observation | RejectedRow]:
    """Return everything in the order in which it is handed over."""
    out: list[Observation | RejectedRow] = []
    for block in merge_sources([iter(source) for source in sources], out.append):
        out.extend(rows_of(block))
    return out


def rows_of(block: Block) -> list[Observation | RejectedRow]:
    """Return the rows of a block in order of time."""
    rows = [row for stretch in block for row in stretch.rows()]
    assert sorted(time for stretch in block for time in stretch.all_times()) == sorted(r.timestamp_us for r in rows)
    return sorted(rows, key=lambda r: r.timestamp_us)


@given(st.lists(st.lists(st.integers(0, 40), max_size=30).map(sorted), min_size=1, max_size=4), st.integers(1, 7))
def test_blocks_are_the_streams_merged_by_time(times: list[list[int]], block: int) -> None:
    """Whatever the size of a block: order of time, and rows of the same time in the order of their streams."""
    sources = [[row(at, f"SYMBOL{index}") for at in stream] for index, stream in enumerate(times)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "ROWS", block)
        assert merged(*sources) == list(heapq.merge(*sources, key=lambda r: r.timestamp_us))


def test_a_rejected_row_comes_between_its_neighbours() -> None:
    """It is handed over when everything before it has been taken."""
    rejected = RejectedRow(T0 + 1, "bad", b"")
    assert merged([row(0), row(1), rejected, row(2)]) == [row(0), row(1), rejected, row(2)]
    assert merged([row(0), rejected], [row(1, "ETHUSDT")])[0] == row(0)


def test_an_error_comes_after_what_the_stream_gave_before() -> None:
    """Rows before the mistake are played."""

    def broken() -> Source:
        yield row(0)
        yield row(1)
        raise FeedInputInvalid("line 3")

    blocks = merge_sources([broken(), iter([row(0, "ETHUSDT"), row(9, "ETHUSDT")])], lambda _: None)
    assert rows_of(next(blocks)) == [row(0), row(0, "ETHUSDT"), row(1)]
    with pytest.raises(FeedInputInvalid, match="line 3"):
        next(blocks)


@pytest.mark.parametrize("block", [1, 2, 1_000])
def test_a_stream_that_goes_back_in_time_is_refused(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over the border of two blocks."""
    monkeypatch.setattr(merging, "ROWS", block)
    with pytest.raises(FeedInputInvalid, match="back"):
        merged([row(0), row(5), row(4)])


def test_a_hole_within_a_block_is_refused() -> None:
    """Over seven days without a row is a mistake of the input, wherever it lies."""
    week = merging.LONGEST_SILENCE_US
    assert len(merged([row(0), row(week), row(2 * week)])) == 3
    with pytest.raises(FeedInputInvalid, match="seven days"):
        merged([row(0), row(1), row(week + 2), row(week + 3)])


def ticks(values: Sequence[str]) -> tuple[Observation | None, Observation | str]:
    """Return a row read the short way and the long way, each after the same trade."""
    readers = TickReader(), TickReader()
    for reader in readers:
        reader.read(dict(zip(SIZED_TICK_COLUMNS, GOOD, strict=True)), "BTCUSDT")
    block = readers[0].read_block([",".join(values)], {"BTCUSDT": "BTCUSDT"}, 0)
    short = None if block is None else block[0].rows()[0]
    try:
        return short, readers[1].read(dict(zip(SIZED_TICK_COLUMNS, values, strict=True)), "BTCUSDT")
    except FeedInputInvalid as error:
        return short, str(error)


GOOD = ("1621382400000", "BTCUSDT", "100.50", "2", "buy", "100.4", "100.6", "1", "3.250")
NUMBERS = st.sampled_from(
    ["", "0", "0.0", "1", "1.50", "100", "1e2", "-1", "NaN", "1_0", " 1", "0.1234567890123456789"]
)
TIMES = st.sampled_from(["1621382400000", "1621382400", "", "x", "16213824000000000"])
SIDES = st.sampled_from(["buy", "sell", "", "hold"])


@given(st.tuples(TIMES, st.just("BTCUSDT"), NUMBERS, NUMBERS, SIDES, NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_the_short_way_reads_what_the_long_way_does_or_nothing(values: tuple[str, ...]) -> None:
    """It never accepts what the long way refuses, and never differs from it, to the digit."""
    short, long = ticks(values)
    assert short is None or repr(short) == repr(long)


@pytest.mark.slow
def test_bundled_ticks_are_read_the_short_way() -> None:
    """All rows but those before the first trade, and they are the same as read the long way."""
    assert ticks(GOOD)[0] is not None
    file = RecordedFile.inspect(SCENARIOS["ticks-2024-08-08"].inputs[1])

    def read() -> Iterator[Observation | RejectedRow]:
        (source,) = Reader(("ETHUSDT",), {}).sources([file])
        return source

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TickReader, "read_block", lambda *_: None)
        long = [repr(r) for r in read()]
    short = list(read())
    assert [repr(r) for r in short] == long
    assert all(a.timestamp_us <= b.timestamp_us for a, b in pairwise(short))
