"""What the services show of the trading is what the pipeline did: numbers of Prometheus against events and books."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isnan
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.cdb_core.adapters.metrics import CoreMetrics
from services.cdb_execution.adapters.metrics import ExecutionMetrics
from services.cdb_risk.adapters.metrics import RiskMetrics
from services.common.events import LAYERS, OrderResult, RiskDecision, Signal
from services.common.runtime.machine_metrics import MachineMetrics
from tests.unit.claire.pipeline_desk import Pipeline

pytestmark = pytest.mark.unit

BTC = "mexc_spot:BTCUSDT"


class Shown:
    """The three registries of a pipeline, fed as the shells feed them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.risk, self.execution, self.core = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
        metrics: list[MachineMetrics] = [
            RiskMetrics(self.risk, pipeline.risk.summary),
            ExecutionMetrics(self.execution, pipeline.execution.summary),
            CoreMetrics(self.core, pipeline.core.summary),
        ]
        for each in metrics:
            each.published(pipeline.journal)

    def of_risk(self, name: str, **labels: str) -> float | None:
        """Return a sample of cdb_risk."""
        return self.risk.get_sample_value(name, labels)

    def of_execution(self, name: str, **labels: str) -> float | None:
        """Return a sample of cdb_execution."""
        return self.execution.get_sample_value(name, labels)


@pytest.fixture
def bought() -> Pipeline:
    """A pipeline that holds BTC after one entry and was refused another."""
    pipeline = Pipeline()
    for _ in range(4):
        pipeline.quote("40000")
    pipeline.buy("40000")
    pipeline.buy("40000")
    pipeline.seconds(1)
    return pipeline


def test_decisions_are_counted_by_verdict_and_layer(bought: Pipeline) -> None:
    """One approved, one refused by position limits alone; every layer gives one verdict a decision."""
    shown = Shown(bought)
    decisions = bought.of(RiskDecision)

    assert shown.of_risk("cdb_decisions_total", purpose="entry", verdict="approved") == 1
    assert shown.of_risk("cdb_decisions_total", purpose="entry", verdict="refused") == 1
    assert shown.of_risk("cdb_layer_verdicts_total", layer="position_limits", status="fail") == 1
    for layer in LAYERS:
        verdicts = [
            shown.of_risk("cdb_layer_verdicts_total", layer=layer, status=status) or 0
            for status in ("pass", "fail", "bypass", "not_evaluated")
        ]
        assert sum(verdicts) == len(decisions)


def test_fills_fees_and_slippage_are_those_of_the_results(bought: Pipeline) -> None:
    """Counts, value, fees and slippage equal the sums over the order results."""
    shown = Shown(bought)
    fills = [result for result in bought.of(OrderResult) if result.last_quantity]
    notional = sum(((fill.last_quantity or 0) * (fill.last_price or 0) for fill in fills), Decimal(0))
    fees = sum((fill.fee or Decimal(0) for fill in fills), Decimal(0))

    assert shown.of_execution("cdb_fills_total", side="BUY") == len(fills) == 1
    assert shown.of_execution("cdb_fill_notional_usdt_total", side="BUY") == pytest.approx(float(notional))
    assert shown.of_execution("cdb_fees_paid_usdt_total") == pytest.approx(float(fees))
    assert shown.of_execution("cdb_slippage_ratio_count") == 1
    assert shown.of_execution("cdb_slippage_ratio_sum") == pytest.approx(float(fills[0].slippage_bps or 0) / 10_000)
    assert shown.of_execution("cdb_order_results_total", status="FILLED") == 1
    assert shown.of_execution("cdb_order_seconds_count") == 1
    assert shown.of_execution("cdb_order_seconds_sum") == 1.0


def test_money_and_limits_are_those_of_the_books(bought: Pipeline) -> None:
    """Equity, exposure, position value, drawdown and headroom as `/status` has them."""
    shown, summary = Shown(bought), bought.risk.summary()

    assert shown.of_risk("cdb_equity_usdt") == pytest.approx(float(summary["equity"]))
    assert shown.of_risk("cdb_drawdown_ratio") == pytest.approx(float(summary["drawdown"]))
    assert shown.of_risk("cdb_exposure_usdt") == pytest.approx(float(summary["exposure"]))
    assert shown.of_risk("cdb_exposure_ratio") == pytest.approx(0.075, rel=0.01)
    assert shown.of_risk("cdb_position_value_usdt", instrument=BTC) == pytest.approx(float(summary["exposure"]))
    assert shown.of_risk("cdb_open_positions") == 1
    headroom = shown.of_risk("cdb_headroom_ratio", limit="total_exposure")
    assert headroom == pytest.approx(float(summary["headroom"]["total_exposure"]))
    assert shown.of_risk("cdb_headroom_ratio", limit="position_limits") == pytest.approx(headroom - 0.2)  # type: ignore[operator]
    assert isnan(shown.of_risk("cdb_headroom_ratio", limit="rolling_drawdown") or 0)


