"""Entries that rest (ENTRY_TIME_IN_FORCE=GTC) through the whole pipeline: from the signal to the end of the order."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.market import Quote
from services.cdb_risk.prices import resting_price
from services.cdb_risk.settings import RiskSettings
from services.common.errors import SettingsInvalid
from services.common.events import Order, OrderResult, RiskDecision
from services.common.settings import canonical_settings, load_settings
from tests.unit.claire.pipeline_desk import Pipeline

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC = "mexc_spot:BTCUSDT"


def resting() -> tuple[Pipeline, Order]:
    """Return a pipeline whose entry rests at the bid, and the order."""
    pipeline = Pipeline(ENTRY_TIME_IN_FORCE="GTC")
    pipeline.quote("50000")
    decision, follows = pipeline.buy("50000")
    assert decision.approved
    (order,) = (event for event in follows if isinstance(event, Order))
    return pipeline, order


def outcomes(pipeline: Pipeline) -> list[tuple[str, str | None, Decimal]]:
    """Return status, liquidity and cumulative quantity of all results."""
    results = (event for event in pipeline.journal if isinstance(event, OrderResult))
    return [(each.status, each.liquidity, each.filled_quantity) for each in results]


def test_an_entry_rests_at_the_bid_and_holds_its_exposure_until_it_has_ended() -> None:
    """A limit at the bid, GTC; while it rests all of it counts and a second signal is refused; its life ends it."""
    pipeline, order = resting()
    view = pipeline.risk.state.reservations

    assert (order.time_in_force, order.order_type, order.price) == ("GTC", "LIMIT", Decimal("49999.5"))
    assert view.pending_increasing(BTC) == order.quantity
    again, _ = pipeline.buy("50000")
    assert "ENTRY_WORKING" in {layer.code for layer in again.layers}
    pipeline.seconds(62)

    assert outcomes(pipeline) == [("NEW", None, 0), ("CANCELED", None, 0)]
    assert view.pending_increasing(BTC) == 0


def test_it_fills_as_a_maker_after_the_price_went_through_and_the_books_agree() -> None:
    """Trades below the bid: the queue is gone, the next volume there is ours, at the bid and without a fee."""
    pipeline, order = resting()

    pipeline.quote("49900")
    assert pipeline.risk.state.reservations.pending_increasing(BTC) == order.quantity
    pipeline.quote("49899")

    assert outcomes(pipeline) == [("NEW", None, 0), ("FILLED", "maker", order.quantity)]
    (fill,) = (event for event in pipeline.journal if isinstance(event, OrderResult) and event.fill)
    assert (fill.last_price, fill.fee, fill.fill["rule"]) == (order.price, 0, "paper_queue_v1")  # type: ignore[index]
    position = pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT")
    assert (position.quantity, position.cost) == (order.quantity, order.quantity * Decimal("49999.5"))
    assert pipeline.risk.state.reservations.pending_increasing(BTC) == 0


def test_an_exit_leaves_with_what_has_filled_and_ends_the_entry() -> None:
    """Half of it has filled when the signal turns: that half is sold, the rest is cancelled, nothing is left."""
    pipeline, order = resting()
    half = order.quantity / 2
    pipeline.execution.state.working[0].resting.ahead = Decimal(100) - half  # type: ignore[union-attr]
    pipeline.quote("49999.5", half_spread="0.1")
    filled = pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT").quantity
    assert 0 < filled < order.quantity

    pipeline.seconds(3)
    decision, _ = pipeline.sell("50000")

    assert decision.approved
    assert ("CANCELED", None, filled) in outcomes(pipeline)
    assert pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT").quantity == 0
    assert pipeline.execution.state.working == []


def test_by_default_nothing_rests_and_the_configuration_is_that_of_before() -> None:
    """IOC is not written, GTC is; and GTC is for paper alone."""
    assert "ENTRY_TIME_IN_FORCE" not in canonical_settings(RiskSettings())
    assert canonical_settings(RiskSettings(ENTRY_TIME_IN_FORCE="GTC"))["ENTRY_TIME_IN_FORCE"] == "GTC"
    for mode in ("live", "shadow"):
        with pytest.raises(SettingsInvalid, match="rest on paper alone"):
            load_settings(RiskSettings, {"ENTRY_TIME_IN_FORCE": "GTC", "TRADING_MODE": mode})
    pipeline = Pipeline()
    pipeline.quote("50000")
    decision, follows = pipeline.buy("50000")
    assert isinstance(decision, RiskDecision)
    assert {event.time_in_force for event in follows if isinstance(event, Order)} == {"IOC"}


def test_the_price_of_a_resting_order_is_the_touch_of_its_own_side() -> None:
    """On the tick grid, away from the other side, at least one tick."""
    quote, tick = Quote(Decimal("99.97"), Decimal("100.03"), None, None, 0), Decimal("0.1")
    assert (resting_price("BUY", quote, tick), resting_price("SELL", quote, tick)) == (
        Decimal("99.9"), Decimal("100.1"),
    )  # fmt: skip
    assert resting_price("BUY", Quote(Decimal("0.05"), Decimal("0.06"), None, None, 0), tick) == tick
