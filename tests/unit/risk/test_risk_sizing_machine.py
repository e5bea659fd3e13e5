"""Sizing inside the machine: estimated from what it saw, recorded with each decision, restored to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common import channels
from services.common.events import Control
from services.common.timestamps import MINUTE_US
from tests.unit.risk.risk_desk import BTC, SPOT, START_US, RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]

MINUTE_MS = 60_000


def warm(desk: RiskDesk, bars: list[tuple[int, str, str, str]], producer: str = channels.WS, **more: Any) -> None:
    """Send warm-up bars (minute before the desk's start, high, low, close)."""
    rows = [
        [START_US - before * MINUTE_US, Decimal(close), Decimal(high), Decimal(low), Decimal(close), Decimal(1)]
        for before, high, low, close in bars
    ]
    details = {"venue": SPOT, "symbol": "BTCUSDT", "bars": rows} | more
    event = Control(
        event_id=f"warmup-{len(desk.entries)}", timestamp=START_US, producer=producer,
        action="warmup", service=producer, details=details,
    )  # fmt: skip
    desk.append(event)


def minutes(desk: RiskDesk, count: int, first: int = 0) -> None:
    """Quote BTC once a minute, 50 000 and 50 500 in turn."""
    for minute in range(first, first + count):
        mid = 50_000 + 500 * (minute % 2)
        desk.quote(mid - 1, mid + 1, at_ms=minute * MINUTE_MS)


def test_a_size_from_the_volatility_that_risk_saw() -> None:
    """240 returns of about 1 % are 721 % a year: 100 000 * 0.04 / 7.21 = 554 USDT; every input is recorded."""
    desk = RiskDesk(SIZING_METHOD="volatility_targeting")
    minutes(desk, 241)
    desk.tick(241 * MINUTE_MS)
    desk.quote("49999", "50001")

    decision = desk.signal()

    assert decision.approved, decision.layers
    assert decision.sizing.method == "volatility_targeting"
    inputs = decision.sizing.inputs
    assert inputs["volatility"] == inputs["asset_vol"] == Decimal("7.214026627228")
    assert (inputs["seen"], inputs["needed"]) == (240, 240)
    assert inputs["notional"] == Decimal("554.475358449988")
    assert desk.orders[-1].quantity == Decimal("0.011089")


def test_one_return_too_few_is_no_size() -> None:
    """239 returns: refused by layer 2 alone, with the count, and requested is zero."""
    desk = RiskDesk(SIZING_METHOD="volatility_targeting")
    minutes(desk, 240)
    desk.tick(240 * MINUTE_MS)
    desk.quote("49999", "50001")

    decision = desk.signal()

    assert (decision.approved, decision.reason, decision.sizing.requested) == (False, "position_limits", 0)
    found = layer(decision, "position_limits")
    assert (found.code, found.value, found.limit) == ("SIZING_INPUT_UNKNOWN", 239, 240)
    assert found.detail == "size is zero: volatility is not known, 239 of 240 one-minute returns"
    assert decision.sizing.inputs["volatility"] is None


def test_a_quiet_market_asks_for_more_than_the_limit_and_is_capped() -> None:
    """The floor of 20 % asks for 20 000 USDT; layer 2 leaves 10 % of equity, and the decision says so."""
    desk = RiskDesk(SIZING_METHOD="volatility_targeting")
    warm(desk, [(before, "50000", "50000", "50000") for before in range(241, 0, -1)])
    desk.quote()

    decision = desk.signal()

    assert decision.approved
    assert decision.sizing.inputs["notional"] == 20_000
    assert decision.sizing.capped_by == "position_limits"
    assert decision.sizing.approved == Decimal("0.199497")


def test_warmup_is_read_by_sizing_and_by_nothing_else() -> None:
    """Warm-up bars leave no quote, mark, volume or position behind."""
    desk = RiskDesk()
    before = desk.machine.state
    warm(desk, [(2, "51000", "49000", "50000"), (1, "51000", "49000", "50500")])

    assert (before.market, before.account.portfolio.marks, desk.outputs[1:]) == ({}, {}, [])
    assert desk.machine.state.estimators[BTC].returns.close == 50_500
    assert layer(desk.signal(), "data_quality").code == "MARKET_DATA_MISSING"


@pytest.mark.parametrize(("producer", "symbol"), [(channels.OPERATOR, "BTCUSDT"), (channels.WS, "DOGEUSDT")])
def test_warmup_of_others_is_passed_over(producer: str, symbol: str) -> None:
    """Neither another producer's bars nor those of an instrument without a grid are estimated from."""
    desk = RiskDesk()
    warm(desk, [(1, "51000", "49000", "50000")], producer, symbol=symbol)

    assert desk.machine.state.estimators == {}


def test_a_size_from_the_true_range() -> None:
    """One-minute bars of 600 and 400: ATR 500, so 100 000 * 0.0015 / (2 * 500) = 0.15 BTC; the stop stays at 2 %."""
    desk = RiskDesk(SIZING_METHOD="atr_based", ATR_BAR_MIN=1, ATR_PERIOD=2)
    warm(desk, [(2, "50300", "49700", "50000"), (1, "50200", "49800", "50000")])
    desk.quote()

    decision = desk.signal()

    assert decision.approved
    assert decision.sizing.method == "atr_based"
    assert decision.sizing.requested == Decimal("0.15")
    assert decision.sizing.inputs["atr"] == 500
    desk.result(desk.orders[-1], price=50_000)
    assert desk.machine.summary()["positions"][0]["stop_price"] == 49_000


def test_the_true_range_is_unknown_before_its_bars_are_there() -> None:
    """Nothing seen at all: 0 of 14 bars of an hour."""
    desk = RiskDesk(SIZING_METHOD="atr_based")
    desk.quote()

    detail = layer(desk.signal(), "position_limits").detail

    assert detail == "size is zero: atr is not known, 0 of 14 bars of 60 min"


def trip(desk: RiskDesk, exit_price: int, **fields: Any) -> None:
    """Give one virtual round trip of a long from 50 000; risk may say to it what it likes."""
    desk.tick()
    desk.quote()
    desk.signal(**fields)
    desk.exit(price=exit_price, **fields)


def test_kelly_sizes_from_intents_that_risk_refused_itself() -> None:
    """The first thirty entries have no size and are refused; from their prices comes the size of the next."""
    desk = RiskDesk(SIZING_METHOD="kelly_criterion", ENTRY_SPACING_SEC=0, MAX_ENTRIES_PER_MINUTE=1000)
    for number in range(30):
        trip(desk, 51_000 if number % 2 else 49_500)
    assert not any(decision.approved for decision in desk.decisions)
    assert layer(desk.decisions[-2], "position_limits").detail.endswith("29 of 30 round trips")

    decision = desk.signal()

    # net of fees: + 0.02 - 0.00101 = 0.01899 and - 0.01 - 0.000995 = - 0.010995; f = 0.5 - 0.5 * 0.010995 / 0.01899
    assert decision.approved, decision.layers
    assert decision.sizing.inputs["win_rate"] == Decimal("0.5")
    assert (decision.sizing.inputs["avg_win"], decision.sizing.inputs["avg_loss"]) == (
        Decimal("0.01899"),
        Decimal("0.010995"),
    )
    assert decision.sizing.inputs["kelly"] == Decimal("0.2105055292260")
    assert decision.sizing.inputs["notional"] == Decimal("5262.63823065")


def test_kelly_without_an_edge_blocks() -> None:
    """Thirty round trips that only paid fees: KELLY_NON_POSITIVE, and nothing else in layer 2."""
    desk = RiskDesk(SIZING_METHOD="kelly_criterion")
    for _ in range(30):
        trip(desk, 50_000)
    desk.tick()

    decision = desk.signal()

    assert not decision.approved
    assert layer(decision, "position_limits").code == "KELLY_NON_POSITIVE"
    assert "also" not in layer(decision, "position_limits").detail


def test_signals_of_others_are_no_round_trips() -> None:
    """What an operator publishes as a signal says nothing about the strategy."""
    desk = RiskDesk()
    trip(desk, 51_000, producer="operator")

    assert list(desk.machine.state.virtual_trips.nets_e12) == []
    assert desk.machine.state.virtual_trips.open == {}


@pytest.mark.parametrize("method", ["volatility_targeting", "atr_based", "kelly_criterion"])
def test_estimates_survive_a_restart_before_every_entry(method: str) -> None:
    """A machine that is dumped and restored all the time ends with the same bytes and the same decisions."""
    changed = {"SIZING_METHOD": method, "ATR_BAR_MIN": 3, "ATR_PERIOD": 3}
    steady, restarting = RiskDesk(**changed), RiskDesk(restarting=True, **changed)
    for desk in (steady, restarting):
        warm(desk, [(before, "50007.5", "49990.25", f"5000{before % 7}.125") for before in range(250, 0, -1)])
        minutes(desk, 15)
        desk.tick(15 * MINUTE_MS)
        desk.signal()
        desk.exit(price=50_500)

    assert steady.machine.dump() == restarting.machine.dump()
    assert [event.data for event in steady.outputs] == [event.data for event in restarting.outputs]


def test_status_shows_what_sizing_would_use_and_what_it_lacks() -> None:
    """Volatility and range with how many observations of how many there are, whatever the method."""
    desk = RiskDesk(ATR_BAR_MIN=1, ATR_PERIOD=2)
    warm(desk, [(before, "50300", "49700", "50000") for before in range(2, 0, -1)])

    assert desk.machine.summary()["sizing"] == {
        "method": "fixed_fractional",
        "instruments": {BTC: {"volatility": None, "returns": "1 of 240", "atr": 600, "atr_bars": "2 of 2"}},
        "win_rate": None,
        "avg_win": None,
        "avg_loss": None,
        "round_trips": "0 of 30",
    }
