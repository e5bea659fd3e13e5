"""Whatever the market does, and wherever the process is stopped, the signal engine keeps its promises."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from services.cdb_core.evaluation import Evaluation
from services.cdb_core.machine import CoreMachine
from services.common.events import MarketData, parse_event
from services.common.fixed_point import from_e8
from services.common.timestamps import MINUTE_US, SECOND_US, parse_timestamp
from tests.property.effort import examples
from tests.unit.core.core_desk import START_MINUTE, Desk, settings

pytestmark = [pytest.mark.unit, pytest.mark.signal]

INSTRUMENTS = (("mexc_spot", "BTCUSDT"), ("mexc_spot", "ETHUSDT"), ("mexc_perpetual", "BTCUSDT"))

which = st.integers(0, 2)
moves = st.integers(-40, 40)  # per mille from the price before
trades = st.tuples(st.just("trade"), which, moves, st.integers(0, 50), st.booleans())
swings = st.tuples(st.just("swing"), which, moves, st.integers(3, 12), st.integers(0, 9))
waits = st.tuples(st.just("wait"), st.one_of(st.integers(1, 90), st.integers(60, 400)))
ticks = st.tuples(st.just("tick"))
warmups = st.tuples(st.just("warmup"), which, st.integers(1, 6))
changes = st.tuples(st.just("settings"), st.integers(1, 5), st.booleans())
restarts = st.tuples(st.just("restart"))
steps = st.lists(
    st.one_of(swings, swings, swings, swings, trades, waits, ticks, warmups, changes, restarts),
    min_size=10,
    max_size=24,
)


def play(script: list[tuple[Any, ...]], *, restarting: bool = False, tick_sec: int | None = None) -> Desk:
    """Play a script of market moves.

    Args:
        script: the steps.
        restarting: let `restart` steps replace the machine by one restored from its dump.
        tick_sec: let the clock tick at every multiple of this while time passes.
    """
    desk = Desk(settings(SIGNAL_ALLOW_SHORT="true"))
    second, prices = 0, [Decimal(100)] * 3

    def trade(which: int, per_mille: int, volume: int, *, gap: bool) -> None:
        moved = max(prices[which] * (1000 + per_mille) / 1000, Decimal("0.01"))
        prices[which] = moved.quantize(Decimal("0.000001"))
        venue, symbol = INSTRUMENTS[which]
        desk.trade(0, prices[which], second=second, venue=venue, symbol=symbol, volume=Decimal(volume), gap=gap)

    def wait(seconds: int) -> None:
        nonlocal second
        if tick_sec is not None:
            for due in range((second // tick_sec + 1) * tick_sec, second + seconds + 1, tick_sec):
                desk.tick(0, due)
        second += seconds

    for step in script:
        match step:
            case ("trade", which, per_mille, volume, gap):
                trade(which, per_mille, volume, gap=gap)
            case ("swing", which, per_mille, there, back):
                for move in [per_mille] * there + [-per_mille] * back:
                    trade(which, move, 1, gap=False)
                    wait(60)
            case ("wait", seconds):
                wait(seconds)
            case ("tick",):
                desk.tick(0, second)
            case ("warmup", which, count):
                venue, symbol = INSTRUMENTS[which]
                minute = START_MINUTE + second // 60
                bars = [[(minute - back) * MINUTE_US, *[prices[which]] * 4, 1] for back in range(count, 0, -1)]
                desk.control(
                    "warmup",
                    START_MINUTE * MINUTE_US + second * SECOND_US,
                    details={"venue": venue, "symbol": symbol, "bars": bars},
                )
            case ("settings", lookback, volatile):
                multiple = "1" if volatile else "0"
                desk.configure(
                    settings(
                        SIGNAL_ALLOW_SHORT="true",
                        SIGNAL_LOOKBACK_MIN=lookback,
                        SIGNAL_VOL_MULT=multiple,
                        SIGNAL_VOL_WINDOW_MIN=6,
                    )
                )
            case ("restart",) if restarting:
                restored = CoreMachine()
                restored.restore(desk.machine.dump())
                desk.machine = restored
    return desk


@given(steps)
@profile(derandomize=True, max_examples=examples(15), deadline=None)
def test_a_restart_anywhere_changes_nothing(script: list[tuple[Any, ...]]) -> None:
    """Dumped and restored at any points, the machine gives the same signals, byte for byte, and the same state."""
    undisturbed, restarted = play(script), play(script, restarting=True)

    assert [signal.data for signal in restarted.signals] == [signal.data for signal in undisturbed.signals]
    assert restarted.machine.dump() == undisturbed.machine.dump()


@given(steps)
@profile(derandomize=True, max_examples=examples(25), deadline=None)
def test_entries_and_exits_alternate_and_entries_are_rested(script: list[tuple[Any, ...]]) -> None:
    """Per instrument: entry, exit, entry ...; two entries are at least the cooldown apart; spot is never short."""
    desk = play(script)

    for venue, symbol in INSTRUMENTS:
        own = [signal for signal in desk.signals if (signal.venue, signal.symbol) == (venue, symbol)]
        entries = [signal for signal in own if signal.intent == "entry"]
        bars = [parse_timestamp(signal.inputs["bar_close_time"]) for signal in entries]
        assert [signal.intent for signal in own] == ["entry", "exit"] * (len(own) // 2) + ["entry"] * (len(own) % 2)
        assert all(later - earlier >= 5 * MINUTE_US for earlier, later in itertools.pairwise(bars))
        for entry, leaving in zip(own[::2], own[1::2], strict=False):
            assert entry.signal_type != leaving.signal_type
        assert venue != "mexc_spot" or all(entry.signal_type == "buy" for entry in entries)


@given(steps)
@profile(derandomize=True, max_examples=examples(25), deadline=None)
def test_every_signal_keeps_the_rule_that_it_states(script: list[tuple[Any, ...]]) -> None:
    """An entry's own numbers satisfy |m| >= T and confidence = min(|m| / 2T, 1); every signal is canonical."""
    for signal in play(script).signals:
        assert parse_event("signals", signal.data).data == signal.data
        if signal.intent == "exit":
            assert signal.confidence == 1
            assert signal.inputs["triggers"]
            continue
        momentum, threshold = signal.inputs["momentum_pct"], signal.inputs["threshold_pct"]
        assert signal.pct_change == momentum
        assert abs(momentum) >= threshold > 0
        assert abs(signal.confidence - min(abs(momentum) / (2 * threshold), Decimal(1))) <= Decimal("0.00005")
        assert (signal.signal_type == "buy") is (momentum > 0)


