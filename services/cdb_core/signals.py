"""What a signal says besides that it is one: its price, its confidence, and the numbers that produced it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.cdb_core.evaluation import Action, Evaluation, percent
from services.cdb_core.momentum import Rule, VirtualPosition, Windows
from services.common.decimals import ONE, divide
from services.common.fixed_point import from_e6, from_e8, from_e12, wire_price
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["signal_fields"]


def signal_fields(evaluation: Evaluation, position: VirtualPosition, windows: Windows, rule: Rule) -> dict[str, Any]:
    """Return the fields of a signal that follow from an evaluated bar.

    Args:
        evaluation: the bar whose action is an entry or an exit.
        position: the virtual position that was opened, or the one that has ended.
        windows: the windows that contain the bar.
        rule: the rule in force.
    """
    entering = evaluation.action is Action.ENTRY
    buys = (position.direction > 0) == entering
    return {
        "signal_type": "buy" if buys else "sell",
        "price": evaluation.close,
        "confidence": _confidence(evaluation) if entering else ONE,
        "reason": _entry_text(evaluation, rule) if entering else _exit_text(evaluation, position),
        "pct_change": evaluation.momentum_pct,
        "inputs": _common_inputs(evaluation, windows, rule)
        | (_entry_inputs(rule) if entering else _exit_inputs(evaluation, position, rule)),
    }


def _confidence(evaluation: Evaluation) -> Decimal:
    """Return clamp(|m| / (2 T), 0, 1) with four decimals."""
    assert evaluation.momentum_e12 is not None
    assert evaluation.threshold_e12 is not None
    ratio = divide(Decimal(abs(evaluation.momentum_e12)), Decimal(2 * evaluation.threshold_e12), 4)
    return min(ratio, ONE)


def _common_inputs(evaluation: Evaluation, windows: Windows, rule: Rule) -> dict[str, Any]:
    return {
        "bar_close_time": format_timestamp(evaluation.close_time_us),
        "close": evaluation.close,
        "reference_close": windows.closes[0] if evaluation.momentum_e12 is not None else None,
        "lookback_min": rule.lookback_min,
        "momentum_pct": evaluation.momentum_pct,
        "threshold_pct": evaluation.threshold_pct,
        "volatility_pct": evaluation.volatility_pct,
        "volatility_bars": len(windows.squares),
        "volume_usdt": evaluation.volume_usdt,
    }


def _entry_inputs(rule: Rule) -> dict[str, Any]:
    return {
        "threshold_floor_pct": from_e12(rule.floor_e12),
        "volatility_multiple": from_e6(rule.mult_e6),
        "min_volume_usdt": from_e8(rule.min_volume_e8),
    }


def _exit_inputs(evaluation: Evaluation, position: VirtualPosition, rule: Rule) -> dict[str, Any]:
    return {
        "triggers": list(evaluation.reasons),
        "entry_price": position.entry_price,
        "entry_time": format_timestamp((position.entry_minute + 1) * MINUTE_US),
        "held_min": evaluation.minute - position.entry_minute,
        "exit_pct": from_e12(rule.exit_e12),
        "stop_price": wire_price(position.stop_price(rule)),
        "max_hold_min": rule.max_hold_min,
    }


def _entry_text(evaluation: Evaluation, rule: Rule) -> str:
    assert evaluation.momentum_e12 is not None
    assert evaluation.threshold_e12 is not None
    return (
        f"momentum {percent(evaluation.momentum_e12)} over {rule.lookback_min} min reaches the threshold of "
        f"{percent(evaluation.threshold_e12)}, {evaluation.volume_usdt:.0f} USDT traded"
    )


def _exit_text(evaluation: Evaluation, position: VirtualPosition) -> str:
    held = f"held {evaluation.minute - position.entry_minute} min since {position.entry_price:f}"
    momentum = "unknown" if evaluation.momentum_e12 is None else percent(evaluation.momentum_e12)
    return f"{', '.join(evaluation.reasons)}: {held}, momentum {momentum}"
