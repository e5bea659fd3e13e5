"""The books behind the statistics: they balance to the last digit, and round trips are what they say."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from claire.statistics import StatisticsCollector, write_equity_csv, write_trades_csv
from claire.statistics.definitions import BY_NAME
from services.common.events import Order
from services.common.timestamps import MINUTE_US
from tests.unit.statistics.story_statistics import of
from tests.unit.writer.journal_story import CASH, Story, tell

pytestmark = pytest.mark.unit

D = Decimal


def begun() -> Story:
    """A story in which bitcoin is quoted at 40000."""
    story = Story()
    story.begin()
    story.tick()
    story.quote(D(40_000))
    return story


def trade(story: Story, side: str, quantity: str, price: str, *, mid: str | None = None, **fields: Any) -> Order:
    """Order at a mid, and fill at a price a second later."""
    order = story.order(D(quantity), D(mid or price), side)
    story.tick()
    story.fill(order, D(quantity), D(price), **fields)
    return order


@pytest.mark.parametrize("seed", range(12))
def test_the_parts_add_up_to_the_last_digit(seed: int) -> None:
    """Price, slippage, fees and funding are the net PnL; it is what equity gained; round trips and the rest are it."""
    found = of(tell(seed, 600))

    equity = found.portfolio["equity"]
    assert found.values["net_pnl"] == sum(found.pnl_split.values()) == equity - CASH
    assert found.values["fees"] == found.portfolio["fees"]
    assert found.fills, "the story trades"
    if not found.portfolio["positions"]:
        assert sum(trip.net for trip in found.round_trips) == equity - CASH


def test_a_round_trip_is_net_of_fees_and_knows_its_slippage() -> None:
    """Bought at 40010 (mid 40000), sold at 40500 (mid 40520): 490 gross, 5 bp of fees a side, 10 + 20 of slippage."""
    story = begun()
    trade(story, "BUY", "1", "40010", mid="40000")
    story.tick(600)
    trade(story, "SELL", "1", "40500", mid="40520")

    (trip,) = of(story).round_trips

    assert (trip.gross, trip.fees, trip.slippage) == (D(490), D("40.255"), D(30))
    assert trip.net == D("449.745")
    assert (trip.direction, trip.exit_purpose) == ("long", "exit")
    assert (trip.entry_price, trip.exit_price) == (D(40010), D(40500))
    assert trip.minutes == D(601) / 60 or abs(trip.minutes - D(601) / 60) < D("0.00001")


def test_partial_fills_are_one_round_trip() -> None:
    """Two entry fills and two exits make one round trip with average prices."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    trade(story, "BUY", "1", "40100")
    trade(story, "SELL", "0.5", "40200")
    trade(story, "SELL", "1.5", "40400")

    (trip,) = of(story).round_trips

    assert (trip.quantity, trip.entry_price, trip.exit_price) == (D(2), D(40050), D(40350))
    assert trip.gross == D(600)


def test_excursions_are_the_worst_and_best_open_result() -> None:
    """Bought at 40000; the mid goes to 39000, then to 40700, and it is sold at 40500."""
    story = begun()
    trade(story, "BUY", "2", "40000")
    for price in (39_000, 40_700):
        story.tick()
        story.quote(D(price))
    trade(story, "SELL", "2", "40500")

    found = of(story)

    (trip,) = found.round_trips
    assert (trip.adverse, trip.favourable) == (D(-2000), D(1400))
    assert found.values["mae_pct"] == D("-0.025")
    assert found.values["mfe_pct"] == D("0.0175")


def test_a_fee_in_base_coin_leaves_dust_and_ends_the_round_trip() -> None:
    """A fee of 0.0000004 BTC leaves less than a lot: the trip ends, the dust is valued, and the books balance."""
    story = begun()
    order = story.order(D("0.01"), D(40_000), "BUY")
    story.tick()
    story.fill(order, D("0.01"), D(40_000), fee=D("0.0000004"), fee_currency="BTC")
    trade(story, "SELL", "0.009999", "41000")

    found = of(story)

    (trip,) = found.round_trips
    assert trip.fees == D("0.0000004") * 40_000 + D("0.009999") * 41_000 * D("0.0005")
    assert found.values["net_pnl"] == sum(found.pnl_split.values()) == found.portfolio["equity"] - CASH
    mark_off = (D("0.01") - D("0.0000004") - D("0.009999")) * (D(41_000) - D(40_000))
    assert trip.net - mark_off == found.values["net_pnl"]


