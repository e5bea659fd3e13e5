"""The paper exchange: how much of an order a quote fills, and at which price.

The rules are those of the trading handbook, section "paper fills", and are deliberately harder on us than the touch:

* A: size shown opposite to the order, less what we took there since it was refreshed.
* V60: base volume of the last 60 s. cap = max(0, participation * V60 - own fills in 60 s); V60 = 0: cap = A.
* Q = min(order, cap, levels * A), on the lot grid.
* q1 = min(Q, A) at the touch; q2 = Q - q1 at touch * (1 + d * delta * (1 + q2/A) / 2), where
  delta = max(tick/touch, 0.00005, half-spread) and d = +1 for a buy, -1 for a sale.
* all of it times (1 + d * sigma_1m * sqrt(Q / V60)) (V60 = 0: A), rounded to the tick against us.
* Q is reduced until the worst price respects the protective price.

Where the feed shows levels behind the touch, they are walked instead of guessed (`paper_walk_v1`): q1 is what is left
of the levels seen, each at its own price, and Q = min(order, cap, what is left of them). Only what `max_levels` has
beyond the number of levels seen is guessed as above, from the last level's price, with A the mean of what is left of a
level. With one level this is the rule of the touch. cap and impact stay.

`bid`, `ask` and `touch` in the numbers of a fill are what the rules were applied to. They are the quote's own, except
for a constructed quote (candle files) whose mid would be better for us than that at decision: it is moved to that.

The price of q2 is the mean of a ladder whose price x base units beyond the touch is touch * (1 + d * delta *
(1/2 + x/A)) (its integral from 0 to q2, divided by q2, gives it); so the worst price is that ladder's at q2, times the
impact, rounded against us.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from services.cdb_execution.codes import ExpiryCode, shown
from services.cdb_execution.levels import LevelSeen
from services.cdb_execution.market import Sigma
from services.common.book import Level
from services.common.decimals import ONE, ZERO, ceil_to, clamp, divide, floor_to, quantise, square_root

__all__ = ["RULE", "WALK_RULE", "Obstacle", "PaperFill", "Request", "TopOfBook", "attempt_fill", "fit"]

RULE: Final = "paper_ioc_v1"
"""Of a fill where the touch alone is known."""
WALK_RULE: Final = "paper_walk_v1"
"""Of a fill that walks the levels seen."""
SMALLEST_LEVEL_STEP: Final = Decimal("0.00005")
HALF: Final = Decimal("0.5")
PLACES: Final = 12
RATIO_PLACES: Final = 18
LARGEST: Final = Decimal("9" * 28)


@dataclass(frozen=True)
class Request:
    """What is asked of the paper exchange.

    Attributes:
        quantity: base units still to fill, on the lot grid.
        protection: worst acceptable price, quote currency.
        participation: largest share of V60 that our own fills may be.
        max_levels: largest fill in multiples of A.
        tick_size, lot_size: grids of the instrument.
    """

    side: Literal["BUY", "SELL"]
    quantity: Decimal
    protection: Decimal
    participation: Decimal
    max_levels: int
    tick_size: Decimal
    lot_size: Decimal

    @property
    def direction(self) -> Decimal:
        """+1 for a buy, -1 for a sale."""
        return ONE if self.side == "BUY" else -ONE


@dataclass(frozen=True)
class TopOfBook:
    """A valid quote and what is known of the last minute; sizes and volumes in base units.

    Attributes:
        displayed: size shown at the touch opposite to the order.
        taken: what our own fills took there since it was refreshed.
        levels: opposite to the order, best first, the touch among them; none where the touch alone is known.
    """

    bid: Decimal
    ask: Decimal
    displayed: Decimal
    taken: Decimal
    volume_60s: Decimal
    own_60s: Decimal
    sigma_1m: Sigma
    levels: tuple[LevelSeen, ...] = ()

    @property
    def available(self) -> Decimal:
        """A: what is left at the touch."""
        return max(ZERO, self.displayed - self.taken)


@dataclass(frozen=True)
class PaperFill:
    """A fill: quantity on the lot grid, price on the tick grid, and every number that made them.

    Attributes:
        at_touch: the part that was taken from the size shown at the touch.
        of_levels: (price, quantity) of each level that was walked; none where the touch alone is known.
    """

    quantity: Decimal
    at_touch: Decimal
    price: Decimal
    limited_by: str
    numbers: dict[str, Any]
    of_levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class Obstacle:
    """Why nothing fills at this quote."""

    code: ExpiryCode
    detail: str


def fit(value: Decimal) -> Decimal:
    """Round half-even so that the number fits the wire: 12 decimals, fewer when it is astronomically large.

    What is larger than any wire number (a feed that shows nonsense sizes) is shown as the largest.
    """
    value = clamp(value, -LARGEST, LARGEST)
    return quantise(value, min(PLACES, 27 - value.adjusted()))


class _Ladder:
    """Prices of a fill as functions of its quantity Q.

    Attributes:
        seen: (price, what is left) of each level that is known, best first.
        size: what is left of all of them.
        mean: A of what lies beyond them.
    """

    def __init__(self, request: Request, book: TopOfBook) -> None:
        self.direction = request.direction
        self.touch = book.ask if request.side == "BUY" else book.bid
        self.seen: tuple[Level, ...] = ((self.touch, book.available),)
        self.size = self.mean = book.available
        if book.levels:
            self.seen = tuple((level.price, level.available) for level in book.levels)
            self.size = sum((left for _, left in self.seen), ZERO)
            self.mean = divide(self.size, Decimal(len(self.seen)), RATIO_PLACES)
        self.sigma = book.sigma_1m.value
        self.impact_base = book.volume_60s or book.available
        self.tick_size = request.tick_size
        half_spread = divide(book.ask - book.bid, book.ask + book.bid)
        self.delta = max(divide(self.tick_size, self.touch), SMALLEST_LEVEL_STEP, half_spread)

    def most(self, max_levels: int) -> Decimal:
        """Return the largest Q: the levels seen, and beyond them as many as `max_levels` has more."""
        return self.size + max(0, max_levels - len(self.seen)) * self.mean

    def parts(self, quantity: Decimal) -> tuple[Level, ...]:
        """Return (price, quantity) of each level that is walked."""
        parts, rest = [], quantity
        for price, left in self.seen:
            used = min(rest, left)
            if used > 0:
                parts.append((price, used))
                rest -= used
        return tuple(parts)

    def beyond(self, quantity: Decimal) -> Decimal:
        return max(ZERO, quantity - self.size)

    def depth(self, quantity: Decimal) -> Decimal:
        """q2/A."""
        return divide(self.beyond(quantity), self.mean, RATIO_PLACES)

    def impact(self, quantity: Decimal) -> Decimal:
        return self.sigma * square_root(divide(quantity, self.impact_base, RATIO_PLACES))

    def level_price(self, quantity: Decimal) -> Decimal:
        """Mean price of what lies beyond the levels seen."""
        return self.seen[-1][0] * (ONE + self.direction * self.delta * (ONE + self.depth(quantity)) * HALF)

    def average(self, quantity: Decimal) -> Decimal:
        """Price of the whole fill before rounding."""
        beyond, parts = self.beyond(quantity), self.parts(quantity)
        mean = parts[0][0]
        if beyond or len(parts) > 1:
            paid = sum((price * used for price, used in parts), ZERO)
            mean = divide(paid + beyond * self.level_price(quantity) if beyond else paid, quantity)
        return mean * (ONE + self.direction * self.impact(quantity))

    def worst(self, quantity: Decimal) -> Decimal:
        """Price of the last base unit, rounded to the tick against us; never worse than nothing at all."""
        deepest = self.parts(quantity)[-1][0]
        if self.beyond(quantity):
            step = self.direction * self.delta * (HALF + self.depth(quantity))
            deepest = self.seen[-1][0] * max(ZERO, ONE + step)
        return self.against_us(deepest * max(ZERO, ONE + self.direction * self.impact(quantity)))

    def against_us(self, price: Decimal) -> Decimal:
        return ceil_to(price, self.tick_size) if self.direction > 0 else floor_to(price, self.tick_size)


def attempt_fill(request: Request, book: TopOfBook) -> PaperFill | Obstacle:
    """Fill as much of the request as the quote and the rules let, or say what stands in the way.

    Args:
        request: what is asked, with a quantity of at least one lot.
        book: a valid quote (0 < bid < ask, both at least one tick).
    """
    available = book.available
    cap = max(ZERO, request.participation * book.volume_60s - book.own_60s) if book.volume_60s else available
    ladder = _Ladder(request, book)
    levels = ladder.most(request.max_levels)
    if levels < request.lot_size:
        where = f"on {len(book.levels)} levels" if book.levels else "at the touch"
        displayed, taken = book.displayed, book.taken
        for level in book.levels[1:]:
            displayed, taken = displayed + level.shown, taken + level.taken
        return Obstacle(ExpiryCode.NO_SIZE, f"{shown(displayed)} shown {where}, {shown(taken)} taken by us")
    if cap < request.lot_size:
        return Obstacle(
            ExpiryCode.PARTICIPATION_CAP,
            f"{shown(request.participation)} of {shown(book.volume_60s)} traded in 60 s, "
            f"{shown(book.own_60s)} filled by us",
        )
    wanted = floor_to(min(request.quantity, cap, levels), request.lot_size)
    quantity = _within_protection(request, ladder, wanted)
    if not quantity:
        return Obstacle(
            ExpiryCode.PROTECTION_PRICE,
            f"the smallest fill would be at {shown(ladder.worst(request.lot_size))}, "
            f"protected at {shown(request.protection)}",
        )
    if quantity < wanted:
        limited_by = "protection"
    elif quantity == request.quantity:
        limited_by = "order"
    else:
        limited_by = "participation" if cap <= levels else "levels"
    worst, average = ladder.worst(quantity), ladder.average(quantity)
    price = ladder.against_us(average)
    # Rounding of the mean may not carry the price beyond its own worst part.
    price = min(price, worst) if request.side == "BUY" else max(price, worst)
    beyond, parts = ladder.beyond(quantity), ladder.parts(quantity)
    numbers: dict[str, Any] = {
        "rule": WALK_RULE if book.levels else RULE,
        "bid": book.bid,
        "ask": book.ask,
        "touch": ladder.touch,
        "displayed": book.displayed,
        "taken": fit(book.taken),
        "available": fit(available),
        "volume_60s": fit(book.volume_60s),
        "own_60s": fit(book.own_60s),
        "participation": request.participation,
        "cap": fit(cap),
        "max_levels": request.max_levels,
        "levels": fit(levels),
        "requested": request.quantity,
        "quantity": quantity,
        "limited_by": limited_by,
        "q1": fit(quantity - beyond),
        "q2": fit(beyond),
        "delta": ladder.delta,
        "level_price": fit(ladder.level_price(quantity)) if beyond else None,
        "sigma_1m": book.sigma_1m.value,
        "sigma_known": book.sigma_1m.known,
        "impact_base": fit(ladder.impact_base),
        "impact": fit(ladder.impact(quantity)),
        "average": fit(average),
        "worst_price": worst,
        "protection_price": fit(request.protection),
        "tick_size": request.tick_size,
        "lot_size": request.lot_size,
        "price": price,
    }
    at_touch = parts[0][1] if parts[0][0] == ladder.touch else ZERO
    if not book.levels:
        return PaperFill(quantity, at_touch, price, limited_by, numbers)
    numbers |= {"levels_seen": len(book.levels), "left": fit(ladder.size), "mean_level": fit(ladder.mean)}
    numbers["walk"] = _walk(book.levels, dict(parts))
    return PaperFill(quantity, at_touch, price, limited_by, numbers, parts)


def _walk(levels: tuple[LevelSeen, ...], used: dict[Decimal, Decimal]) -> list[dict[str, Decimal]]:
    """Return every level down to the last that was used, with its numbers."""
    last = max(place for place, level in enumerate(levels) if level.price in used)
    return [
        {
            "price": level.price,
            "shown": level.shown,
            "taken": fit(level.taken),
            "used": fit(used.get(level.price, ZERO)),
        }
        for level in levels[: last + 1]
    ]


def _within_protection(request: Request, ladder: _Ladder, wanted: Decimal) -> Decimal:
    """Return the largest quantity on the lot grid, up to `wanted`, whose worst price respects the protection.

    The worst price only gets worse with the quantity, so halving finds it.
    """

    def respects(lots: int) -> bool:
        worst = ladder.worst(lots * request.lot_size)
        return worst <= request.protection if request.side == "BUY" else worst >= request.protection

    too_many = int(divide(wanted, request.lot_size, 0))
    if respects(too_many):
        return wanted
    enough = 0
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if respects(middle):
            enough = middle
        else:
            too_many = middle
    return enough * request.lot_size
