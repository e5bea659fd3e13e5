"""How much to ask for: the four sizing methods, and what the caps of layers 2 and 4 leave of it.

Each method asks for a quantity worth at most the equity. An input that is not known, or not usable, asks for nothing
and says which one it was and how many of how many observations there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from services.cdb_risk.codes import Code
from services.cdb_risk.estimators import Estimate
from services.cdb_risk.finding import Finding, compared, ratio, shown
from services.cdb_risk.virtual_trips import TripStatistics
from services.common.decimals import ONE, ZERO, divide, floor_to, quantise
from services.common.instruments import InstrumentSpec

__all__ = [
    "GREATEST_EQUITY",
    "LEAST_VOLATILITY",
    "Request",
    "atr_based",
    "fixed_fractional",
    "headroom_quantity",
    "kelly_criterion",
    "round_to_lot",
    "volatility_targeting",
]

GREATEST_EQUITY: Final = Decimal(10) ** 12
"""An equity above this is a fault, not a fortune; beneath it no quantity leaves 28 digits."""

LEAST_VOLATILITY: Final = Decimal("0.20")
"""Yearly volatility that is assumed at least: a quiet week is no reason for a large position."""

_LEAST_ATR = Decimal("0.000000000001")
_QUANTITY_STEP = Decimal("0.00000001")
_QUANTITY_PLACES = 8

Inputs = dict[str, Decimal | None]


@dataclass(frozen=True)
class Request:
    """What a sizing method asks for, in base units, and the numbers it used. Unknown inputs ask for nothing.

    Attributes:
        quantity: None when an input is not known.
        refusal: why nothing is asked for; None when something is.
    """

    method: str
    quantity: Decimal | None
    inputs: Inputs = field(default_factory=dict)
    refusal: Finding | None = None


def fixed_fractional(
    equity: Decimal | None, price: Decimal | None, risk_per_trade_pct: Decimal, stop_loss_pct: Decimal
) -> Request:
    """Ask for the quantity that loses `risk_per_trade_pct` of equity when the stop is hit.

    quantity = equity * risk / (stop * price). stop is above 0.
    """
    method = "fixed_fractional"
    inputs: Inputs = {
        "equity": _finite(equity),
        "price": _finite(price),
        "risk_per_trade_pct": risk_per_trade_pct,
        "stop_loss_pct": stop_loss_pct,
    }
    money = _money(equity, price)
    if isinstance(money, Finding):
        return _refused(method, inputs, money)
    return _worth(method, _share(money.equity, risk_per_trade_pct, stop_loss_pct), money, inputs)


def volatility_targeting(
    equity: Decimal | None, price: Decimal | None, volatility: Estimate, target_vol_pct: Decimal
) -> Request:
    """Ask for the notional whose yearly swing is `target_vol_pct` of equity.

    notional = equity * target / max(asset volatility, 0.20).
    """
    method = "volatility_targeting"
    inputs: Inputs = {
        "equity": _finite(equity),
        "price": _finite(price),
        "target_vol_pct": target_vol_pct,
        "volatility": _finite(volatility.value),
        **_counts(volatility.seen, volatility.needed),
    }
    money, known = _money(equity, price), _known("volatility", volatility, ZERO)
    if isinstance(money, Finding) or isinstance(known, Finding):
        return _refused(method, inputs, money, known)
    asset_vol = inputs["asset_vol"] = max(known, LEAST_VOLATILITY)
    return _worth(method, _share(money.equity, target_vol_pct, asset_vol), money, inputs)


def atr_based(
    equity: Decimal | None, price: Decimal | None, atr: Estimate, risk_per_trade_pct: Decimal, multiple: Decimal
) -> Request:
    """Ask for the quantity that loses `risk_per_trade_pct` of equity over `multiple` average true ranges.

    quantity = equity * risk / (multiple * ATR). The stop itself stays at STOP_LOSS_PCT.
    """
    method = "atr_based"
    inputs: Inputs = {
        "equity": _finite(equity),
        "price": _finite(price),
        "risk_per_trade_pct": risk_per_trade_pct,
        "atr": _finite(atr.value),
        "atr_multiple": multiple,
        **_counts(atr.seen, atr.needed),
    }
    money, known = _money(equity, price), _known("atr", atr, _LEAST_ATR)
    if isinstance(money, Finding) or isinstance(known, Finding):
        return _refused(method, inputs, money, known)
    distance = multiple * known
    if risk_per_trade_pct * money.price >= distance:
        return _worth(method, money.equity, money, inputs)
    quantity = divide(money.equity * risk_per_trade_pct, distance, _QUANTITY_PLACES)
    return Request(method, quantity, {**inputs, "notional": quantise(quantity * money.price, 12)})


def kelly_criterion(
    equity: Decimal | None, price: Decimal | None, trips: TripStatistics, kelly_fraction: Decimal
) -> Request:
    """Ask for a part of the Kelly fraction of equity, the notional being the stake.

    f = p - (1 - p) * l / w and notional = equity * kelly_fraction * f, with win rate p, mean win w and mean loss l
    (Kelly 1956, for a bet that loses 1 and wins w / l). Taking the whole notional for the stake is the careful
    reading: the growth-optimal leverage p / l - (1 - p) / w is many times the equity for small w and l.
    """
    method = "kelly_criterion"
    inputs: Inputs = {
        "equity": _finite(equity),
        "price": _finite(price),
        "kelly_fraction": kelly_fraction,
        "win_rate": _finite(trips.win_rate),
        "avg_win": _finite(trips.avg_win),
        "avg_loss": _finite(trips.avg_loss),
        **_counts(trips.seen, trips.needed),
    }
    money, known = _money(equity, price), _known_trips(trips)
    if isinstance(money, Finding) or isinstance(known, Finding):
        return _refused(method, inputs, money, known)
    rate, win, loss = known
    lost = (ONE - rate) * loss
    share = ratio(lost, win) if win else None
    edge = inputs["kelly"] = None if share is None else rate - share
    if edge is None or edge <= 0:
        detail = "the last round trips, net of fees, leave nothing to bet on"
        return Request(method, ZERO, inputs, compared(Code.KELLY_NON_POSITIVE, detail, edge, ZERO))
    return _worth(method, money.equity * kelly_fraction * edge, money, inputs)


@dataclass(frozen=True)
class _Money:
    """Equity and price of one base unit in quote currency, both above 0."""

    equity: Decimal
    price: Decimal


def _worth(method: str, notional: Decimal, money: _Money, inputs: Inputs) -> Request:
    """Ask for what a notional buys at the price, at most for the equity's worth."""
    notional = quantise(min(notional, money.equity), 12)
    return Request(method, divide(notional, money.price, _QUANTITY_PLACES), {**inputs, "notional": notional})


