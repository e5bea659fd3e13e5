"""What holds for every recording: nothing is lost, time only grows, and a restart makes the same batches again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_ws.candles import Candle, candle_path
from services.cdb_ws.clock import Clock
from services.cdb_ws.conflation import Conflator
from services.cdb_ws.mint import Mint
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Batch, Note, RecordedFeed, carry
from services.common.timestamps import MINUTE_US, SECOND_US
from tests.property.effort import examples

pytestmark = pytest.mark.unit

T0 = 1_621_296_000 * SECOND_US
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

prices = st.integers(1, 10**9).map(lambda n: Decimal(n).scaleb(-4))
volumes = st.integers(0, 10**12).map(lambda n: Decimal(n).scaleb(-8))


@st.composite
def observations(draw: st.DrawFn, symbols: tuple[str, ...] = SYMBOLS) -> list[Observation]:
    """Rows in order of time, dense and with holes, some with quotes, some after a gap."""
    now_us = T0 + draw(st.integers(0, 3 * SECOND_US))
    out = []
    for _ in range(draw(st.integers(1, 25))):
        now_us += draw(st.one_of(st.just(0), st.integers(1, 400_000), st.integers(1, 5 * SECOND_US)))
        price, bid = draw(prices), draw(st.one_of(st.none(), prices))
        out.append(
            Observation(
                now_us,
                draw(st.sampled_from(symbols)),
                price,
                price,
                price,
                volume=draw(volumes),
                bid=bid,
                ask=None if bid is None else bid + 1,
                gap=draw(st.booleans()),
            )
        )
    return out


def by_symbol(rows: list[Observation]) -> dict[str, list[Observation]]:
    """Group, keeping the order."""
    groups: dict[str, list[Observation]] = defaultdict(list)
    for row in rows:
        groups[row.symbol].append(row)
    return groups


@settings(derandomize=True, max_examples=examples(50), deadline=None)
@given(observations(), st.integers(1, 20))
def test_conflation_loses_nothing(rows: list[Observation], max_hz: int) -> None:
    """Σ volume in = Σ volume out, extremes and gaps survive, low <= price <= high, one event a slot and symbol."""
    conflator = Conflator(max_hz)
    out = [ended for row in rows for ended in conflator.add(row)] + list(conflator.flush())
    given_rows, merged = by_symbol(rows), by_symbol(out)
    assert given_rows.keys() == merged.keys()
    for symbol, mine in merged.items():
        theirs = given_rows[symbol]
        assert sum(o.volume for o in mine) == sum(o.volume for o in theirs)
        assert max(o.high for o in mine) == max(o.price for o in theirs)
        assert min(o.low for o in mine) == min(o.price for o in theirs)
        assert mine[-1].price == theirs[-1].price
        assert any(o.gap for o in mine) == any(o.gap for o in theirs)
        assert all(o.low <= o.price <= o.high for o in mine)
        slots = [o.timestamp_us * max_hz // SECOND_US for o in mine]
        assert len(slots) == len(set(slots))
    assert [o.timestamp_us for o in out] == sorted(o.timestamp_us for o in out)


@settings(derandomize=True, max_examples=examples(25), deadline=None)
@given(observations(symbols=("BTCUSDT",)), st.data())
def test_merging_is_associative(rows: list[Observation], data: st.DataObject) -> None:
    """However a stretch is cut into parts, merging the parts gives the same as merging row by row."""

    def merged(part: list[Observation]) -> Observation:
        whole = part[0]
        for row in part[1:]:
            whole = whole.then(row)
        return whole

    cut = data.draw(st.integers(0, len(rows) - 1))
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    assert merged([merged(part) for part in parts]) == merged(rows)


@settings(derandomize=True, max_examples=examples(30), deadline=None)
@given(st.integers(1, 120), st.integers(0, 10**9), st.lists(st.integers(0, 10**8), max_size=20))
def test_ticks_grow_strictly_and_miss_nothing(tick_sec: int, start_us: int, steps: list[int]) -> None:
    """Every multiple of the tick after the start, up to the time reached, is given once and in order."""
    clock, now_us, ticks = Clock(tick_sec * SECOND_US, start_us), start_us, []
    for step in steps:
        now_us += step
        ticks += clock.until(now_us)
    tick_us = tick_sec * SECOND_US
    assert ticks == list(range((start_us // tick_us + 1) * tick_us, now_us + 1, tick_us))


def played(rows: list[Observation], *, max_hz: int, warmup_min: int, notes: Iterable[Note] = ()) -> Iterator[Batch]:
    """A feed made anew, as at every start."""
    streams = [iter(group) for group in by_symbol(rows).values()]
    return iter(RecordedFeed(streams, max_hz=max_hz, tick_us=SECOND_US, warmup_min=warmup_min, notes=notes))


@settings(derandomize=True, max_examples=examples(40), deadline=None)
@given(observations(), st.integers(1, 8), st.lists(st.integers(-SECOND_US, 30 * SECOND_US), max_size=5))
def test_a_feed_plays_what_rows_one_by_one_would(rows: list[Observation], max_hz: int, told: list[int]) -> None:
    """Slots that are cut out of blocks are those of a conflator that sees each row by itself.

    What is told beside the market data comes at the same moment, too: with the first row of the next slot.
    """
    first_us = rows[0].timestamp_us
    notes = [Note(first_us + after_us, facts=(("symbols", {"told": after_us}),)) for after_us in sorted(told)]
    conflator, clock, untold = Conflator(max_hz), Clock(SECOND_US, first_us), list(notes)
    expected: list[tuple[str, int, object]] = []

    def advance(to_us: int, ended: tuple[Observation, ...]) -> None:
        if ended:
            expected.append(("market_data", ended[-1].timestamp_us, ended))
        while untold and untold[0].timestamp_us <= to_us:
            expected.append(("fact", to_us, untold.pop(0).facts))
        expected.extend(("tick", tick_us, ()) for tick_us in clock.until(to_us))

    slot = -1
    for row in rows:
        ended = conflator.add(row)
        if row.timestamp_us * max_hz // SECOND_US != slot:
            slot = row.timestamp_us * max_hz // SECOND_US
            advance(row.timestamp_us, ended)
    end_us = clock.next_us
    advance(end_us, conflator.flush())
    expected.append(("finished", end_us, ()))

    batches = list(played(rows, max_hz=max_hz, warmup_min=0, notes=notes))

    assert [(b.kind, b.timestamp_us, b.observations or b.facts) for b in batches] == expected
    assert [b.number for b in batches] == list(range(1, len(batches) + 1))


@settings(derandomize=True, max_examples=examples(30), deadline=None)
@given(observations(), st.integers(1, 8), st.integers(0, 1), st.data())
def test_a_restart_after_any_batch_goes_on_with_the_same(
    rows: list[Observation], max_hz: int, warmup_min: int, data: st.DataObject
) -> None:
    """Made again and passed over up to k, the rest is byte for byte what an unbroken play publishes after k."""
    last = rows[-1]
    rows = [*rows, Observation(last.timestamp_us + 2 * MINUTE_US, last.symbol, last.price, last.price, last.price)]
    mint = Mint("run", "mexc_spot")
    whole = [(b.number, [e.data for e in mint.events(b)]) for b in played(rows, max_hz=max_hz, warmup_min=warmup_min)]
    k = data.draw(st.integers(0, len(whole)))
    again = [
        (b.number, [e.data for e in mint.events(b)])
        for b in played(rows, max_hz=max_hz, warmup_min=warmup_min)
        if b.number > k
    ]
    assert whole[:k] + again == whole
    assert [number for number, _ in whole] == list(range(1, len(whole) + 1))


@settings(derandomize=True, max_examples=examples(30), deadline=None)
@given(observations())
def test_published_time_never_goes_back(rows: list[Observation]) -> None:
    """Timestamps of all events are in order, ticks strictly; nothing comes after `finished`."""
    batches = list(played(rows, max_hz=4, warmup_min=0))
    mint = Mint("run", "mexc_spot")
    times = [e.timestamp for b in batches for e in mint.events(b)]
    ticks = [b.timestamp_us for b in batches if b.kind == "tick"]
    assert times == sorted(times)
    assert ticks == sorted(set(ticks))
    assert [b.kind for b in batches[-2:]] == ["tick", "finished"]
    identities = [e.event_id for b in batches for e in mint.events(b)]
    assert len(identities) == len(set(identities))


@settings(derandomize=True, max_examples=examples(25), deadline=None)
@given(observations(), st.data())
def test_withholding_any_batches_loses_no_volume(rows: list[Observation], data: st.DataObject) -> None:
    """Whichever market data are refused, what is published in the end has every symbol's volume and extremes."""
    out: list[Observation] = []
    withheld: dict[str, Observation] = {}
    for batch in played(rows, max_hz=4, warmup_min=0):
        owed = carry(withheld, batch.observations) if withheld else batch.observations
        if batch.kind == "market_data" and data.draw(st.booleans()):
            withheld = {o.symbol: o for o in owed}
        elif batch.kind in {"market_data", "finished"}:
            out, withheld = [*out, *owed], {}
    merged = by_symbol(out)
    for symbol, theirs in by_symbol(rows).items():
        mine = merged[symbol]
        assert sum(o.volume for o in mine) == sum(o.volume for o in theirs)
        assert max(o.high for o in mine) == max(o.price for o in theirs)
        assert min(o.low for o in mine) == min(o.price for o in theirs)
        assert mine[-1].price == theirs[-1].price


@settings(derandomize=True, max_examples=examples(30), deadline=None)
@given(st.lists(prices, min_size=4, max_size=4), st.integers(0, 10**17).map(lambda n: Decimal(n).scaleb(-16)))
def test_a_candles_volume_is_split_exactly(drawn: list[Decimal], volume: Decimal) -> None:
    """Four moments within the candle in order of time, none with a negative volume, together the whole volume."""
    low, close, high = sorted(drawn[:3])
    candle = Candle(T0, "BTCUSDT", MINUTE_US, drawn[3], high, low, close, volume)
    path = candle_path(candle)
    assert sum(o.volume for o in path) == volume
    assert all(o.volume >= 0 for o in path)
    assert all(o.bid is not None and o.ask is not None and 0 < o.bid <= o.price <= o.ask for o in path)
    assert [o.timestamp_us for o in path] == sorted({o.timestamp_us for o in path})
    assert path[-1].timestamp_us < candle.end_us
    assert all(event.data for event in Mint("run", "mexc_spot").market_data(path, 1))
