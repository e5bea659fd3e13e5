"""Layer 2: how much of one instrument, how many, how often; and for exits, what there is to sell."""

from __future__ import annotations

from decimal import Decimal

from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, compared, ok, ratio, shown
from services.common.decimals import ZERO, divide
from services.common.timestamps import SECOND_US

__all__ = [
    "check_concurrent",
    "check_entry_working",
    "check_exit",
    "check_long_only",
    "check_minimum",
    "check_not_positioned",
    "check_nothing_closing",
    "check_order_notional",
    "check_order_rate",
    "check_rate",
    "check_share",
    "check_sizing",
    "check_spacing",
]


def check_long_only(*, is_short: bool, allowed: bool = False) -> Finding:
    """Spot sells only what is held; a perpetual is sold short only where SIGNAL_ALLOW_SHORT lets it."""
    if is_short and not allowed:
        return Finding(Code.SHORT_NOT_ALLOWED, MEANINGS[Code.SHORT_NOT_ALLOWED])
    return ok("short" if is_short else "long")


def check_not_positioned(position: Decimal, *, dust: bool = False) -> Finding:
    """No pyramiding: an instrument that is held is not entered again; dust does not count as held."""
    if position and not dust:
        return Finding(Code.ALREADY_POSITIONED, f"{shown(position)} is held", value=position, limit=ZERO)
    return ok("not held", value=position)


def check_entry_working(*, working: bool) -> Finding:
    """One entry of an instrument at a time."""
    return Finding(Code.ENTRY_WORKING, MEANINGS[Code.ENTRY_WORKING]) if working else ok("no entry working")


def check_concurrent(held: int, limit: int) -> Finding:
    """The new position would be number held + 1."""
    return Finding(
        Code.OK if held < limit else Code.TOO_MANY_POSITIONS,
        f"{held} of {limit} positions held or being entered",
        value=Decimal(held),
        limit=Decimal(limit),
        headroom=Decimal(limit - held),
    )


def check_rate(entries_last_minute: int, limit: int) -> Finding:
    """The new entry would be number entries + 1 within the minute."""
    return Finding(
        Code.OK if entries_last_minute < limit else Code.ORDER_RATE,
        f"{entries_last_minute} of {limit} entries within the last minute",
        value=Decimal(entries_last_minute),
        limit=Decimal(limit),
        headroom=Decimal(limit - entries_last_minute),
    )


def check_nothing_closing(*, working: bool) -> Finding:
    """An entry must not trade against an exit of the same instrument that may still fill."""
    return Finding(Code.EXIT_WORKING, "an exit of the instrument still works") if working else ok("no exit working")


def check_order_rate(orders_last_minute: int, limit: int) -> Finding:
    """The new order would be number orders + 1 of all instruments within the minute; exits count but never wait."""
    return Finding(
        Code.OK if orders_last_minute < limit else Code.TOTAL_ORDER_RATE,
        f"{orders_last_minute} of {limit} orders of all symbols within the last minute",
        value=Decimal(orders_last_minute),
        limit=Decimal(limit),
        headroom=Decimal(limit - orders_last_minute),
    )


def check_order_notional(worst_notional: Decimal, limit: Decimal, *, no_room: bool) -> Finding:
    """Compare one order at its worst price with the largest that is allowed; equality passes, requests are capped.

    Args:
        worst_notional: the order, already capped, in quote currency.
        limit: the smaller of MAX_ORDER_NOTIONAL_USDT and the exchange's maximum.
        no_room: whether the limit alone leaves less than the exchange's minimum order.
    """
    return compared(
        Code.ORDER_NOTIONAL_LIMIT if no_room or worst_notional > limit else Code.OK,
        ("the order costs {} at worst, at most {}", worst_notional, limit),
        worst_notional,
        limit,
    )


def check_spacing(since_last_us: int | None, spacing_sec: int) -> Finding:
    """Three majors are one bet: entries in the same direction keep their distance in time."""
    if since_last_us is None:
        return ok("no earlier entry in this direction")
    elapsed = divide(Decimal(since_last_us), Decimal(SECOND_US), 6)
    return Finding(
        Code.ENTRY_SPACING if since_last_us < spacing_sec * SECOND_US else Code.OK,
        f"last entry in this direction {elapsed:f} s ago",
        value=elapsed,
        limit=Decimal(spacing_sec),
        headroom=elapsed - spacing_sec,
    )


def check_sizing(requested: Decimal | None, refusal: Finding | None = None) -> Finding:
    """An unknown input makes the size zero; the sizing method's own refusal says which one it was."""
    if refusal is not None:
        return refusal
    if requested is None or requested <= 0:
        return Finding(Code.SIZING_INPUT_UNKNOWN, MEANINGS[Code.SIZING_INPUT_UNKNOWN], value=ZERO)
    return ok(("{} requested", requested), value=requested)


def check_minimum(
    quantity: Decimal, price: Decimal, min_quantity: Decimal, min_notional: Decimal, *, capped_to_nothing: bool
) -> Finding:
    """What is left must be an order that the exchange takes; `capped_to_nothing` when a cap of this layer took it."""
    notional = quantity * price
    if quantity >= min_quantity and notional >= min_notional:
        return ok(
            ("{} worth {}", quantity, notional),
            value=notional,
            limit=min_notional,
            headroom=notional - min_notional,
        )
    return Finding(
        Code.POSITION_LIMIT if capped_to_nothing else Code.BELOW_MINIMUM,
        f"{shown(quantity)} worth {shown(notional)} is left; "
        f"the exchange takes {shown(min_quantity)} worth {shown(min_notional)} at least",
        value=notional,
        limit=min_notional,
        headroom=notional - min_notional,
    )


def check_share(worst_notional: Decimal, equity: Decimal, limit_pct: Decimal, code: Code) -> Finding:
    """Compare a worst-case notional, the order included, with its share of equity; equality passes. equity > 0."""
    over = worst_notional > limit_pct * equity
    share = ratio(worst_notional, equity)
    return compared(code if over else Code.OK, ("{} of {}", worst_notional, equity), share, limit_pct)


def check_exit(position: Decimal, pending: Decimal, quantity: Decimal, *, dust: bool, too_soon: bool) -> Finding:
    """An exit sells what is held less what is being sold, on the lot grid, and never more.

    Args:
        position: base units held.
        pending: base units that working exits may still sell.
        quantity: what is left to sell on the lot grid.
        dust: whether that is below the exchange's minimum order.
        too_soon: whether the last exit order was sent less than two seconds ago.
    """
    if position <= 0:
        return Finding(Code.NO_POSITION, "nothing is held", value=ZERO, limit=ZERO)
    if pending > 0:
        return Finding(
            Code.EXIT_WORKING, f"{shown(pending)} of {shown(position)} is being sold", value=pending, limit=position
        )
    if dust:
        return Finding(Code.DUST, f"{shown(position)} is below the exchange's minimum", value=quantity, limit=position)
    if too_soon:
        return Finding(Code.EXIT_TOO_SOON, MEANINGS[Code.EXIT_TOO_SOON], value=quantity, limit=position)
    return ok(
        ("sells {} of {}", quantity, position),
        value=quantity,
        limit=position,
        headroom=position - pending - quantity,
    )