def _share(equity: Decimal, numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return equity * numerator / denominator, at most the equity."""
    return equity if numerator >= denominator else divide(equity * numerator, denominator)


def _finite(value: Decimal | None) -> Decimal | None:
    return None if value is None or not value.is_finite() else value


def _money(equity: Decimal | None, price: Decimal | None) -> _Money | Finding:
    equity, price = _finite(equity), _finite(price)
    if equity is None or not 0 < equity <= GREATEST_EQUITY:
        return Finding(Code.SIZING_INPUT_UNKNOWN, "size is zero: equity is not known or not above 0", value=ZERO)
    if price is None or price <= 0:
        return Finding(Code.SIZING_INPUT_UNKNOWN, "size is zero: price is not known", value=ZERO)
    return _Money(equity, price)


def _known(name: str, estimate: Estimate, least: Decimal) -> Decimal | Finding:
    value = _finite(estimate.value)
    if value is None:
        return _unknown(f"{name} is not known", estimate.seen, estimate.needed, estimate.of_what)
    if value < least:
        return Finding(Code.SIZING_INPUT_UNKNOWN, f"size is zero: {name} is {shown(value)}", value=ZERO)
    return value


def _known_trips(trips: TripStatistics) -> tuple[Decimal, Decimal, Decimal] | Finding:
    rate, win, loss = _finite(trips.win_rate), _finite(trips.avg_win), _finite(trips.avg_loss)
    lacking = [
        name
        for name, value, counts in (
            ("win_rate", rate, True),
            ("avg_win", win, rate is None or rate > 0),
            ("avg_loss", loss, rate is None or rate < 1),
        )
        if value is None and counts
    ]
    if lacking or rate is None:
        verb = "is" if len(lacking) == 1 else "are"
        return _unknown(f"{', '.join(lacking)} {verb} not known", trips.seen, trips.needed, trips.of_what)
    return rate, win or ZERO, loss or ZERO


def _unknown(what: str, seen: int, needed: int, of_what: str) -> Finding:
    return Finding(
        Code.SIZING_INPUT_UNKNOWN,
        f"size is zero: {what}, {seen} of {needed} {of_what}",
        value=Decimal(seen),
        limit=Decimal(needed),
        headroom=Decimal(seen - needed),
    )


def _counts(seen: int, needed: int) -> Inputs:
    return {"seen": Decimal(seen), "needed": Decimal(needed)}


def _refused(method: str, inputs: Inputs, *found: object) -> Request:
    """Ask for nothing because of the first input that is lacking."""
    return Request(method, None, inputs, next(finding for finding in found if isinstance(finding, Finding)))


def headroom_quantity(limit: Decimal, used: Decimal, unit_cost: Decimal) -> Decimal:
    """Return how many base units fit between what is used and the limit (quote currency); 0 when none.

    Rounded down, so that quantity * unit_cost never passes what is left.
    """
    left = limit - used
    if left <= 0:
        return ZERO
    quantity = divide(left, unit_cost, _QUANTITY_PLACES)
    return quantity if quantity * unit_cost <= left else quantity - _QUANTITY_STEP


def round_to_lot(quantity: Decimal, spec: InstrumentSpec) -> Decimal:
    """Return a quantity rounded down to the lot grid."""
    return floor_to(quantity, spec.lot_size)