def test_a_repeated_result_changes_nothing() -> None:
    """The same fill observed twice is booked once."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    once = of(story)
    story.entries.append(story.entries[-1])

    again = of(story)

    assert (again.values["fills"], again.portfolio["cash"]) == (once.values["fills"], once.portfolio["cash"])


def test_asking_changes_nothing() -> None:
    """A result in the middle leaves the final one as it would have been."""
    story = tell(3, 300)
    collector = StatisticsCollector()
    for place, entry in enumerate(story.entries):
        collector.observe(entry)
        if place % 50 == 0:
            collector.result()

    assert collector.result() == of(story)


def test_a_new_run_begins_anew_and_a_restart_goes_on() -> None:
    """The last run counts; a second `started` of the same run keeps its books."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    story.begin()
    assert of(story).values["fills"] == 1

    other = tell(5, 50, run_id="run-2", first=len(story.entries) + 1, start=story.now + MINUTE_US)
    story.entries += other.entries
    found = of(story)

    assert found.run_id == "run-2"
    assert found.events["control"] <= 50


def test_what_has_too_little_data_is_named_instead_of_shown() -> None:
    """A few minutes have no Sharpe ratio and no win rate; the reason says what is needed and what is there."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    trade(story, "SELL", "1", "40100")

    found = of(story)

    for name, definition in BY_NAME.items():
        if definition.days or definition.trades:
            assert found.values[name] is None
            assert "needs 30" in found.not_shown[name]
    assert found.not_shown["sharpe"] == "needs 30 days (has 1) and 30 round trips (has 1)"
    assert found.values["wins"] == 1


def test_every_definition_has_a_value_or_a_reason_even_without_events() -> None:
    """Before anything happened nothing fails: a value or a reason for each name of the table."""
    found = StatisticsCollector().result()

    assert set(found.values) == set(BY_NAME)
    assert {name for name, value in found.values.items() if value is None} == set(found.not_shown)
    assert all(found.not_shown.values())


def test_time_in_market_and_pauses() -> None:
    """Half an hour of an hour in the market is a half; a jump of days between recordings is no time at all."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    for _ in range(30):
        story.tick(60)
    trade(story, "SELL", "1", "40000")
    for _ in range(30):
        story.tick(60)
    story.tick(5 * 86_400)

    found = of(story)

    assert found.values["time_in_market_pct"] == pytest.approx(D("0.5"), abs=D("0.001"))
    assert found.days == pytest.approx(D(3603) / 86_400, abs=D("0.0001"))


def test_signal_to_fill_fill_ratio_and_maker_share() -> None:
    """Filled a second after the signal, half of the second order's value, one of two fills as maker."""
    story = begun()
    trade(story, "BUY", "1", "40000", liquidity="maker")
    half = story.order(D(1), D(40_000), "SELL")
    story.tick(3)
    story.fill(half, D("0.5"), D(40_000), status="PARTIALLY_FILLED")
    story.result(half, "CANCELED", D("0.5"), average_price=D(40_000), reason="REMAINDER")

    values = of(story).values

    assert values["signal_to_fill_ms"] == 2000
    assert values["fill_ratio_pct"] == D("0.75")
    assert values["maker_share_pct"] == pytest.approx(D(2) / 3, abs=D("1e-9"))
    assert (values["orders"], values["fills"]) == (2, 2)


def test_tables_have_a_row_a_minute_and_every_trade(tmp_path: Path) -> None:
    """`equity.csv` has one row a minute with data; `trades.csv` sums to the net PnL."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    for _ in range(5):
        story.tick(60)
    trade(story, "SELL", "1", "40100")
    found = of(story)

    write_equity_csv(found, tmp_path / "equity.csv")
    write_trades_csv(found, tmp_path / "trades.csv")

    with (tmp_path / "equity.csv").open() as file:
        equity = list(csv.DictReader(file))
    assert len(equity) == len(found.curve.times) == 7
    assert D(equity[-1]["equity"]) == found.portfolio["equity"]
    with (tmp_path / "trades.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["fill", "fill", "round_trip"]
    assert D(rows[-1]["net"]) == found.values["net_pnl"]


def test_a_sample_is_what_was_known_at_the_end_of_its_minute() -> None:
    """A mark at 23:42:10 does not change what is sampled for 23:41; a minute without events has no sample."""
    story = begun()
    trade(story, "BUY", "1", "40000")
    begins = story.now // MINUTE_US * MINUTE_US
    story.now = begins + 50_000_000
    story.quote(D(40_000))
    story.now = begins + 2 * MINUTE_US + 10_000_000
    story.quote(D(39_000))
    story.tick()

    curve = of(story).curve

    assert list(curve.times)[-2:] == [begins + MINUTE_US, begins + 2 * MINUTE_US + 11_000_000]
    assert curve.equity[-2:] == [CASH - 20, CASH - 1020]
    assert list(curve.prices["mexc_spot:BTCUSDT"])[-2:] == [40_000.0, 39_000.0]
