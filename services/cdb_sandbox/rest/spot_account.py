"""Spot v3, the account: balances, fees, listen keys."""

from __future__ import annotations

from typing import Any

from services.cdb_sandbox.house import House
from services.cdb_sandbox.rest.request import Request
from services.cdb_sandbox.wire import number

__all__ = [
    "account",
    "close_listen_key",
    "create_listen_key",
    "currencies",
    "listen_keys",
    "refresh_listen_key",
    "trade_fee",
]


def account(house: House, request: Request) -> Any:
    """Return the balances that are not zero."""
    wallet = house.exchange.wallets[request.account]
    balances = [
        {
            "asset": asset,
            "free": number(free),
            "locked": number(wallet.locked[asset]),
            "available": number(free),
        }
        for asset, free in wallet.free.items()
        if free or wallet.locked[asset]
    ]
    return {
        "makerCommission": None,
        "takerCommission": None,
        "buyerCommission": None,
        "sellerCommission": None,
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "updateTime": None,
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
    }


def trade_fee(house: House, request: Request) -> Any:
    """Return the fee rates of a symbol."""
    listing = house.listing("mexc_spot", request.text("symbol"))
    rates = {"makerCommission": listing.maker_fee, "takerCommission": listing.taker_fee}
    return {"data": rates, "code": 0, "msg": "success", "timestamp": request.now_ms}


def currencies(house: House, request: Request) -> Any:
    """Return the currencies of the listed symbols; nothing can be withdrawn from a sandbox."""
    coins = {
        coin: None
        for listing in house.exchange.listings.values()
        if not listing.is_perpetual
        for coin in (listing.spec.base, listing.spec.quote)
    }
    return [{"coin": coin, "Name": coin, "networkList": []} for coin in coins]


def create_listen_key(house: House, request: Request) -> Any:
    """Return a new listen key."""
    return {"listenKey": house.listen_keys.create(request.account, request.now_ms)}


def listen_keys(house: House, request: Request) -> Any:
    """Return the account's listen keys in force."""
    return {"listenKey": house.listen_keys.of_account(request.account, request.now_ms)}


def refresh_listen_key(house: House, request: Request) -> Any:
    """Let a listen key live for another hour."""
    key = request.text("listenKey")
    house.listen_keys.refresh(request.account, key, request.now_ms)
    return {"listenKey": key}


def close_listen_key(house: House, request: Request) -> Any:
    """End a listen key."""
    key = request.text("listenKey")
    house.listen_keys.close(request.account, key, request.now_ms)
    return {"listenKey": key}