def test_states_are_one_hot(bought: Pipeline) -> None:
    """ACTIVE is 1 and every other state 0, in both services; after a halt it is the other way round."""
    shown = Shown(bought)
    assert shown.of_risk("cdb_trading_state", state="ACTIVE") == 1
    assert shown.of_execution("cdb_trading_state", state="ACTIVE") == 1

    bought.command("halt")

    assert shown.of_risk("cdb_trading_state", state="ACTIVE") == 0
    assert shown.of_risk("cdb_trading_state", state="HALTED") == 1
    assert shown.of_execution("cdb_trading_state", state="HALTED") == 1
    assert shown.of_risk("cdb_trading_latch", latch="halt") == 1
    assert shown.of_risk("cdb_trading_latch", latch="breaker") == 0
    assert shown.of_execution("cdb_risk_silent") == 0
    assert shown.of_execution("cdb_reconciliation_differences") == 0


def test_what_an_operator_must_act_on_is_counted_while_it_lasts(bought: Pipeline) -> None:
    """Blind while positioned: one thing after a minute without a quote, none once there is one again."""
    shown = Shown(bought)
    assert shown.of_risk("cdb_conditions", code="BLIND_WHILE_POSITIONED") == 0

    bought.seconds(70)

    assert shown.of_risk("cdb_conditions", code="BLIND_WHILE_POSITIONED") == 1
    assert shown.of_risk("cdb_market_data_age_seconds", instrument=BTC) == 71

    bought.quote("40000")
    bought.seconds(1)

    assert shown.of_risk("cdb_conditions", code="BLIND_WHILE_POSITIONED") == 0
    assert shown.of_risk("cdb_market_data_age_seconds", instrument=BTC) == 1


def test_working_orders_are_shown_by_status() -> None:
    """An order that waits for a quote works in both services; each exit that waits is counted."""
    pipeline = Pipeline()
    for _ in range(4):
        pipeline.quote("40000")
    pipeline.buy("40000", fills=False)
    shown = Shown(pipeline)

    assert shown.of_risk("cdb_working_orders", status="NEW") == 1
    assert shown.of_execution("cdb_working_orders", status="NEW") == 1
    assert shown.of_execution("cdb_working_orders", status="UNKNOWN") == 0
    assert shown.of_risk("cdb_latched_exits") == 0


def test_unknown_money_is_not_zero() -> None:
    """Before an instrument was ever quoted its age is NaN, and a pipeline without a market has an exposure of 0."""
    pipeline = Pipeline()
    pipeline.quote("40000", half_spread="-1")
    shown = Shown(pipeline)

    assert isnan(shown.of_risk("cdb_market_data_age_seconds", instrument=BTC) or 0)
    assert shown.of_risk("cdb_exposure_ratio") == 0


def test_signals_and_momentum_are_shown() -> None:
    """A signal of core is counted; momentum is NaN until a bar has been evaluated."""
    pipeline = Pipeline()
    pipeline.quote("40000")
    shown = Shown(pipeline)

    assert isnan(shown.core.get_sample_value("cdb_momentum_ratio", {"instrument": BTC}) or 0)
    assert shown.core.get_sample_value("cdb_warmup_missing_bars", {"instrument": BTC}) == 240

    pipeline.seconds(60)

    assert shown.core.get_sample_value("cdb_momentum_threshold_ratio", {"instrument": BTC}) is not None


def test_a_result_of_an_order_of_before_the_start_and_a_fee_in_coin_are_no_fault() -> None:
    """An end without a beginning has no time; a fee in base coin is no quote currency; a signal counts by direction."""
    pipeline = Pipeline()
    for _ in range(4):
        pipeline.quote("40000")
    pipeline.buy("40000")
    filled = next(result for result in pipeline.of(OrderResult) if result.last_quantity)
    in_coin = filled.model_copy(update={"fee_currency": "BTC", "slippage_bps": None})
    registry, core = CollectorRegistry(), CollectorRegistry()
    nothing: Mapping[str, Any] | None = None

    ExecutionMetrics(registry, lambda: nothing).published([in_coin])
    CoreMetrics(core, lambda: nothing).published(pipeline.of(Signal))

    assert registry.get_sample_value("cdb_order_seconds_count") == 0
    assert registry.get_sample_value("cdb_fees_paid_usdt_total") == 0
    assert registry.get_sample_value("cdb_slippage_ratio_count") == 0
    assert registry.get_sample_value("cdb_working_orders", {"status": "NEW"}) is None
    assert core.get_sample_value("cdb_signals_total", {"intent": "entry", "signal_type": "buy"}) == 1
