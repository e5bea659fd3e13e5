"""What the configured sizing method asks for, from what risk knows of an instrument."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.estimators import Estimator
from services.cdb_risk.situation import Situation
from services.cdb_risk.sizing import Request, atr_based, fixed_fractional, kelly_criterion, volatility_targeting

__all__ = ["requested_size"]


def requested_size(situation: Situation, key: str, price: Decimal | None) -> Request:
    """Return what SIZING_METHOD asks for.

    Args:
        situation: settings, equity and what has been estimated.
        key: of the instrument.
        price: that the order meets first, in quote currency; None while there is no quote.
    """
    settings, state = situation.settings, situation.state
    equity = state.account.equity
    if settings.SIZING_METHOD == "fixed_fractional":
        return fixed_fractional(equity, price, settings.RISK_PER_TRADE_PCT, settings.STOP_LOSS_PCT)
    if settings.SIZING_METHOD == "kelly_criterion":
        return kelly_criterion(equity, price, state.virtual_trips.statistics(), settings.KELLY_FRACTION)
    estimator = state.estimators.get(key) or Estimator()
    if settings.SIZING_METHOD == "volatility_targeting":
        return volatility_targeting(equity, price, estimator.returns.annualised(), settings.TARGET_VOL_PCT)
    atr = estimator.true_range.estimate(settings)
    return atr_based(equity, price, atr, settings.RISK_PER_TRADE_PCT, settings.ATR_MULTIPLE)