@given(steps)
@profile(derandomize=True, max_examples=examples(25), deadline=None)
def test_bars_have_no_holes_and_lose_no_volume(script: list[tuple[Any, ...]]) -> None:
    """Evaluated minutes follow each other, and all that was traded stands in the open bar or in a closed one."""
    script = [("settings", 1_440, False), *(step for step in script if step[0] not in {"warmup", "settings"})]

    desk = play(script)

    for key, track in desk.machine.state.tracks.items():
        traded = sum(
            event.volume * event.price
            for event in (entry.event for entry in desk.entries)
            if isinstance(event, MarketData) and f"{event.venue}:{event.symbol}" == key
        )
        minutes = [Evaluation.from_row(row).minute for row in track.history]
        assert minutes == list(range(track.builder.minute - len(minutes), track.builder.minute))
        assert from_e8(track.windows.volume_sum_e8) + track.builder.value == traded


@pytest.mark.slow
@given(steps, st.sampled_from([1, 4, 20, 30]))
@profile(derandomize=True, max_examples=examples(15), deadline=None)
def test_how_often_the_clock_ticks_within_a_minute_never_matters(script: list[tuple[Any, ...]], tick_sec: int) -> None:
    """A clock of one tick a minute and a faster one give the same evaluations and signals at the same times."""
    script = [step for step in script if step[0] != "tick"]

    slow, fast = play(script, tick_sec=60), play(script, tick_sec=tick_sec)

    for venue, symbol in INSTRUMENTS:
        assert slow.machine.evaluations(venue, symbol) == fast.machine.evaluations(venue, symbol)
    assert [(s.timestamp, s.intent, s.inputs) for s in slow.signals] == [
        (s.timestamp, s.intent, s.inputs) for s in fast.signals
    ]
