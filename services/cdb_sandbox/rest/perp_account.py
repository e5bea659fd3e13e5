"""Perpetual v1, the account: assets, positions, leverage, position mode, fee rates, risk tiers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_sandbox.core.exchange import OrderDraft
from services.cdb_sandbox.core.margin import Margin
from services.cdb_sandbox.core.orders import OrderType
from services.cdb_sandbox.house import House
from services.cdb_sandbox.perpetual_rows import HEDGE, ONE_WAY, position_row
from services.cdb_sandbox.rest.perp_public import risk_tiers
from services.cdb_sandbox.rest.request import Request
from services.common.decimals import ZERO
from services.common.errors import SandboxRefusal

__all__ = [
    "asset",
    "assets",
    "change_leverage",
    "change_margin",
    "change_position_mode",
    "close_all",
    "fee_rate",
    "fee_rate_v2",
    "funding_records",
    "history_positions",
    "leverage",
    "open_positions",
    "position_mode",
    "risk_limit",
]

PERPETUAL: Final = "mexc_perpetual"


def _asset_row(house: House, margin: Margin) -> dict[str, Any]:
    marks = house.exchange.marks
    unrealised = sum((p.unrealised(marks.get(key, p.entry)) for key, p in margin.positions.items()), ZERO)
    cash = margin.available + margin.frozen
    return {
        "currency": margin.currency,
        "positionMargin": margin.position_margin,
        "availableBalance": margin.available,
        "cashBalance": cash + margin.position_margin,
        "frozenBalance": margin.frozen,
        "equity": cash + margin.position_margin + unrealised,
        "unrealized": unrealised,
        "bonus": 0,
        "availableCash": margin.available,
        "availableOpen": margin.available,
        "debtAmount": 0,
    }


def assets(house: House, request: Request) -> Any:
    """Return what the perpetual account holds."""
    return [_asset_row(house, house.exchange.margins[request.account])]


def asset(house: House, request: Request) -> Any:
    """Return what the perpetual account holds of one currency."""
    margin = house.exchange.margins[request.account]
    if request.arguments["currency"] != margin.currency:
        raise SandboxRefusal(1000, "Account does not exist", status=200)
    return _asset_row(house, margin)


def open_positions(house: House, request: Request) -> Any:
    """Return the open positions, of one contract or of all."""
    name = request.params.get("symbol")
    positions = house.exchange.margins[request.account].positions.values()
    return [position_row(p.state(request.account)) for p in positions if not name or p.listing.name == name]


def history_positions(house: House, request: Request) -> Any:
    """Return the positions that were closed, newest first."""
    name = request.params.get("symbol")
    closed = house.exchange.margins[request.account].closed
    rows = [position_row(state) for state in reversed(closed) if not name or state.name == name]
    return request.page(rows)[0]


def funding_records(house: House, request: Request) -> Any:
    """Return funding paid and received, of one contract or of all, newest first."""
    name = request.params.get("symbol")
    records = reversed(house.exchange.margins[request.account].funding_records)
    rows = [row for row in records if not name or row["symbol"] == name]
    shown, page, size = request.page(rows)
    return {
        "pageSize": size,
        "totalCount": len(rows),
        "totalPage": -(-len(rows) // size),
        "currentPage": page,
        "resultList": shown,
    }


def leverage(house: House, request: Request) -> Any:
    """Return the leverage of a contract, for long and short."""
    listing = house.listing(PERPETUAL, request.params.get("symbol"))
    current = house.exchange.margins[request.account].leverage_of(listing)
    shared = {"openType": 1, "leverage": current, "limitBySys": False, "maxLeverageView": current}
    first = risk_tiers(listing)[0]
    return [first | shared | {"positionType": kind, "currentMmr": first["mmr"]} for kind in (1, 2)]


def change_leverage(house: House, request: Request) -> Any:
    """Set the leverage of a contract."""
    body = request.json if isinstance(request.json, dict) else {}
    margin = house.exchange.margins[request.account]
    name = body.get("symbol")
    if name is None:
        held = (p.listing.name for p in margin.positions.values() if p.position_id == body.get("positionId"))
        name = next(held, None)
    value = body.get("leverage")
    if not isinstance(value, int | str | Decimal) or not str(value).isdecimal():
        raise SandboxRefusal(2006, "Leverage ratio error", status=200)
    house.exchange.set_leverage(request.account, house.listing(PERPETUAL, name), int(value))


def change_margin(house: House, request: Request) -> Any:
    """Add cash to a position's isolated margin, or take some out."""
    body = request.json if isinstance(request.json, dict) else {}
    margin = house.exchange.margins[request.account]
    held = (p for p in margin.positions.values() if str(p.position_id) == str(body.get("positionId")))
    position = next(held, None)
    if position is None:
        raise SandboxRefusal(2009, "Position is not exists or closed", status=200)
    try:
        amount = Decimal(str(body.get("amount")))
    except ArithmeticError:
        amount = ZERO
    if not amount.is_finite() or amount <= ZERO or body.get("type") not in {"ADD", "SUB"}:
        raise SandboxRefusal(600, "Parameter error: amount or type", status=200)
    mark = house.exchange.marks.get(position.listing.key, position.entry)
    margin.change_margin(position, amount if body["type"] == "ADD" else -amount, mark, request.now_ms)


