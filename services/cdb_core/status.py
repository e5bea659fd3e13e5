"""What the operator sees of one instrument: why there is no trade now."""

from __future__ import annotations

from typing import Any

from services.cdb_core.evaluation import Evaluation
from services.cdb_core.momentum import Rule, Stance, VirtualPosition, Windows
from services.common.fixed_point import from_e8, wire_price
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["track_status"]


def track_status(
    open_minute: int, windows: Windows, stance: Stance, rule: Rule, last: Evaluation | None
) -> dict[str, Any]:
    """Return one instrument's part of `/status`; fractions as `_pct`, times as ISO 8601, minutes as `_min`."""
    closed_minute = open_minute - 1
    return {
        "last_bar": None if last is None else _evaluation(last),
        "why": "no bar has been evaluated yet" if last is None else last.text(),
        "warmup_left_bars": windows.missing_bars(rule),
        "min_volume_usdt": from_e8(rule.min_volume_e8),
        "armed": stance.armed,
        "cooldown_left_min": max(stance.rested_from_minute - open_minute, 0),
        "gap_left_min": stance.gap_left_min(closed_minute, rule),
        "position": None if stance.position is None else _position(stance.position, closed_minute, rule),
    }


def _evaluation(last: Evaluation) -> dict[str, Any]:
    return {
        "close_time": format_timestamp(last.close_time_us),
        "close": last.close,
        "momentum_pct": last.momentum_pct,
        "threshold_pct": last.threshold_pct,
        "volatility_pct": last.volatility_pct,
        "volume_usdt": last.volume_usdt,
        "action": last.action.value,
        "reasons": [reason.value for reason in last.reasons],
    }


def _position(held: VirtualPosition, closed_minute: int, rule: Rule) -> dict[str, Any]:
    return {
        "direction": "long" if held.direction > 0 else "short",
        "entry_price": held.entry_price,
        "entry_time": format_timestamp((held.entry_minute + 1) * MINUTE_US),
        "stop_price": wire_price(held.stop_price(rule)),
        "held_min": closed_minute - held.entry_minute,
        "hold_left_min": max(held.entry_minute + rule.max_hold_min - closed_minute, 0),
    }
