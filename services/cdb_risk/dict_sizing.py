"""Sizing for the library's way in: the method and its inputs as keys of plain dicts.

| SIZING_METHOD | keys of the state | keys of the config |
|---|---|---|
| fixed_fractional | | RISK_PER_TRADE_PCT, STOP_LOSS_PCT |
| volatility_targeting | volatility (yearly, a fraction) | TARGET_VOL_PCT |
| atr_based | atr (quote currency) | RISK_PER_TRADE_PCT, ATR_MULTIPLE |
| kelly_criterion | win_rate, avg_win, avg_loss (fractions of the notional, both positive) | KELLY_FRACTION |

An absent key of the config takes the default of the settings; an absent key of the state makes the size unknown.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_risk.estimators import Estimate
from services.cdb_risk.finding import bad_value
from services.cdb_risk.given import Given, Plain, amount, choice, fraction
from services.cdb_risk.settings import SIZING_METHODS, RiskSettings
from services.cdb_risk.sizing import Request, atr_based, fixed_fractional, kelly_criterion, volatility_targeting
from services.cdb_risk.virtual_trips import TripStatistics

__all__ = ["requested_by_dict", "sizing_inputs"]

_DEFAULTS: Final = RiskSettings()
_LEAST_STOP: Final = Decimal("0.0001")
_MULTIPLES: Final = Decimal("0.1"), Decimal(100)


def sizing_inputs(state: Plain, config: Plain) -> tuple[Given[Any], ...]:
    """Return everything that a method may read, so that a bad value fails whatever the method."""
    return (
        choice(config, SIZING_METHODS, "SIZING_METHOD"),
        fraction(config, "RISK_PER_TRADE_PCT"),
        _stop(config),
        fraction(config, "TARGET_VOL_PCT"),
        _multiple(config),
        fraction(config, "KELLY_FRACTION"),
        amount(state, "volatility"),
        amount(state, "atr"),
        fraction(state, "win_rate"),
        amount(state, "avg_win"),
        amount(state, "avg_loss"),
    )


def requested_by_dict(equity: Decimal | None, price: Decimal | None, state: Plain, config: Plain) -> Request:
    """Return what the config's SIZING_METHOD asks for; nothing when a setting that it reads is bad."""
    method = choice(config, SIZING_METHODS, "SIZING_METHOD")
    chosen = method.value or _DEFAULTS.SIZING_METHOD
    risk, stop, target = fraction(config, "RISK_PER_TRADE_PCT"), _stop(config), fraction(config, "TARGET_VOL_PCT")
    multiple, part = _multiple(config), fraction(config, "KELLY_FRACTION")
    if any(given.fault is not None for given in (method, risk, stop, target, multiple, part)):
        return Request(chosen, None)
    if chosen == "fixed_fractional":
        return fixed_fractional(
            equity, price, _or(risk, _DEFAULTS.RISK_PER_TRADE_PCT), _or(stop, _DEFAULTS.STOP_LOSS_PCT)
        )
    if chosen == "volatility_targeting":
        volatility = _estimate(amount(state, "volatility"))
        return volatility_targeting(equity, price, volatility, _or(target, _DEFAULTS.TARGET_VOL_PCT))
    if chosen == "atr_based":
        atr = _estimate(amount(state, "atr"))
        share = _or(risk, _DEFAULTS.RISK_PER_TRADE_PCT)
        return atr_based(equity, price, atr, share, _or(multiple, _DEFAULTS.ATR_MULTIPLE))
    rate, win, loss = fraction(state, "win_rate"), amount(state, "avg_win"), amount(state, "avg_loss")
    there = sum(given.value is not None for given in (rate, win, loss))
    trips = TripStatistics(rate.value, win.value, loss.value, there, 3, "inputs in the state")
    return kelly_criterion(equity, price, trips, _or(part, _DEFAULTS.KELLY_FRACTION))


def _or(given: Given[Decimal], default: Decimal) -> Decimal:
    return default if given.value is None else given.value


def _estimate(given: Given[Decimal]) -> Estimate:
    return Estimate(given.value, int(given.value is not None), 1, "inputs in the state")


def _stop(config: Plain) -> Given[Decimal]:
    stop = fraction(config, "STOP_LOSS_PCT")
    if stop.value is not None and not _LEAST_STOP <= stop.value < 1:
        return Given(stop.name, fault=bad_value(stop.name, stop.value))
    return stop


def _multiple(config: Plain) -> Given[Decimal]:
    multiple = amount(config, "ATR_MULTIPLE")
    if multiple.value is not None and not _MULTIPLES[0] <= multiple.value <= _MULTIPLES[1]:
        return Given(multiple.name, fault=bad_value(multiple.name, multiple.value))
    return multiple