def position_mode(house: House, request: Request) -> Any:
    """Return the position mode: the one-way mode, unless a test has set the other."""
    return HEDGE if house.exchange.margins[request.account].hedged else ONE_WAY


def change_position_mode(house: House, request: Request) -> Any:
    """Accept the one-way mode, refuse the hedge mode."""
    body = request.json if isinstance(request.json, dict) else {}
    if str(body.get("positionMode")) != str(ONE_WAY):
        raise SandboxRefusal(7001, "Position mode cannot be changed: this sandbox is one-way", status=200)
    house.exchange.margins[request.account].hedged = False


def close_all(house: House, request: Request) -> Any:
    """Close every position at market."""
    for position in list(house.exchange.margins[request.account].positions.values()):
        is_long = position.quantity > ZERO
        draft = OrderDraft(
            account=request.account,
            listing=position.listing,
            side="SELL" if is_long else "BUY",
            order_type=OrderType.MARKET,
            quantity=abs(position.quantity),
            side_code=4 if is_long else 2,
            reduce_only=True,
            leverage=position.leverage,
        )
        house.exchange.place(draft, request.now_ms)


def fee_rate(house: House, request: Request) -> Any:
    """Return the fee rates of a contract for this account."""
    listing = house.listing(PERPETUAL, request.params.get("symbol"))
    return {
        "level": 0,
        "dealAmount": 0,
        "walletBalance": house.exchange.margins[request.account].available,
        "makerFee": listing.maker_fee,
        "takerFee": listing.taker_fee,
        "makerFeeDiscount": 1,
        "takerFeeDiscount": 1,
    }


def fee_rate_v2(house: House, request: Request) -> Any:
    """Return the fee rates of a contract for this account, in the newer form."""
    listing = house.listing(PERPETUAL, request.params.get("symbol"))
    return {
        "originalMakerFee": listing.maker_fee,
        "originalTakerFee": listing.taker_fee,
        "realMakerFee": listing.maker_fee,
        "realTakerFee": listing.taker_fee,
        "discountRate": 0,
        "deductRate": 0,
        "feeRateMode": "NORMAL",
    }


def risk_limit(house: House, request: Request) -> Any:
    """Return the risk tiers of a contract, or of all."""
    name = request.params.get("symbol")
    listings = [x for x in house.exchange.listings.values() if x.is_perpetual and (not name or x.name == name)]
    margin = house.exchange.margins[request.account]
    return {
        listing.name: [
            tier
            | {
                "symbol": listing.name,
                "positionType": kind,
                "openType": 1,
                "leverage": margin.leverage_of(listing),
                "limitBySys": False,
            }
            for kind in (1, 2)
            for tier in risk_tiers(listing)
        ]
        for listing in listings
    }
