"""Conflation, clock, warm-up bars, the merged feed, and the events that are made of it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_ws.clock import Clock
from services.cdb_ws.conflation import Conflator
from services.cdb_ws.fold import FeedFold
from services.cdb_ws.mint import Mint
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import Batch, RecordedFeed, carry
from services.cdb_ws.warmup import WarmupBars
from services.common.errors import FeedInputInvalid, StateMismatch
from services.common.events import Control, MarketData, parse_event
from services.common.identity import derive_id
from services.common.journal.entry import Entry, JournalId
from services.common.timestamps import DAY_US, MINUTE_US, SECOND_US

pytestmark = pytest.mark.unit

T0 = 1_621_296_000 * SECOND_US


def seen(offset_ms: int, price: str | int = 100, symbol: str = "BTCUSDT", **fields: Any) -> Observation:
    """An observation so many milliseconds after T0."""
    value = Decimal(price)
    return Observation(T0 + offset_ms * 1000, symbol, value, value, value, **fields)


def feed(*streams: Iterable[Observation | RejectedRow], **settings: int) -> RecordedFeed:
    """A feed of streams."""
    return RecordedFeed([iter(s) for s in streams], **{"max_hz": 4, "tick_us": SECOND_US, **settings})


def test_observations_of_one_slot_become_one() -> None:
    """Price and quote are the last, volume the sum, extremes span all, a gap stays."""
    conflator = Conflator(4)
    assert conflator.add(seen(0, 100, volume=Decimal(1), bid=Decimal(99), ask=Decimal(101), bid_size=Decimal(7))) == ()
    conflator.add(seen(100, 110, volume=Decimal(2), gap=True))
    conflator.add(seen(249, 90, volume=Decimal("0.5"), bid=Decimal(89), ask=Decimal(91)))
    (merged,) = conflator.add(seen(250, 95))
    assert merged == Observation(
        T0 + 249_000,
        "BTCUSDT",
        price=Decimal(90),
        high=Decimal(110),
        low=Decimal(90),
        volume=Decimal("3.5"),
        bid=Decimal(89),
        ask=Decimal(91),
        gap=True,
    )


def test_a_trade_without_a_quote_keeps_the_slots_last_quote_whole() -> None:
    """A quote is taken with its sizes or not at all; sizes of two quotes never mix."""
    conflator = Conflator(1)
    conflator.add(seen(0, bid=Decimal(9), ask=Decimal(11), bid_size=Decimal(1), ask_size=Decimal(2)))
    conflator.add(seen(1, bid=Decimal(8), ask=Decimal(12)))
    conflator.add(seen(2))
    (merged,) = conflator.flush()
    assert (merged.bid, merged.ask, merged.bid_size, merged.ask_size) == (Decimal(8), Decimal(12), None, None)


def test_each_slot_comes_out_in_order_of_time_then_symbol() -> None:
    """Instruments are conflated separately and come out in a fixed order."""
    conflator = Conflator(4)
    for observation in (seen(10, symbol="SOLUSDT"), seen(20, symbol="ETHUSDT"), seen(20, symbol="BTCUSDT")):
        conflator.add(observation)
    assert [o.symbol for o in conflator.advance(T0 + 250_000)] == ["SOLUSDT", "BTCUSDT", "ETHUSDT"]
    assert conflator.flush() == ()


def test_time_does_not_go_back_by_a_slot() -> None:
    """An observation of an earlier slot is an error, never silently moved."""
    conflator = Conflator(4)
    conflator.add(seen(250))
    with pytest.raises(FeedInputInvalid, match="goes back to 2021-05-18T00:00:00"):
        conflator.add(seen(0))


def test_the_clock_ticks_on_its_grid_also_over_silence() -> None:
    """Ticks stand at multiples of their distance, after the start, each once."""
    clock = Clock(SECOND_US, T0 + 500_000)
    assert list(clock.until(T0 + 999_999)) == []
    assert list(clock.until(T0 + 3_000_000)) == [T0 + n * SECOND_US for n in (1, 2, 3)]
    assert list(clock.until(T0 + 3_500_000)) == []
    assert clock.next_us == T0 + 4 * SECOND_US


def test_a_clock_that_was_held_up_gives_the_newest_tick_only() -> None:
    """`latest` passes over missed ticks and gives nothing twice."""
    clock = Clock(SECOND_US, T0)
    assert clock.latest(T0 + 999_999) is None
    assert clock.latest(T0 + 5_400_000) == T0 + 5 * SECOND_US
    assert clock.latest(T0 + 5_900_000) is None
    assert clock.next_us == T0 + 6 * SECOND_US


def test_warmup_bars_are_those_of_the_strategy() -> None:
    """Open first, close last, extremes over all, volume summed; a silent minute has no bar; 120 bars an event."""
    bars = WarmupBars()
    bars.add(seen(0, 100, volume=Decimal(1)))
    bars.add(seen(30_000, 90, volume=Decimal(2)))
    bars.add(seen(59_999, 105))
    bars.add(seen(180_000, 200, symbol="ETHUSDT"))
    bars.add(seen(180_000, 101, volume=Decimal("0.5")))
    (btc, btc_bars), (eth, _) = bars.chunks()
    assert (btc, eth) == ("BTCUSDT", "ETHUSDT")
    assert [bar.as_row() for bar in btc_bars] == [
        [T0, 100, 105, 90, 105, 3],
        [T0 + 3 * MINUTE_US, 101, 101, 101, 101, Decimal("0.5")],
    ]
    many = WarmupBars()
    for minute in range(250):
        many.add(seen(minute * 60_000))
    assert [len(part) for _, part in many.chunks()] == [120, 120, 10]


def test_a_feed_is_numbered_batches_with_its_clock() -> None:
    """Slots and ticks come in order of time, numbered from 1; a last tick and `finished` end it."""
    played = feed([seen(100), seen(300), seen(2_500)])
    assert played.start_us == T0 + 100_000
    assert [(b.number, b.kind, (b.timestamp_us - T0) // 1000) for b in played] == [
        (1, "market_data", 100),
        (2, "market_data", 300),
        (3, "tick", 1_000),
        (4, "tick", 2_000),
        (5, "market_data", 2_500),
        (6, "tick", 3_000),
        (7, "finished", 3_000),
    ]


def test_streams_are_merged_by_time_and_ties_keep_their_order() -> None:
    """Two files make one sequence; at equal times the first file comes first."""
    btc = [seen(0, 1), seen(10, 2)]
    eth = [seen(0, 3, "ETHUSDT"), seen(5, 4, "ETHUSDT")]
    batch = next(iter(feed(btc, eth)))
    assert [(o.symbol, o.price) for o in batch.observations] == [("ETHUSDT", 4), ("BTCUSDT", 2)]


def test_the_warmup_is_never_played() -> None:
    """The first minutes are bars in an event of their own; play begins, and the clock stands, at their end."""
    rows = [seen(minute * 60_000 + 20_000, minute + 1) for minute in range(5)]
    played = feed(rows, warmup_min=3)
    assert played.start_us == T0 + 3 * MINUTE_US
    first, *rest = list(played)
    assert (first.kind, first.timestamp_us) == ("warmup", played.start_us)
    assert [bar.close for bar in first.bars[0][1]] == [1, 2, 3]
    assert [o.price for b in rest for o in b.observations] == [4, 5]
    assert min(b.timestamp_us for b in rest) > played.start_us


def test_a_warmup_that_leaves_nothing_is_refused() -> None:
    """A warm-up as long as the recording is a mistake that is named."""
    with pytest.raises(FeedInputInvalid, match="RECORDED_WARMUP_MIN=5"):
        feed([seen(minute * 60_000) for minute in range(5)], warmup_min=5)


def test_an_empty_recording_is_refused() -> None:
    """No row of our symbols means no feed."""
    with pytest.raises(FeedInputInvalid, match="no row of the symbols"):
        feed([], [])


def test_overlapping_recordings_of_one_symbol_are_refused() -> None:
    """Two files that both have a symbol at the same time would count its volume twice; one after the other is fine."""
    assert len([b for b in feed([seen(0), seen(1)], [seen(2_000)]) if b.kind == "market_data"]) == 2
    with pytest.raises(FeedInputInvalid, match="two recordings of BTCUSDT overlap"):
        list(feed([seen(0), seen(3_000)], [seen(2_000)]))


def test_a_hole_of_over_a_week_is_refused() -> None:
    """The clock does not tick through years because two files were named together."""
    with pytest.raises(FeedInputInvalid, match="over seven days"):
        list(feed([seen(0), seen(8 * DAY_US // 1000)]))


def test_rejected_rows_travel_with_the_next_batch() -> None:
    """What was skipped is told once, with the batch after it."""
    row = RejectedRow(T0, "x.csv:2: bad", b"raw")
    batches = list(feed([row, seen(0), seen(300)]))
    assert [b.rejected for b in batches if b.rejected] == [(row,)]
    assert batches[0].rejected == (row,)


def test_withheld_observations_are_merged_and_marked() -> None:
    """What could not be published goes into the next event of its instrument, as a gap; nobody is forgotten."""
    owed = {"BTCUSDT": seen(0, 5, volume=Decimal(1)), "ETHUSDT": seen(0, 7, "ETHUSDT", volume=Decimal(2))}
    out = carry(owed, [seen(250, 6, volume=Decimal(3)), seen(260, 8, "SOLUSDT")])
    assert [(o.symbol, o.price, o.low, o.volume, o.gap) for o in out] == [
        ("ETHUSDT", 7, 7, 2, True),
        ("BTCUSDT", 6, 5, 4, True),
        ("SOLUSDT", 8, 8, 0, False),
    ]


def test_minted_events_keep_the_contract() -> None:
    """Events can be read back from their bytes; ids derive from run, venue, symbol and number, and time for ticks."""
    mint = Mint("run", "mexc_spot", base=10)
    batch = Batch(3, T0, "market_data", (seen(0, bid=Decimal(99), ask=Decimal(101), gap=True),))
    (event,) = mint.events(batch)
    assert isinstance(event, MarketData)
    assert (event.sequence, event.gap, event.venue) == (13, True, "mexc_spot")
    assert event.event_id == derive_id("run", "cdb_ws", "mexc_spot", "BTCUSDT", 13)
    assert parse_event("market_data", event.data) == event
    (tick,) = mint.events(Batch(4, T0, "tick"), pressure="entries")
    assert isinstance(tick, Control)
    assert tick.event_id == derive_id("run", "cdb_ws", "tick", T0)
    assert tick.details == {"pressure": "entries"}
    (end,) = mint.events(Batch(5, T0, "finished"))
    assert (end.action, end.producer) == ("finished", "cdb_ws")


@pytest.mark.parametrize(
    ("fields", "mark", "rate"),
    [
        ({"bid": Decimal(99), "ask": Decimal(102)}, Decimal("100.5"), None),
        ({"bid": Decimal(99), "ask": Decimal(102), "mark_price": Decimal(101)}, Decimal(101), None),
        ({"mark_price": Decimal(101), "funding_rate": Decimal("0.0001")}, Decimal(101), Decimal("0.0001")),
        ({"bid": Decimal(102), "ask": Decimal(99)}, None, None),
        ({}, None, None),
    ],
)
def test_a_perpetual_has_a_mark(fields: dict[str, Any], mark: Decimal | None, rate: Decimal | None) -> None:
    """Its own where the recording has it, else the mid of a valid quote; spot has neither mark nor funding."""
    batch = Batch(1, T0, "market_data", (seen(0, **fields),))
    (event,) = Mint("run", "mexc_perpetual").events(batch)
    assert isinstance(event, MarketData)
    assert (event.mark_price, event.funding_rate) == (mark, rate)
    (spot,) = Mint("run", "mexc_spot").events(batch)
    assert isinstance(spot, MarketData)
    assert (spot.mark_price, spot.funding_rate) == (None, None)


def test_minted_warmup_events_carry_the_bars() -> None:
    """Each part of the bars is an event with its venue and symbol, in order, with an id of its own."""
    bars = WarmupBars()
    for minute in range(130):
        bars.add(seen(minute * 60_000, minute + 1))
    events = Mint("run", "mexc_spot").events(Batch(1, T0, "warmup", bars=tuple(bars.chunks())))
    assert len({e.event_id for e in events}) == 2
    details = [parse_event("control", e.data).details for e in events]
    assert [(d["venue"], d["symbol"], len(d["bars"])) for d in details] == [
        ("mexc_spot", "BTCUSDT", 120),
        ("mexc_spot", "BTCUSDT", 10),
    ]
    assert details[0]["bars"][0] == [T0, 1, 1, 1, 1, 0]


def entry(n: int, cause: str, channel: str = "control", **fields: Any) -> Entry:
    """A journal entry of cdb_ws."""
    if channel == "control":
        event = Control(event_id=f"e{n}", timestamp=T0, producer="cdb_ws", service="cdb_ws", **fields)
    else:
        event = Mint("run", "mexc_spot").events(Batch(n, T0, "market_data", (seen(0),)))[0]
    return Entry(JournalId(1, n), channel, fields.get("producer", "cdb_ws"), cause, event.data)


def test_the_fold_knows_how_far_the_feed_is() -> None:
    """Numbers follow the causes; a new run or another recording begins at the number reached; repetitions do not."""
    fold = FeedFold()
    for one in (
        entry(1, "announce:1", action="started", run_id="a"),
        entry(2, "announce:1", action="config", details={"play": "p"}),
        entry(3, "feed:1", "market_data"),
        entry(4, "feed:2", action="tick"),
        entry(5, "feed:4", action="tick"),
        Entry(JournalId(1, 6), "control", "cdb_core", "announce:1", b"not looked at"),
    ):
        fold.fold(one)
    assert fold == FeedFold(runs=["a"], play="p", base=0, last=4, last_market=1)
    fold.fold(entry(7, "announce:2", action="started", run_id="a"))
    fold.fold(entry(8, "announce:2", action="config", details={"play": "p"}))
    assert (fold.base, fold.last_market) == (0, 1)
    fold.fold(entry(9, "announce:3", action="config", details={"play": "q"}))
    assert (fold.base, fold.last_market, fold.play) == (4, 4, "q")
    fold.fold(entry(10, "feed:5", action="tick"))
    fold.fold(entry(11, "announce:4", action="started", run_id="b"))
    assert (fold.base, fold.runs) == (5, ["a", "b"])
    assert FeedFold.restore(fold.dump()) == fold


@pytest.mark.parametrize("data", [b"", b"[]", b'{"runs":[]', b'{"other":1}', b'{"base":"1"}', b'{"last":null}'])
def test_what_is_no_fold_is_refused(data: bytes) -> None:
    """A damaged snapshot is told from a whole one."""
    with pytest.raises(StateMismatch):
        FeedFold.restore(data)
