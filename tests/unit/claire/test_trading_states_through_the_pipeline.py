"""Each trading state by each of its causes, and each sub-check, tripped through the real machines.

What trading.md section 2 lets leave leaves and is accepted by execution; of everything else execution sees no order.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from services.common.events import Control, Event, Order, OrderResult, RiskDecision
from tests.unit.claire.pipeline_desk import Pipeline, calls
from tests.unit.claire.test_each_layer_through_the_pipeline import BIG, fallen

pytestmark = [pytest.mark.unit, pytest.mark.risk]

ONE_LOSS = {"MAX_LOSS_STREAK": "1", "ENTRY_SPACING_SEC": "0", "STOP_LOSS_PCT": "0.5", "RISK_PER_TRADE_PCT": "0.04"}


def daily() -> Pipeline:
    """Today's loss is over 5 %."""
    return fallen(("48000", "46500"))


def rolling() -> Pipeline:
    """The loss of the last 24 hours is over 5 %, while a day may lose everything."""
    return fallen(("48000", "46500"), MAX_DAILY_DRAWDOWN_PCT="1", MAX_ROLLING_DRAWDOWN_PCT="0.05")


def streak() -> Pipeline:
    """One round trip of ether was lost by its fees, beside bitcoin that is held."""
    pipeline = Pipeline(**ONE_LOSS)
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.seconds(61)
    pipeline.quote("50000")
    pipeline.quote("3000", symbol="ETHUSDT")
    pipeline.buy("3000", "ETHUSDT")
    pipeline.quote("3000", symbol="ETHUSDT")
    pipeline.sell("3000", "ETHUSDT")
    pipeline.quote("50000")
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def breaker() -> Pipeline:
    """The loss from the peak is over 10 %."""
    return fallen(("48000", "46000", "44500", "43000"), MAX_DAILY_DRAWDOWN_PCT="1")


def held() -> Pipeline:
    """Bitcoin is held with a far stop; nothing is wrong."""
    pipeline = Pipeline(STOP_LOSS_PCT="0.5", RISK_PER_TRADE_PCT="0.04")
    pipeline.quote("50000")
    pipeline.buy("50000")
    assert pipeline.filled > 0
    pipeline.seconds(61)
    pipeline.quote("50000")
    pipeline.quote("3000", symbol="ETHUSDT")
    return pipeline


def halt() -> Pipeline:
    """An operator has halted."""
    pipeline = held()
    pipeline.command("halt")
    return pipeline


def freeze() -> Pipeline:
    """An operator has frozen."""
    pipeline = held()
    pipeline.command("halt", details={"freeze": True})
    return pipeline


STATES: dict[str, tuple[Callable[[], Pipeline], str, str, str, set[str]]] = {
    # cause: how, state, layer and code that refuse an entry, what leaves
    "daily_loss": (daily, "REDUCING", "daily_drawdown", "DAILY_DRAWDOWN_LATCHED", {"exit", "stop_loss", "flatten"}),
    "rolling_loss": (
        rolling,
        "REDUCING",
        "daily_drawdown",
        "ROLLING_DRAWDOWN_LATCHED",
        {"exit", "stop_loss", "flatten"},
    ),
    "loss_streak": (streak, "REDUCING", "daily_drawdown", "LOSS_STREAK", {"exit", "stop_loss", "flatten"}),
    "breaker": (breaker, "HALTED", "circuit_breaker", "BREAKER_LATCHED", {"exit", "stop_loss", "flatten"}),
    "halt": (halt, "HALTED", "circuit_breaker", "OPERATOR_HALT", {"stop_loss", "flatten"}),
    "freeze": (freeze, "FROZEN", "circuit_breaker", "FROZEN", {"flatten"}),
}


def code(decision: RiskDecision, name: str) -> str:
    """Return the code of a layer."""
    return next(verdict.code for verdict in decision.layers if verdict.layer == name)


@pytest.mark.parametrize("cause", STATES)
def test_no_state_but_active_lets_an_entry_through(cause: str) -> None:
    """The state is journalled with its cause; the entry names the layer and its code, and execution sees no call."""
    how, state, name, expected, _ = STATES[cause]
    pipeline = how()
    told = [event for event in pipeline.of(Control) if event.action == "trading_state"]
    assert (told[-1].details["state"], list(told[-1].details["causes"])) == (state, [cause])
    assert pipeline.execution.state.risk_state == state
    bought = pipeline.filled

    decision, follows = pipeline.buy("3000", "ETHUSDT")

    assert (decision.approved, decision.reason, code(decision, name)) == (False, name, expected)
    assert calls(follows) == []
    assert pipeline.filled == bought


@pytest.mark.parametrize("purpose", ["exit", "stop_loss", "flatten"])
@pytest.mark.parametrize("cause", STATES)
def test_what_may_leave_leaves_and_is_accepted(cause: str, purpose: str) -> None:
    """Of an exit that the state forbids execution sees no order; one that it lets through fills."""
    how, _, _, _, leaving = STATES[cause]
    pipeline = how()
    follows: list[Event]

    if purpose == "exit":
        follows = pipeline.sell(str(pipeline.risk.state.market["mexc_spot:BTCUSDT"].last_price))[1]
    elif purpose == "stop_loss":
        follows = pipeline.quote("24000") + pipeline.quote("24000")
    else:
        follows = pipeline.command("flatten") + pipeline.quote("50000")

    sold = [event for event in follows if isinstance(event, Order)]
    assert {order.purpose for order in sold} == ({purpose} if purpose in leaving else set())
    results = [event.status for event in follows if isinstance(event, OrderResult)]
    assert results[:1] == (["NEW"] if purpose in leaving else [])


