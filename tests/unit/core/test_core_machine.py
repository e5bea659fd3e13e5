"""The signal engine as the journal sees it: entries in, signals out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_core.evaluation import Action, Reason
from services.cdb_core.machine import HISTORY_BARS, CoreMachine
from services.common.codec import decode, encode
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Signal, parse_event
from services.common.timestamps import MINUTE_US, format_timestamp
from tests.unit.core.core_desk import SPOT, START_MINUTE, Desk, settings

pytestmark = [pytest.mark.unit, pytest.mark.signal]


@pytest.fixture
def desk() -> Desk:
    """A configured machine (L = 3, fixed threshold 1 %) on a journal with a clock."""
    return Desk(settings())


def warmup(
    desk: Desk,
    first: int,
    closes: list[str],
    at: int,
    *,
    symbol: str = "BTCUSDT",
    producer: str = "cdb_ws",
    **changed: Any,
) -> None:
    """Append warm-up bars from minute `first`, sent at the beginning of minute `at`."""
    bars = [
        [(START_MINUTE + minute) * MINUTE_US, *[Decimal(close)] * 4, Decimal(1)]
        for minute, close in enumerate(closes, first)
    ]
    details = {"venue": SPOT, "symbol": symbol, "bars": bars} | changed
    desk.control("warmup", (START_MINUTE + at) * MINUTE_US, producer, service="cdb_ws", details=details)


def test_an_entry_signal_carries_the_numbers_that_made_it(desk: Desk) -> None:
    """One buy with intent entry: price, momentum, confidence 1 % / (2 * 1 %), the chain's ids and every input."""
    desk.play(0, ["100", "100", "100"])
    desk.trade(3, "101")
    chain = desk.entries[-1].event.event_id
    (signal,) = desk.tick(4)

    assert isinstance(signal, Signal)
    assert (signal.signal_type, signal.intent, signal.strategy) == ("buy", "entry", "momentum_v1")
    assert (signal.venue, signal.symbol, signal.price) == (SPOT, "BTCUSDT", Decimal(101))
    assert signal.pct_change == Decimal("0.01")
    assert signal.confidence == Decimal("0.5")
    assert signal.correlation_id == chain
    assert signal.causation_id == desk.entries[-1].event.event_id
    assert signal.timestamp == (START_MINUTE + 4) * MINUTE_US
    assert signal.producer == "cdb_core"
    assert signal.reason == "momentum 1.00 % over 3 min reaches the threshold of 1.00 %, 301 USDT traded"
    assert signal.inputs == {
        "bar_close_time": format_timestamp((START_MINUTE + 4) * MINUTE_US),
        "close": Decimal(101),
        "reference_close": Decimal(100),
        "lookback_min": 3,
        "momentum_pct": Decimal("0.01"),
        "threshold_pct": Decimal("0.01"),
        "volatility_pct": Decimal("0.005773502691"),  # sqrt(0.01^2 / 3), cut
        "volatility_bars": 3,
        "volume_usdt": Decimal(301),
        "threshold_floor_pct": Decimal("0.01"),
        "volatility_multiple": Decimal(0),
        "min_volume_usdt": Decimal(0),
    }


def test_an_exit_signal_says_what_ended_it(desk: Desk) -> None:
    """A sell with intent exit and confidence 1 names its triggers and the virtual position that it ends."""
    desk.play(0, ["100", "100", "100", "101"])

    (signal,) = desk.play(4, ["98.5"])

    assert (signal.signal_type, signal.intent, signal.confidence) == ("sell", "exit", Decimal(1))
    assert signal.reason == ("VIRTUAL_STOP, MOMENTUM_FADED: held 1 min since 101.0, momentum -1.50 %")
    found = {name: signal.inputs[name] for name in ("triggers", "entry_price", "entry_time", "held_min", "stop_price")}
    assert found == {
        "triggers": ["VIRTUAL_STOP", "MOMENTUM_FADED"],
        "entry_price": Decimal(101),
        "entry_time": format_timestamp((START_MINUTE + 4) * MINUTE_US),
        "held_min": 1,
        "stop_price": Decimal("98.98"),
    }


def test_confidence_grows_with_momentum_up_to_one(desk: Desk) -> None:
    """1.5 % against T = 1 % is 0.75; anything from 2 % on is 1."""
    other = Desk(settings())

    (three_quarters,) = desk.play(0, ["100", "100", "100", "101.5"])
    (full,) = other.play(0, ["100", "100", "100", "107"])

    assert three_quarters.confidence == Decimal("0.75")
    assert full.confidence == 1


