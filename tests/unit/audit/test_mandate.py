"""Each order has its approved decision, used once: told by the orders and decisions alone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from claire.audit.difference import Difference
from claire.audit.mandate import Mandates
from services.common.events import Order
from tests.unit.writer.journal_story import Story

pytestmark = pytest.mark.unit

ONE = Decimal(1)


def story() -> Story:
    """A run in which one unit was bought for an approved decision."""
    told = Story()
    told.begin()
    order = told.order(ONE, Decimal(100))
    told.result(order, "NEW")
    told.fill(order, ONE, Decimal(100))
    return told


def judged(told: Story) -> Difference | None:
    """Return the first thing that is wrong in a story."""
    mandates = Mandates()
    return next((found for entry in told.entries if (found := mandates.check(entry)) is not None), None)


def last_order(told: Story) -> Order:
    """Return the order of a story."""
    return next(entry.event for entry in reversed(told.entries) if isinstance(entry.event, Order))


def test_an_order_with_its_decision_is_right() -> None:
    """Decision, order, acknowledgement, fill."""
    assert judged(story()) is None


def test_a_decision_is_used_once() -> None:
    """A second order of the same decision is named with where the first one stands."""
    told = story()
    second = last_order(told).model_copy(update={"event_id": "second", "order_id": "ord-2"})
    told.add(second)
    found = judged(told)
    assert found is not None
    assert (found.event_id, found.field) == ("second", "decision_id")
    assert "had its order at entry 5" in found.meaning


def test_a_refusal_carries_no_order() -> None:
    """An order that names a refused decision is named with the reason of the refusal."""
    told = story()
    refused = told.decision(None, "BUY", "entry", "BTCUSDT", approved=False)
    update = {"event_id": "forged", "order_id": "ord-3", "decision_id": refused.event_id, "signal_id": None}
    told.add(last_order(told).model_copy(update=update))
    found = judged(told)
    assert found is not None
    assert (found.event_id, found.derived) == ("forged", "an approved decision")
    assert "position_limits" in found.meaning


@pytest.mark.parametrize(
    ("name", "value"),
    [("purpose", "exit"), ("symbol", "ETHUSDT"), ("side", "SELL"), ("quantity", Decimal(2)), ("signal_id", "other"),
     ("venue", "mexc_perpetual"), ("producer", "cdb_core")],
)  # fmt: skip
def test_an_order_is_what_was_decided(name: str, value: object) -> None:
    """Same instrument, side, purpose and signal, at most the approved quantity, and from risk alone."""
    told = story()
    approved = told.decision(None, "BUY", "entry", "BTCUSDT")
    update = {"event_id": "x", "order_id": "ord-4", "decision_id": approved.event_id, "signal_id": None, name: value}
    told.add(last_order(told).model_copy(update=update))
    found = judged(told)
    assert found is not None
    assert (found.event_id, found.field) == ("x", name)


@pytest.mark.parametrize(
    ("filled", "last", "rule", "right"),
    [
        ("1", "0.6", "operator", True),
        ("0.4", "0.4", "operator", True),
        ("1", "0.6", "paper_ioc_v1", False),
        ("1.2", "0.9", "operator", False),
    ],
)
def test_an_operator_s_word_may_cross_the_exchange_s(filled: str, last: str, rule: str, *, right: bool) -> None:
    """Told in part by the exchange just before: right for an operator's word within the order, for nothing else."""
    told = Story()
    told.begin()
    order = told.order(ONE, Decimal(100))
    told.fill(order, Decimal("0.5"), Decimal(100))
    partly = told.entries[-1].event
    update = {
        "event_id": "word",
        "filled_quantity": Decimal(filled),
        "last_quantity": Decimal(last),
        "fill": {"rule": rule},
    }
    told.add(partly.model_copy(update=update))

    assert (judged(told) is None) == right