@pytest.mark.parametrize("cause", ["daily_loss", "rolling_loss", "breaker", "halt", "freeze"])
def test_a_working_entry_is_cancelled_when_the_state_changes(cause: str) -> None:
    """trading.md 2 row 3: an entry that is NEW when trading is restricted is cancelled at once, naming the state."""
    limits = {
        "daily_loss": {},
        "rolling_loss": {"MAX_DAILY_DRAWDOWN_PCT": "1", "MAX_ROLLING_DRAWDOWN_PCT": "0.05"},
        "breaker": {"MAX_DAILY_DRAWDOWN_PCT": "1", "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.05"},
    }.get(cause, {})
    pipeline = Pipeline(**{**BIG, "RISK_PER_TRADE_PCT": "0.35", **limits})
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.seconds(61)
    pipeline.quote("48500")
    pipeline.quote("3000", symbol="ETHUSDT")
    decision, _ = pipeline.buy("3000", "ETHUSDT", fills=False)
    assert decision.approved
    assert pipeline.of(OrderResult)[-1].status == "NEW"

    if cause in {"halt", "freeze"}:
        pipeline.command("halt", details={"freeze": cause == "freeze"})
    else:
        pipeline.quote("46400")
        pipeline.quote("46400")

    last = pipeline.of(OrderResult)[-1]
    assert (last.symbol, last.status, str(last.reason).split(":")[0]) == ("ETHUSDT", "CANCELED", "TRADING_STATE")
    assert pipeline.risk.state.reservations.orders == {}


# sub-checks of the layers


def of_settings(**changed: str) -> Callable[[], Pipeline]:
    """Return a situation that a setting makes."""

    def situation() -> Pipeline:
        pipeline = Pipeline(**changed)
        pipeline.quote("50000")
        pipeline.quote("3000", symbol="ETHUSDT")
        pipeline.buy("3000", "ETHUSDT")
        pipeline.seconds(2)
        pipeline.quote("50000")
        pipeline.quote("3000", symbol="ETHUSDT")
        return pipeline

    return situation


def gap() -> Pipeline:
    """The feed has lost messages."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    pipeline.quote("50000", gap=True)
    return pipeline


def jump() -> Pipeline:
    """One quote 10 % up."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    pipeline.quote("55000")
    return pipeline


def entry_works() -> Pipeline:
    """An entry of the same instrument is NEW."""
    pipeline = Pipeline(ENTRY_SPACING_SEC="0")
    pipeline.quote("50000")
    pipeline.buy("50000", fills=False)
    return pipeline


def pressed() -> Pipeline:
    """The journal is short of memory."""
    pipeline = Pipeline()
    pipeline.quote("50000")
    pipeline.seconds(1, pressure="entries")
    return pipeline


@pytest.mark.parametrize(
    ("situation", "price", "layer", "code_"),
    [
        (gap, "50000", "data_quality", "FEED_GAP"),
        (jump, "50000", "data_quality", "PRICE_COLLAR"),
        (of_settings(ENTRY_SPACING_SEC="0"), "60000", "data_quality", "SIGNAL_PRICE_COLLAR"),
        (entry_works, "50000", "position_limits", "ENTRY_WORKING"),
        (of_settings(MAX_CONCURRENT_POSITIONS="1", ENTRY_SPACING_SEC="0"), "50000", "position_limits",
         "TOO_MANY_POSITIONS"),
        (of_settings(MAX_ORDERS_PER_MINUTE="1", ENTRY_SPACING_SEC="0"), "50000", "position_limits", "TOTAL_ORDER_RATE"),
        (of_settings(MAX_ENTRIES_PER_MINUTE="0"), "50000", "position_limits", "ORDER_RATE"),
        (of_settings(), "50000", "position_limits", "ENTRY_SPACING"),
        (of_settings(MAX_ORDER_NOTIONAL_USDT="1"), "50000", "position_limits", "ORDER_NOTIONAL_LIMIT"),
        (of_settings(RISK_PER_TRADE_PCT="0"), "50000", "position_limits", "SIZING_INPUT_UNKNOWN"),
        (of_settings(RISK_PER_TRADE_PCT="0.0000001"), "50000", "position_limits", "BELOW_MINIMUM"),
        (of_settings(MAX_POSITION_PCT="0"), "50000", "position_limits", "POSITION_LIMIT"),
        (pressed, "50000", "circuit_breaker", "JOURNAL_MEMORY"),
    ],
)  # fmt: skip
def test_what_a_sub_check_refuses_execution_never_sees(
    situation: Callable[[], Pipeline], price: str, layer: str, code_: str
) -> None:
    """Its layer is named with its code, and no order and no result follows."""
    pipeline = situation()
    seen = len([event for event in pipeline.journal if isinstance(event, Order)])
    bought = pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT").quantity

    decision, _ = pipeline.buy(price, fills=False)

    assert not decision.approved
    assert layer in decision.reason
    assert code(decision, layer) == code_
    assert len([event for event in pipeline.journal if isinstance(event, Order)]) == seen
    assert pipeline.risk.state.account.portfolio.position("mexc_spot", "BTCUSDT").quantity == bought == Decimal(0)