def test_signals_are_canonical_events(desk: Desk) -> None:
    """What the machine gives can be journalled and is read back as the same event."""
    desk.play(0, ["100", "100", "100", "101", "98"])

    assert len(desk.signals) == 2
    for signal in desk.signals:
        again = parse_event("signals", signal.data)
        assert again.data == signal.data


def test_a_bar_closes_with_the_first_market_data_of_a_later_minute(desk: Desk) -> None:
    """Without a tick the next minute's market data decides on the bar, before it is taken into the new one."""
    for minute, price in enumerate(["100", "100", "100", "101"]):
        desk.trade(minute, price)
    entered_by = desk.entries[-1].event.event_id

    (signal,) = desk.trade(4, "200")

    assert isinstance(signal, Signal)
    assert signal.price == Decimal(101)
    assert signal.correlation_id == desk.entries[-1].event.event_id != entered_by


def test_ticks_within_a_minute_decide_nothing(desk: Desk) -> None:
    """A bar is decided on once, however often the clock ticks."""
    desk.play(0, ["100", "100", "100"])
    desk.trade(3, "101")

    given = [output for second in range(31, 60) for output in desk.tick(3, second)]
    given += desk.tick(4, 0) + desk.tick(4, 1) + desk.trade(4, "101", second=2) + desk.tick(4, 3)

    assert [type(output) for output in given] == [Signal]


def test_a_minute_without_trade_is_evaluated_on_the_previous_close(desk: Desk) -> None:
    """Silence of two minutes (the limit) is bars at the last price; momentum still moves with the reference."""
    desk.play(0, ["100", "100", "100.5", None, None])

    assert desk.evaluation().momentum_pct == Decimal("0.005")
    assert desk.evaluation().reasons == (Reason.BELOW_THRESHOLD,)


def test_a_long_silence_blocks_entries_until_the_lookback_is_clean(desk: Desk) -> None:
    """Three silent minutes (limit two): blocked through the silence and for L = 3 clean bars after it."""
    desk.play(0, ["100"] * 4 + [None] * 3 + ["101", "102", "103", "104"])

    reasons = [evaluation.reasons for evaluation in desk.machine.evaluations(SPOT, "BTCUSDT")]
    assert Reason.GAP not in reasons[5]
    assert all(Reason.GAP in found for found in reasons[6:9])
    assert [signal.price for signal in desk.signals] == [Decimal(103)]


def test_market_data_marked_with_a_gap_blocks_the_lookback(desk: Desk) -> None:
    """`gap` in bar 3: bars 3, 4 and 5 give no entry, bar 6 does."""
    desk.play(0, ["100", "100", "100"])
    desk.trade(3, "101", gap=True)
    desk.tick(4)

    signals = desk.play(4, ["102", "103", "104"])

    assert [signal.price for signal in signals] == [Decimal(104)]


def test_only_the_newest_bar_may_enter(desk: Desk) -> None:
    """When bars close late, after a stretch without clock and data, the older ones give no entry."""
    desk.play(0, ["100", "100", "100"])
    desk.trade(3, "101")

    (signal,) = desk.trade(5, "101")

    older, newest = desk.machine.evaluations(SPOT, "BTCUSDT")[-2:]
    assert older.reasons == (Reason.STALE_BAR,)
    assert newest.action is Action.ENTRY
    assert isinstance(signal, Signal)
    assert signal.inputs["bar_close_time"] == format_timestamp((START_MINUTE + 5) * MINUTE_US)


def test_a_late_bar_may_exit(desk: Desk) -> None:
    """An exit is never withheld for lateness."""
    desk.play(0, ["100", "100", "100", "101"])
    desk.trade(4, "99")

    given = desk.tick(7)

    assert [output.intent for output in given if isinstance(output, Signal)] == ["exit"]
    assert desk.machine.evaluations(SPOT, "BTCUSDT")[-3].action is Action.EXIT


def test_market_data_behind_the_clock_count_in_the_open_minute(desk: Desk) -> None:
    """A bar that was decided on is never changed: what comes late is part of the minute in which it came."""
    desk.play(0, ["100", "100", "100", "100"])
    desk.trade(3, "101", second=59)
    assert desk.evaluation().close == Decimal(100)

    (signal,) = desk.tick(5)

    assert isinstance(signal, Signal)
    assert signal.inputs["close"] == Decimal(101)
    assert signal.inputs["volume_usdt"] == Decimal(301)


