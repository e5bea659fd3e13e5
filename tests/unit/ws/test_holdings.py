"""What is held keeps its market data, whether it is chosen, named or neither."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_ws.fold import FeedFold
from services.cdb_ws.holdings import REMEMBERED, Holdings
from services.common.channels import EXECUTION
from services.common.errors import StateMismatch
from services.common.events import Control, OrderResult
from services.common.journal.entry import Entry, JournalId
from tests.unit.ws.live_desk import LiveDesk, spot_row
from tests.unit.ws.sandbox_rig import SandboxRig

pytestmark = pytest.mark.unit


def result(order_id: str, side: str, status: str, filled: str, **fields: Any) -> Entry:
    """An order result in the journal."""
    values = {
        "event_id": f"{order_id}-{status}-{filled}", "timestamp": 0, "producer": EXECUTION, "order_id": order_id,
        "client_order_id": "c", "venue": "mexc_spot", "symbol": "BTCUSDT", "quantity": Decimal(9),
    }  # fmt: skip
    made = OrderResult(**(values | {"side": side, "status": status, "filled_quantity": Decimal(filled)} | fields))
    return Entry(JournalId(1, 1), made.channel, EXECUTION, "x:1", made.data)


def fact(action: str, **details: Any) -> Entry:
    """A control event of execution in the journal."""
    event = Control(
        event_id=action, timestamp=0, producer=EXECUTION, service=EXECUTION, action=action, details=details  # type: ignore[arg-type]
    )  # fmt: skip
    return Entry(JournalId(1, 1), "control", EXECUTION, "x:1", event.data)


def test_holdings_are_a_fold_of_fills_fees_adjustments_and_liquidations() -> None:
    """Cumulative quantities count once; fees in base coin are taken off; what is flat is forgotten."""
    fold = FeedFold()
    fold.fold(result("a", "BUY", "SUBMITTING", "0"))
    assert fold.holdings.of("mexc_spot") == {"BTCUSDT": None}
    for entry in (
        result("a", "BUY", "PARTIALLY_FILLED", "2"),
        result("a", "BUY", "PARTIALLY_FILLED", "2"),
        result("a", "BUY", "FILLED", "3", fee=Decimal("0.01"), fee_currency="BTC"),
        result("b", "SELL", "FILLED", "1", fee=Decimal("0.5"), fee_currency="USDT"),
        result("p", "SELL", "FILLED", "4", venue="mexc_perpetual", symbol="ETHUSDT"),
    ):
        fold.fold(entry)
    assert fold.holdings.of("mexc_spot") == {"BTCUSDT": Decimal("1.99")}
    assert fold.holdings.of("mexc_perpetual") == {"ETHUSDT": -4}
    assert FeedFold.restore(fold.dump()) == fold

    moved = [{"symbol": "BTCUSDT", "change": Decimal("-1.99"), "price": Decimal(1)}]
    fold.fold(fact("adjustment", venue="mexc_spot", accepted=["x"], cash=Decimal(0), positions=moved))
    fold.fold(fact("adjustment", venue="nonsense"))
    fold.fold(fact("liquidation", venue="mexc_perpetual", symbol="ETHUSDT"))
    assert fold.holdings == Holdings(booked=fold.holdings.booked)
    for number in range(REMEMBERED + 1):
        fold.holdings.fold(result(f"n{number}", "BUY", "CANCELED", "0"))
    assert len(fold.holdings.booked) == REMEMBERED
    with pytest.raises(StateMismatch):
        Holdings.restore({"odd": 1})


def test_a_symbol_that_left_the_list_is_watched_as_long_as_it_is_held() -> None:
    """Chosen, bought, outrun by another: its quotes go on past the time that others get, and end when it is flat."""
    rig = SandboxRig(
        ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
        watched=("auto",),
        settings={
            "SCREENER_TOP": 1, "SCREENER_EVERY_MIN": 1, "SCREENER_KEEP_MIN": 1, "SCREENER_MIN_AGE_DAYS": 0,
            "SCREENER_MIN_TURNOVER_USDT": 0,
        },
    ).begin()  # fmt: skip
    assert rig.chosen() == [["SOLUSDT"]]
    held = {"SOLUSDT": Decimal("0.5")}
    rig.hold(held)
    rig.trade("BTCUSDT", "900000")
    rig.play(61)
    assert rig.chosen() == [["SOLUSDT"], ["BTCUSDT"]]
    assert rig.feed.screening is not None
    assert rig.feed.screening.top()["leaving"] == ["SOLUSDT"]
    rig.play(200)
    assert rig.observations[-1].timestamp_us > rig.now_us - 10_000_000
    assert {one.symbol for one in rig.observations[-6:]} == {"SOLUSDT", "BTCUSDT"}

    rig.kill_feed()
    rig.start_feed(chosen=("BTCUSDT",), leaving=("SOLUSDT",))
    rig.hold(held)
    before = len(rig.observations)
    rig.play(200)
    first = next(one for one in rig.observations[before:] if one.symbol == "SOLUSDT")
    assert first.gap
    assert rig.chosen()[2:] == [["BTCUSDT"]], "the same choice, told once to those who begin anew"
    assert "SOLUSDT" in rig.feed.instruments

    rig.hold({})
    rig.play(2)
    assert list(rig.feed.instruments) == ["BTCUSDT"]
    assert not rig.feed.problems(rig.now_us)


def test_a_symbol_that_was_taken_off_the_settings_is_watched_while_it_is_held() -> None:
    """The operator names two, a third is held: it is told and watched; dust is not, and what is not listed is."""
    desk = LiveDesk("ETHUSDT")
    desk.take(desk.feed.hold({"BTCUSDT": Decimal(1), "SOLUSDT": Decimal("1e-9"), "GONEUSDT": Decimal(1)}, desk.now_us))
    desk.begin(spot_row(), spot_row("ETHUSDT"), spot_row("SOLUSDT"))

    assert list(desk.feed.instruments) == ["ETHUSDT", "BTCUSDT"]
    assert {"SYMBOL_HELD", "SYMBOL_NOT_TRADED"} <= set(desk.codes)
    assert "GONEUSDT" in desk.feed.problems(desk.now_us)["symbols"]
    desk.take(desk.feed.hold({"SOLUSDT": None}, desk.now_us))
    assert "SOLUSDT" in desk.feed.instruments, "an order of it is working"


def test_a_symbol_that_was_chosen_and_is_not_listed_any_more_stops_nobody() -> None:
    """After a restart the choice of before is watched as far as it is listed."""
    rig = SandboxRig(("BTCUSDT",), watched=("auto",), settings={"SCREENER_MIN_TURNOVER_USDT": 0}).begin()
    rig.kill_feed()
    rig.start_feed(chosen=("BTCUSDT", "GONEUSDT"), leaving=("LOSTUSDT",))
    rig.play(3)

    assert "BTCUSDT" not in rig.feed.problems(rig.now_us)
    assert "LOSTUSDT" not in rig.feed.instruments
