"""What one quote or mark makes due: the liquidation guard, a stop, a profit or the end of the holding time."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.liquidation import guard_trigger
from services.cdb_risk.protective import trigger_price
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.state import RiskState
from services.cdb_risk.triggers import Trigger, follow, held_too_long, price_trigger
from services.common.events import MarketData
from services.common.instruments import PERPETUAL

__all__ = ["exit_due"]


def exit_due(
    settings: RiskSettings,
    state: RiskState,
    key: str,
    event: MarketData,
    mark: Decimal | None,
    *,
    good: bool,
    now: int,
) -> Trigger | None:
    """Return why a position has to leave now; None when it may stay, or is leaving already. Folds the best price.

    Args:
        settings: the distances.
        state: what is held, and which exits are latched.
        key: of the instrument.
        event: its market data: a valid quote or mark.
        mark: the event's mark price, if it can be believed.
        good: whether the price is within the collar.
        now: folded clock, microseconds.
    """
    position = state.account.portfolio.positions.get(key)
    latched = state.exits.get(key)
    trigger = None
    if position is not None and position.quantity:
        price, spec = trigger_price(event, position.quantity, mark), settings.spec(key)
        if price is not None and spec is not None:
            trigger = guard_trigger(settings, spec, position, price, latched)
            if good:
                follow(state.best, key, position, price)
            if trigger is None and (latched is None or not latched.protective):
                what = "mark" if event.venue == PERPETUAL else "bid" if position.quantity > 0 else "ask"
                best = state.best.get(key)
                trigger = price_trigger(settings, position, best, what, price, good=good)
        if trigger is None and latched is None:
            trigger = held_too_long(settings, position, now)
    return trigger