def test_foreign_market_data_do_not_move_the_clock(desk: Desk) -> None:
    """Market data of another producer are folded like any other, and no bar closes by their timestamp."""
    desk.trade(0, "100", producer="cdb_core")
    desk.trade(30, "100", producer="somebody")

    assert desk.machine.evaluations(SPOT, "BTCUSDT") == []
    assert desk.tick(1) == []
    assert len(desk.machine.evaluations(SPOT, "BTCUSDT")) == 1


def test_symbols_that_are_not_listed_are_ignored(desk: Desk) -> None:
    """Neither market data nor warm-up of another symbol leave a trace."""
    desk.play(0, ["100", "100", "100", "200"], symbol="DOGEUSDT")
    warmup(desk, -5, ["100"] * 5, at=4, symbol="DOGEUSDT")

    assert desk.signals == []
    assert desk.machine.state.tracks == {}
    assert desk.machine.evaluations(SPOT, "DOGEUSDT") == []


def test_spot_and_perpetual_of_one_name_never_merge(desk: Desk) -> None:
    """Each instrument has its own bars and its own position."""
    for minute, price in enumerate(["100", "100", "100", "101"]):
        desk.trade(minute, price)
        desk.trade(minute, "100", venue="mexc_perpetual", second=40)
        desk.tick(minute + 1)

    assert [signal.venue for signal in desk.signals] == [SPOT]
    assert desk.evaluation(venue="mexc_perpetual").momentum_pct == 0


def test_a_short_on_the_perpetual_is_sold_and_bought_back() -> None:
    """With SIGNAL_ALLOW_SHORT an entry on falling momentum is a sell, its exit a buy."""
    desk = Desk(settings(SIGNAL_ALLOW_SHORT="true"))

    desk.play(0, ["100", "100", "100", "99", "102"], venue="mexc_perpetual")

    assert [(s.signal_type, s.intent) for s in desk.signals] == [("sell", "entry"), ("buy", "exit")]
    assert desk.signals[1].inputs["stop_price"] == Decimal("100.98")


def test_an_unconfigured_machine_is_silent() -> None:
    """Before its own config event the machine folds the clock only."""
    desk = Desk(None)

    desk.play(0, ["100", "100", "100", "101"])

    assert desk.signals == []
    assert desk.machine.summary()["instruments"] == {}


def test_warmup_bars_fill_the_windows_and_are_never_decided_on(desk: Desk) -> None:
    """Rising warm-up bars give no signal; the first live bar after them is warm."""
    warmup(desk, -3, ["100", "105", "110"], at=0)
    assert desk.machine.evaluations(SPOT, "BTCUSDT") == []

    (signal,) = desk.play(0, ["111"])

    assert signal.pct_change == Decimal("0.11")
    assert signal.inputs["reference_close"] == Decimal(100)
    assert signal.inputs["volume_usdt"] == 105 + 110 + 111  # one base unit in each of the last three bars


def test_warmup_bars_alone_give_no_entry(desk: Desk) -> None:
    """Before the first market data of the run a tick decides on nothing that could enter."""
    warmup(desk, -4, ["100", "100", "100", "105"], at=0)

    assert desk.tick(1) == []
    assert desk.evaluation().reasons == (Reason.WARMING_UP,)


def test_repeated_warmup_changes_nothing(desk: Desk) -> None:
    """Bars that are already known are passed over."""
    warmup(desk, -3, ["100", "105", "110"], at=0)
    before = decode(desk.machine.dump())["state"]

    warmup(desk, -3, ["1", "2", "3"], at=0)

    assert decode(desk.machine.dump())["state"] == before


def test_warmup_after_an_interruption_fills_what_was_missed(desk: Desk) -> None:
    """Bars that are newer than the open minute replace it and what follows; older ones are passed over."""
    desk.play(0, ["100", "100"])
    desk.trade(2, "100")

    warmup(desk, 1, ["1", "101", "102", "103"], at=5)
    desk.trade(5, "103")
    desk.tick(6)

    found = desk.evaluation()
    assert (found.minute - START_MINUTE, found.momentum_pct) == (5, Decimal("0.019801980198"))  # 103 / 101 - 1
    assert found.action is Action.ENTRY


