"""What makes a held position leave by itself: stop loss, trailing stop, take profit and the maximum holding time.

| trigger | long, at the bid (perpetual: the mark) | short, at the ask (perpetual: the mark) | quote |
|---|---|---|---|
| stop loss | entry * (1 - stop) or lower | entry * (1 + stop) or higher | valid |
| trailing stop | best since entry * (1 - trail) or lower | best since entry * (1 + trail) or higher | valid |
| take profit | entry * (1 + profit) or higher | entry * (1 - profit) or lower | good |
| holding time | MAX_HOLD_MIN after the entry | the same | none needed |

Losses are cut on any valid quote, since being wrong then only closes a position. The best price follows good quotes
alone and a profit is taken on one alone: one bad tick in our favour must not move a stop or sell.

The holding time leaves with the purpose `exit`, as the strategy's own time limit does: no price says that it hurries,
so it may wait for a good quote, does not go to MARKET, and rests while an operator has halted trading. The stops run
beside it all the while.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.cdb_risk.finding import shown
from services.cdb_risk.protective import stop_hit, stop_price
from services.cdb_risk.settings import RiskSettings
from services.common.decimals import ONE, divide
from services.common.events import Purpose
from services.common.portfolio import Position
from services.common.timestamps import MINUTE_US

__all__ = ["Best", "Trigger", "follow", "held_too_long", "levels", "price_trigger"]


@dataclass
class Best:
    """The best trigger price since a position was opened: the highest for a long, the lowest for a short.

    Attributes:
        opened_at: of the position it belongs to, microseconds.
        quantity: signed, as it was when first seen; its sign is the direction.
    """

    opened_at: int | None
    quantity: Decimal
    price: Decimal

    def belongs_to(self, position: Position) -> bool:
        """Whether this is the best price of the position that is held now."""
        return self.opened_at == position.opened_at and (self.quantity > 0) == (position.quantity > 0)


@dataclass(frozen=True)
class Trigger:
    """Why a position has to leave, in words, and as what."""

    purpose: Purpose
    reason: str


def follow(best: dict[str, Best], key: str, position: Position, price: Decimal) -> None:
    """Fold a good trigger price of a held position."""
    current = best.get(key)
    if current is None or not current.belongs_to(position):
        best[key] = Best(position.opened_at, position.quantity, price)
    elif price > current.price if position.quantity > 0 else price < current.price:
        current.price = price


def _trail_price(settings: RiskSettings, position: Position, best: Best | None) -> Decimal | None:
    """Return where the trailing stop stands; None when it is off or nothing has been seen since entry."""
    trail = settings.TRAILING_STOP_PCT
    if not trail or best is None or not best.belongs_to(position):
        return None
    return best.price * (ONE - trail if position.quantity > 0 else ONE + trail)


def _profit_price(settings: RiskSettings, position: Position) -> Decimal | None:
    """Return where the profit is taken; None when that is off."""
    profit = settings.TAKE_PROFIT_PCT
    if not profit or not position.quantity:
        return None
    return divide(position.cost * _profit_factor(position, profit), position.quantity)


def _profit_factor(position: Position, profit: Decimal) -> Decimal:
    return ONE + profit if position.quantity > 0 else ONE - profit


def levels(settings: RiskSettings, position: Position, best: Best | None) -> dict[Purpose, Decimal]:
    """Return the prices at which a held position leaves by itself, in quote currency."""
    found: dict[Purpose, Decimal | None] = {
        "stop_loss": stop_price(position, settings.STOP_LOSS_PCT),
        "trailing_stop": _trail_price(settings, position, best),
        "take_profit": _profit_price(settings, position),
    }
    return {purpose: price for purpose, price in found.items() if price is not None}


def price_trigger(
    settings: RiskSettings, position: Position, best: Best | None, what: str, price: Decimal, *, good: bool
) -> Trigger | None:
    """Return what a price sets off, the stop loss first; None when nothing.

    Args:
        settings: the distances.
        position: what is held.
        best: the best price so far, this one folded in if it is good.
        what: the price's name: `bid`, `ask` or `mark`.
        price: of the quote that has just come.
        good: whether it is within the price collar.
    """
    long = position.quantity > 0
    if stop_hit(position, price, settings.STOP_LOSS_PCT):
        beyond = "under" if long else "over"
        return Trigger(
            "stop_loss", f"{what} {shown(price)} reached the stop, {settings.STOP_LOSS_PCT} {beyond} the entry"
        )
    trail = _trail_price(settings, position, best)
    if trail is not None and best is not None and (price <= trail if long else price >= trail):
        return Trigger(
            "trailing_stop",
            f"{what} {shown(price)} reached the trailing stop, {settings.TRAILING_STOP_PCT} from {shown(best.price)}",
        )
    profit = settings.TAKE_PROFIT_PCT
    # both sides carry the sign of the position, so that one comparison by products serves both directions
    if good and profit and price * position.quantity >= position.cost * _profit_factor(position, profit):
        return Trigger("take_profit", f"{what} {shown(price)} reached the profit of {profit}")
    return None


def held_too_long(settings: RiskSettings, position: Position, now: int) -> Trigger | None:
    """Return the trigger of the holding time; None while it is not over, or off."""
    limit = settings.MAX_HOLD_MIN
    if not limit or position.opened_at is None or now - position.opened_at < limit * MINUTE_US:
        return None
    return Trigger("exit", f"held for {(now - position.opened_at) // MINUTE_US} min, at most {limit} (MAX_HOLD_MIN)")
