"""A risk that falls silent and an order that is never answered, through the real machines."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.common import channels
from services.common.events import Control, OrderResult
from tests.unit.claire.pipeline_desk import Pipeline

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def test_a_silent_risk_gets_no_entry_through_until_it_answers_the_clock() -> None:
    """Away from the clock for over 30 s: its entry is approved and refused; back with the next tick it is accepted."""
    pipeline = Pipeline(ENTRY_SPACING_SEC="0")
    pipeline.quote("50000")
    pipeline.seconds(1)
    pipeline.risk.away_from = frozenset({channels.CONTROL})
    pipeline.seconds(32)
    pipeline.quote("50000")

    decision, _ = pipeline.buy("50000")
    assert decision.approved
    assert [(r.status, str(r.reason).split(":")[0]) for r in pipeline.of(OrderResult)] == [("REJECTED", "RISK_SILENT")]
    assert pipeline.alert_codes().count("RISK_SILENT") == 1

    pipeline.risk.away_from = frozenset()
    pipeline.seconds(1)
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 0
    assert "RISK_ANSWERS" in pipeline.alert_codes()


def test_heartbeats_are_one_in_ten_seconds() -> None:
    """A minute of ticks has seven heartbeats, candle files one a tick: the journal is not bloated."""
    pipeline = Pipeline()
    pipeline.seconds(61)
    beats = [e for e in pipeline.of(Control) if e.action == "heartbeat"]
    assert len(beats) == 7
    assert {beat.producer for beat in beats} == {channels.RISK}


@pytest.mark.parametrize(
    ("outcome", "status", "bought"),
    [
        ({"outcome": "never_arrived"}, "EXPIRED", "0"),
        ({"outcome": "filled", "price": Decimal(50_010)}, "FILLED", "0.149998"),
        ({"outcome": "filled", "price": Decimal(50_010), "quantity": Decimal("0.1")}, "CANCELED", "0.1"),
    ],
)
def test_an_order_that_was_never_answered_is_ended_by_an_operator(
    outcome: dict[str, object], status: str, bought: str
) -> None:
    """It stays reserved and pages for as long as nobody says what became of it; then one result ends it everywhere."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    pipeline.execution.away_from = frozenset({channels.ORDERS})
    pipeline.buy("50000")
    pipeline.execution.away_from = frozenset()
    pipeline.seconds(3_600)
    (order_id,) = pipeline.risk.state.reservations.orders
    assert "ORDER_UNANSWERED" in pipeline.alert_codes()
    assert pipeline.of(OrderResult) == []

    pipeline.command("resolve_order", details={"order_id": order_id, **outcome})

    results = pipeline.of(OrderResult)
    assert (results[-1].order_id, results[-1].status) == (order_id, status)
    assert pipeline.risk.state.reservations.orders == {}
    assert pipeline.filled == Decimal(bought)
    position = pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT")
    assert position.quantity == Decimal(bought)
    again = pipeline.command("resolve_order", details={"order_id": order_id, **outcome})
    assert [event.type for event in again] == ["control", "alert"], "the command and its refusal"
    assert len(pipeline.of(OrderResult)) == len(results)