def test_missing_warmup_minutes_are_filled_and_a_long_hole_is_a_gap(desk: Desk) -> None:
    """Two missing minutes are bars at the last close; three (over the limit) make the lookback unclean."""
    hole = Desk(settings())
    for each, second_part in ((desk, -2), (hole, -1)):
        warmup(each, -5, ["100"], at=0)
        warmup(each, second_part, ["100"] * -second_part, at=0)
        each.play(0, ["102"])

    assert [signal.intent for signal in desk.signals] == ["entry"]
    assert hole.signals == []
    assert hole.evaluation().reasons == (Reason.GAP,)


@pytest.mark.parametrize(
    "changed",
    [{"venue": "nasdaq"}, {"symbol": 7}, {"symbol": "€"}, {"bars": [[1, 2]]}, {"bars": None}],
)
def test_a_warmup_event_that_cannot_be_read_is_a_fault(desk: Desk, changed: dict[str, Any]) -> None:
    """A malformed warm-up stops the machine instead of leaving it half warm."""
    with pytest.raises(ContractViolation):
        warmup(desk, -3, ["100", "100", "100"], at=0, **changed)


def test_an_empty_warmup_leaves_no_trace(desk: Desk) -> None:
    """An instrument without bars is not known yet."""
    warmup(desk, 0, [], at=0)

    assert desk.machine.state.tracks == {}


def test_only_cdb_ws_ticks(desk: Desk) -> None:
    """A tick of anyone else closes no bar, whatever time it names."""
    desk.trade(0, "100")

    desk.control("tick", (START_MINUTE + 9) * MINUTE_US, producer="operator")

    assert desk.machine.evaluations(SPOT, "BTCUSDT") == []


def test_only_cdb_ws_warms_up(desk: Desk) -> None:
    """Warm-up bars of anyone else leave no trace: they would move thresholds without a record of the feed."""
    warmup(desk, -3, ["100", "105", "110"], at=0, producer="operator")

    assert desk.machine.state.tracks == {}


def test_other_control_events_are_passed_over(desk: Desk) -> None:
    """Halting is risk's business: the intents of the strategy do not depend on it."""
    desk.play(0, ["100", "100", "100"])
    desk.control("halt", (START_MINUTE + 3) * MINUTE_US, producer="operator", by="me", reason="lunch")
    desk.control("finished", (START_MINUTE + 3) * MINUTE_US)

    assert len(desk.play(3, ["101"])) == 1


def test_a_new_run_starts_from_nothing(desk: Desk) -> None:
    """A `started` of cdb_ws with another run id forgets bars and position and keeps the settings."""
    desk.play(0, ["100", "100", "100", "101"])

    desk.start("run-2")
    assert desk.machine.state.tracks == {}
    signals = desk.play(0, ["100", "100", "100", "101"])

    assert [signal.intent for signal in signals] == ["entry"]
    assert signals[0].event_id != desk.signals[0].event_id


def test_changed_settings_take_effect_with_the_next_bar(desk: Desk) -> None:
    """A shorter lookback uses the bars that are there; a longer one waits for those that are missing."""
    desk.play(0, ["100", "100", "100", "100", "100"])
    desk.configure(settings(SIGNAL_LOOKBACK_MIN=1))
    (signal,) = desk.play(5, ["101"])
    assert signal.inputs["reference_close"] == Decimal(100)

    desk.configure(settings(SIGNAL_LOOKBACK_MIN=4))
    desk.play(6, ["200"])

    assert desk.evaluation().momentum_pct is None
    assert desk.machine.summary()["instruments"]["mexc_spot:BTCUSDT"]["warmup_left_bars"] == 2


def test_a_symbol_taken_out_is_still_exited_and_never_entered(desk: Desk) -> None:
    """Taken out of SYMBOLS while held, the position is watched to its exit; then nothing is entered."""
    desk.play(0, ["100", "100", "100", "101"])
    desk.configure(settings(SYMBOLS="ETHUSDT"))

    signals = desk.play(4, ["100", "100", "100", *["100"] * 10, "105"])

    assert [signal.intent for signal in signals] == ["exit"]
    assert desk.evaluation().reasons == (Reason.NOT_IN_SYMBOLS,)


