"""What `/status` shows of risk: one screen of state, losses, positions and working orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.cdb_risk.finding import ratio, wire
from services.cdb_risk.liquidation import liquidation_view
from services.cdb_risk.situation import Situation
from services.cdb_risk.sizing_request import sizing_view
from services.cdb_risk.triggers import levels
from services.common.decimals import ZERO
from services.common.timestamps import MS_US, format_timestamp

__all__ = ["summarise"]


def summarise(situation: Situation) -> dict[str, Any]:
    """Return plain values (Decimal, int, str, lists, dicts) that the codec can write."""
    state = situation.state
    return {
        "now": format_timestamp(situation.now),
        "trading_state": state.trading.mode,
        "causes": {
            name: {"since": format_timestamp(latch.since), "by": latch.by, "reason": latch.reason}
            for name, latch in state.trading.latches.items()
        },
        "journal_pressure": state.pressure,
        **_money(situation),
        "headroom": _headroom(situation),
        **_ramp(situation),
        "sizing": sizing_view(situation),
        "losses_in_a_row": state.trips.lost,
        "positions": [_position(situation, key) for key in _held(situation)],
        "working_orders": [
            {
                "order_id": o.order_id,
                "instrument": o.key,
                "side": o.side,
                "purpose": o.purpose,
                "quantity": wire(o.quantity),
                "filled": wire(o.filled),
                "status": o.status,
                "since": format_timestamp(o.created_at),
            }
            for o in state.reservations.orders.values()
        ],
        "latched_exits": [
            {
                "instrument": key,
                "purpose": latched.purpose,
                "since": format_timestamp(latched.since),
                "attempts": latched.attempts,
                "reason": latched.reason,
            }
            for key, latched in state.exits.items()
        ],
        "quote_age_ms": {
            key: None if market.quote is None else (situation.now - market.quote.timestamp) // MS_US
            for key, market in state.market.items()
        },
        "conditions": _conditions(situation),
        "decisions": {"approved": state.approved, "refused": dict(sorted(state.refused.items()))},
    }


def _conditions(situation: Situation) -> dict[str, int]:
    """Return how many things hold now that an operator must act on, by alert code."""
    found: dict[str, int] = {}
    for key, alarm in situation.state.alarms.sent.items():
        if alarm.lasting:
            code = key.partition("/")[0]
            found[code] = found.get(code, 0) + 1
    return found


def _held(situation: Situation) -> list[str]:
    positions = situation.state.account.portfolio.positions
    return [key for key, position in positions.items() if position.quantity]


def _money(situation: Situation) -> dict[str, Any]:
    account = situation.state.account
    return {
        "equity": wire(account.equity),
        "cash": wire(account.portfolio.cash),
        "start_of_day_equity": wire(account.start_of_day_equity),
        "peak_equity": wire(account.peak_equity),
        "daily_pnl": wire(account.daily_pnl),
        "drawdown": wire(account.drawdown),
        "exposure": wire(situation.exposure()),
        "realized_pnl": wire(account.portfolio.realized_pnl),
        "unrealized_pnl": wire(account.portfolio.unrealized_pnl),
        "fees": wire(account.portfolio.fees),
        "funding": wire(account.portfolio.funding),
        "margin": wire(account.portfolio.margin),
        "stale_marks": situation.stale_marks(),
    }


def _ramp(situation: Situation) -> dict[str, Any]:
    """Return what is used of the live ramp, USDT; nothing on paper."""
    settings, pnl = situation.settings, situation.state.account.daily_pnl
    if not settings.sends:
        return {}
    keys = [*_held(situation), *(order.key for order in situation.state.reservations.orders.values())]
    worth = {key: situation.notional(key) for key in dict.fromkeys(keys)}
    known = [value for value in worth.values() if value is not None]

    def used(limit: Decimal, value: Decimal | None) -> dict[str, Decimal | None]:
        return {"value": wire(value), "limit": limit, "headroom": None if value is None else wire(limit - value)}

    return {
        "ramp": {
            "symbols": list(settings.LIVE_SYMBOLS),
            "capital": wire(situation.capital()),
            "max_order": settings.largest_order,
            "position": used(
                settings.LIVE_MAX_POSITION_USDT, max(known, default=ZERO) if len(known) == len(worth) else None
            ),
            "daily_loss": used(settings.LIVE_MAX_DAILY_LOSS_USDT, None if pnl is None else -pnl),
        }
    }


def _headroom(situation: Situation) -> dict[str, Decimal | None]:
    """Return what is left of each limit, as fractions."""
    account, settings = situation.state.account, situation.settings
    equity, exposure, pnl, sod = account.equity, situation.exposure(), account.daily_pnl, account.start_of_day_equity
    lost = None if pnl is None or not sod or sod < 0 else ratio(-pnl, sod)
    used = None if equity is None or exposure is None or equity <= 0 else ratio(exposure, equity)
    drawdown, peak = account.drawdown, account.rolling.peak
    rolling = None if equity is None or not peak or peak < 0 else ratio(peak - equity, peak)

    def left(limit: Decimal, value: Decimal | None) -> Decimal | None:
        return None if value is None else wire(limit - value)

    return {
        "position_limits": left(settings.MAX_POSITION_PCT, _largest_share(situation)),
        "daily_drawdown": left(settings.MAX_DAILY_DRAWDOWN_PCT, lost),
        "total_exposure": left(settings.MAX_TOTAL_EXPOSURE_PCT, used),
        "circuit_breaker": left(settings.CIRCUIT_BREAKER_THRESHOLD_PCT, drawdown),
        "rolling_drawdown": left(settings.MAX_ROLLING_DRAWDOWN_PCT, rolling)
        if settings.MAX_ROLLING_DRAWDOWN_PCT
        else None,
    }


def _largest_share(situation: Situation) -> Decimal | None:
    """Return the largest instrument's worst case (position and pending entries) as a share of equity."""
    equity = situation.state.account.equity
    working = [order.key for order in situation.state.reservations.orders.values()]
    values = [situation.notional(key) for key in dict.fromkeys([*_held(situation), *working])]
    known = [value for value in values if value is not None]
    if equity is None or equity <= 0 or len(known) < len(values):
        return None
    return ratio(max(known, default=ZERO), equity)


def _position(situation: Situation, key: str) -> dict[str, Any]:
    portfolio = situation.state.account.portfolio
    position = portfolio.positions[key]
    at = levels(situation.settings, position, situation.state.best.get(key))
    mark = portfolio.marks.get(key)
    near = liquidation_view(situation.settings.spec(key), position, None if mark is None else mark.price)
    return {
        "instrument": key,
        "quantity": wire(position.quantity),
        "entry_price": wire(position.entry_price),
        "value": wire(portfolio.value_of(key)),
        "stop_price": wire(at.get("stop_loss")),
        "trailing_stop_price": wire(at.get("trailing_stop")),
        "take_profit_price": wire(at.get("take_profit")),
        "margin": wire(position.margin),
        "funding": wire(position.funding),
        "liquidation_price": None if near is None else wire(near.price),
        "liquidation_distance": None if near is None else wire(near.distance),
        "margin_ratio": None if near is None else wire(near.margin_ratio),
        "dust": situation.is_dust(key),
        "opened_at": None if position.opened_at is None else format_timestamp(position.opened_at),
    }
