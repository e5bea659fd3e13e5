"""The strategy with its defaults on the recorded crash of 2021-05-19."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from services.cdb_core.evaluation import Action
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.common.decimals import divide, truncate
from services.common.events import Signal
from services.common.fixed_point import to_e12
from services.common.timestamps import DAY_US, MINUTE_US, SECOND_US, day_of, format_timestamp, parse_timestamp
from tests.unit.core.core_desk import SPOT, START_MINUTE, Desk

pytestmark = [pytest.mark.unit, pytest.mark.signal]

CANDLES = Path(__file__).parents[3] / "backoffice" / "data" / "crash-2021-05-19_xbtusd_1m.csv.gz"
WARMUP_MIN = 780
CRASH_DAY = day_of(parse_timestamp("2021-05-19T00:00:00Z"))


def candles() -> Iterator[tuple[int, list[Decimal]]]:
    """Yield (start in microseconds, [open, high, low, close, volume])."""
    with gzip.open(CANDLES, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield int(row["ts_ms"]) * 1_000, [Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")]


def play(desk: Desk) -> None:
    """Warm up on the first 780 minutes, then play each candle as open, low, high, close with a tick at its end."""
    rows = list(candles())
    start_us = rows[0][0] + WARMUP_MIN * MINUTE_US
    desk.start("crash", start_us)
    desk.configure(CoreSettings())
    warm = [[at, *prices[:4], truncate(prices[4], 12)] for at, prices in rows if at < start_us]
    details: dict[str, Any] = {"venue": SPOT, "symbol": "BTCUSDT", "bars": warm}
    desk.control("warmup", start_us, service="cdb_ws", details=details)
    for at, (first, high, low, close, volume) in rows[len(warm) :]:
        minute = at // MINUTE_US - START_MINUTE
        quarter = truncate(divide(volume, Decimal(4)), 12)
        for offset, price in ((0, first), (15, low), (30, high), (59, close)):
            desk.trade(minute, price, timestamp=at + offset * SECOND_US, volume=quarter)
        desk.tick(minute + 1)


@pytest.fixture(scope="module")
def played() -> Desk:
    """Two days of the recording, played once."""
    desk = Desk(None)
    play(desk)
    return desk


def test_the_crash_day_has_four_long_trades_of_which_two_are_stopped(played: Desk) -> None:
    """The figures of the trading rules: on 2021-05-19 four entries, two of them ended by the stop."""
    crash = [signal for signal in played.signals if day_of(signal.timestamp) == CRASH_DAY]

    assert Counter((s.intent, s.signal_type) for s in crash) == {("entry", "buy"): 4, ("exit", "sell"): 4}
    assert [format_timestamp(s.timestamp)[11:16] for s in crash if s.intent == "entry"] == [
        "08:16",
        "12:33",
        "13:55",
        "17:03",
    ]
    assert sum("VIRTUAL_STOP" in s.inputs.get("triggers", []) for s in crash) == 2


def test_every_signal_can_be_recomputed_from_the_candles(played: Desk) -> None:
    """Momentum, price and threshold of each signal follow from the recorded closes alone, computed the plain way."""
    closes = {at: prices[3] for at, prices in candles()}
    assert played.signals
    for signal in played.signals:
        bar_us = parse_timestamp(signal.inputs["bar_close_time"]) - MINUTE_US
        squares = [
            float(closes[at] / closes[at - MINUTE_US] - 1) ** 2
            for at in range(bar_us - 719 * MINUTE_US, bar_us + MINUTE_US, MINUTE_US)
        ]
        threshold = max(0.004, 1.75 * (sum(squares) / 720 * 60) ** 0.5)

        assert signal.price == closes[bar_us]
        assert signal.pct_change == divide(closes[bar_us], closes[bar_us - 60 * MINUTE_US]) - 1
        assert float(signal.inputs["threshold_pct"]) == pytest.approx(threshold, rel=1e-9)
        assert signal.intent == "exit" or to_e12(signal.pct_change or Decimal(0)) >= to_e12(
            signal.inputs["threshold_pct"]
        )


def test_every_minute_of_both_days_was_evaluated(played: Desk) -> None:
    """One evaluation for each of the last 1440 minutes, in order, and the counts agree with the signals."""
    found = played.machine.evaluations(SPOT, "BTCUSDT")

    assert len(found) == DAY_US // MINUTE_US
    assert {later.minute - earlier.minute for earlier, later in pairwise(found)} == {1}
    assert sum(evaluation.action is not Action.NONE for evaluation in found) == 8


def test_a_second_machine_gives_the_same_bytes_from_the_same_entries(played: Desk) -> None:
    """Folding the journal again, with a restart in the middle, ends with the same signals and the same state."""
    machine, given = CoreMachine(), []
    for index, entry in enumerate(played.entries):
        given += [output.data for output in machine.handle(entry) if isinstance(output, Signal)]
        if index == len(played.entries) // 2:
            restarted = CoreMachine()
            restarted.restore(machine.dump())
            machine = restarted

    assert given == [signal.data for signal in played.signals]
    assert machine.dump() == played.machine.dump()