def test_history_is_kept_for_a_day(desk: Desk) -> None:
    """The last 1440 evaluated bars are there for `explain --why-not`, and no more."""
    desk.trade(0, "100")
    desk.play(1, ["100"] + [None] * (HISTORY_BARS + 9))

    found = desk.machine.evaluations(SPOT, "BTCUSDT")

    assert len(found) == HISTORY_BARS
    assert [evaluation.minute - START_MINUTE for evaluation in (found[0], found[-1])] == [11, 1450]


def test_summary_says_why_there_is_no_trade_now(desk: Desk) -> None:
    """Before the first bar, while flat, and while held: numbers, what is missing, and one readable line."""
    desk.trade(0, "100")
    fresh = desk.machine.summary()["instruments"]["mexc_spot:BTCUSDT"]
    desk.tick(1)
    desk.play(1, ["100", "100", "100.6"])
    flat = desk.machine.summary()["instruments"]["mexc_spot:BTCUSDT"]
    desk.play(4, ["101"])
    held = desk.machine.summary()

    assert fresh["last_bar"] is None
    assert fresh["why"] == "no bar has been evaluated yet"
    assert fresh["warmup_left_bars"] == 4
    assert flat["why"] == "m 0.60 %, T 1.00 %, 60 % of the way: BELOW_THRESHOLD"
    assert flat["position"] is None
    assert flat["armed"]
    assert held["now"] == format_timestamp((START_MINUTE + 5) * MINUTE_US)
    found = held["instruments"]["mexc_spot:BTCUSDT"]
    assert (found["entries"], found["exits"], found["armed"], found["cooldown_left_min"]) == (1, 0, False, 4)
    assert found["position"] == {
        "direction": "long",
        "entry_price": Decimal(101),
        "entry_time": format_timestamp((START_MINUTE + 5) * MINUTE_US),
        "stop_price": Decimal("98.98"),
        "held_min": 0,
        "hold_left_min": 20,
    }
    assert decode(encode(held))["strategy"] == "momentum_v1"


def test_summary_counts_down_a_gap(desk: Desk) -> None:
    """After market data with a gap, L = 3 clean minutes are missing, then two, one, none."""
    desk.trade(0, "100", gap=True)
    left = []
    for minute in range(1, 5):
        desk.tick(minute)
        left.append(desk.machine.summary()["instruments"]["mexc_spot:BTCUSDT"]["gap_left_min"])
        desk.trade(minute, "100")

    assert left == [3, 2, 1, 0]


def test_summary_before_the_clock() -> None:
    """A machine that has seen nothing has a summary too."""
    assert CoreMachine().summary() == {"strategy": "momentum_v1", "now": None, "instruments": {}}


def test_a_restored_machine_goes_on_as_if_never_stopped(desk: Desk) -> None:
    """Dumped while holding a position, the restored machine exits with the same bytes."""
    desk.play(0, ["100", "100", "100", "101"])
    restored = CoreMachine()
    restored.restore(desk.machine.dump())
    desk.play(4, ["98"])

    again = [output.data for entry in desk.entries[-2:] for output in restored.handle(entry)]

    assert again == [desk.signals[-1].data]
    assert restored.dump() == desk.machine.dump()


def test_an_unconfigured_machine_can_be_restored() -> None:
    """A snapshot taken before the first config event is a state like any other."""
    desk = Desk(None)
    restored = CoreMachine()

    restored.restore(desk.machine.dump())

    assert restored.dump() == desk.machine.dump()


def test_a_foreign_state_is_refused(desk: Desk) -> None:
    """A state of another shape is no state of this machine."""
    with pytest.raises(StateMismatch):
        desk.machine.restore(encode({"fold": {}, "state": {"tracks": []}}))


@pytest.mark.parametrize(
    "prices",
    [
        ["0.000000000000000001", "9999999999", "0.000000000000000001", "9999999999", "0.000000000000000001"],
        ["9999999999.999999999999999999"] * 5,
        ["0.000000000000000001", "0.000000000000000001", "0.000000000000000001", "0.000000000000000002", "1"],
    ],
)
def test_absurd_prices_neither_stop_the_machine_nor_leave_the_wire(prices: list[str]) -> None:
    """The smallest and largest prices that a message can carry give signals that can be journalled."""
    desk = Desk(settings(SIGNAL_VOL_MULT="10", SIGNAL_VOL_WINDOW_MIN=3, SIGNAL_MAX_HOLD_MIN=1))

    desk.play(0, prices * 4, volume=Decimal(9999999999))

    assert all(signal.data for signal in desk.signals)
    assert encode(desk.machine.summary())
