"""What the configured sizing method asks for, from what risk knows of an instrument."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.cdb_risk.estimators import Estimator
from services.cdb_risk.finding import wire
from services.cdb_risk.situation import Situation
from services.cdb_risk.sizing import Request, atr_based, fixed_fractional, kelly_criterion, volatility_targeting

__all__ = ["requested_size", "sizing_view"]


def requested_size(situation: Situation, key: str, price: Decimal | None) -> Request:
    """Return what SIZING_METHOD asks for.

    Args:
        situation: settings, equity and what has been estimated.
        key: of the instrument.
        price: that the order meets first, in quote currency; None while there is no quote.
    """
    settings, state = situation.settings, situation.state
    equity = situation.capital()
    if settings.SIZING_METHOD == "fixed_fractional":
        return fixed_fractional(equity, price, settings.RISK_PER_TRADE_PCT, settings.STOP_LOSS_PCT)
    if settings.SIZING_METHOD == "kelly_criterion":
        return kelly_criterion(equity, price, state.virtual_trips.statistics(), settings.KELLY_FRACTION)
    estimator = state.estimators.get(key) or Estimator()
    if settings.SIZING_METHOD == "volatility_targeting":
        return volatility_targeting(equity, price, estimator.returns.annualised(), settings.TARGET_VOL_PCT)
    atr = estimator.true_range.estimate(settings)
    return atr_based(equity, price, atr, settings.RISK_PER_TRADE_PCT, settings.ATR_MULTIPLE)


def sizing_view(situation: Situation) -> dict[str, Any]:
    """Return what `/status` shows of sizing: the method, what it would use, and how much of it is there."""
    settings, state = situation.settings, situation.state
    instruments = {}
    for key, estimator in state.estimators.items():
        volatility, atr = estimator.returns.annualised(), estimator.true_range.estimate(settings)
        instruments[key] = {
            "volatility": wire(volatility.value),
            "returns": f"{volatility.seen} of {volatility.needed}",
            "atr": wire(atr.value),
            "atr_bars": f"{atr.seen} of {atr.needed}",
        }
    trips = state.virtual_trips.statistics()
    return {
        "method": settings.SIZING_METHOD,
        "instruments": instruments,
        "win_rate": wire(trips.win_rate),
        "avg_win": wire(trips.avg_win),
        "avg_loss": wire(trips.avg_loss),
        "round_trips": f"{trips.seen} of {trips.needed}",
    }
