"""The truth of the exchange, to hold against what a client believes: orders, fills, balances, positions, faults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.cdb_sandbox.core.orders import Fill, Order
from services.cdb_sandbox.house import House
from services.cdb_sandbox.perpetual_rows import position_row

__all__ = ["fill_entry", "injections", "ledger", "order_entry"]


def order_entry(order: Order) -> dict[str, Any]:
    """Return an order whole; `quantity` and `filled` are base units, also of contracts."""
    unit = order.listing.unit_value
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "account": order.account,
        "venue": order.listing.spec.venue,
        "symbol": order.listing.spec.symbol,
        "side": order.side,
        "type": order.order_type.value,
        "status": order.status.value,
        "quantity": order.quantity * unit,
        "filled": order.filled * unit,
        "filled_notional": order.filled_notional,
        "price": order.price,
        "reduce_only": order.reduce_only,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
    }


def fill_entry(fill: Fill) -> dict[str, Any]:
    """Return a fill whole; `quantity` is base units, also of contracts."""
    return {
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "client_order_id": fill.client_order_id,
        "account": fill.account,
        "venue": fill.listing.spec.venue,
        "symbol": fill.listing.spec.symbol,
        "side": fill.side,
        "price": fill.price,
        "quantity": fill.quantity * fill.listing.unit_value,
        "notional": fill.notional,
        "fee": fill.fee,
        "fee_asset": fill.fee_asset,
        "maker": fill.maker,
        "profit": fill.profit,
        "time_ms": fill.time_ms,
    }


def injections(house: House) -> list[dict[str, Any]]:
    """Return every fault that has struck, in order."""
    return [asdict(injection) | {"kind": injection.kind.value} for injection in house.faults.injected]


def ledger(house: House) -> dict[str, Any]:
    """Return everything that has happened, as plain data."""
    exchange = house.exchange
    return {
        "now_ms": house.now_ms(),
        "orders": [order_entry(order) for order in exchange.records.orders.values()],
        "fills": [fill_entry(fill) for fill in exchange.records.fills],
        "balances": {
            account: {asset: {"free": free, "locked": wallet.locked[asset]} for asset, free in wallet.free.items()}
            for account, wallet in exchange.wallets.items()
        },
        "perpetual": {
            account: {
                "available": margin.available,
                "frozen": margin.frozen,
                "position_margin": margin.position_margin,
                "positions": [position_row(p.state(account)) for p in margin.positions.values()],
                "funding": margin.funding_records,
            }
            for account, margin in exchange.margins.items()
        },
        "faults": injections(house),
    }
