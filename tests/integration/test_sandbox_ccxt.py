"""Proof that the sandbox is MEXC and not our idea of it: the unmodified ccxt client works against it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS
from services.cdb_sandbox.house import SandboxOptions
from services.cdb_sandbox.market.recorded import RecordedMarket, Recording
from services.cdb_sandbox.sandbox import SandboxExchange

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TICKS = Path("backoffice/data/ticks-2024-08-08_btcusdt_perp.csv.gz")
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def mexc() -> Iterator[SandboxExchange]:
    """A sandbox that plays recorded ticks on both venues."""
    recordings = [Recording(TICKS, "mexc_spot"), Recording(TICKS, "mexc_perpetual")]
    market = RecordedMarket(recordings, DEFAULT_LISTINGS, speed=Decimal(2))
    with SandboxExchange(SandboxOptions(market=market)) as sandbox:
        yield sandbox


def ccxt_run(mexc: SandboxExchange, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run ccxt.pro's own MEXC client with nothing changed but its addresses."""
    import ccxt.pro

    async def run() -> Any:
        client = ccxt.pro.mexc({"apiKey": mexc.api_key, "secret": mexc.api_secret, "enableRateLimit": True})
        api = client.urls["api"]
        for access in ("public", "private"):
            api["spot"][access] = mexc.rest_url
        api["contract"] = {
            "public": f"{mexc.rest_url}/api/v1/contract",
            "private": f"{mexc.rest_url}/api/v1/private",
        }
        api["ws"] = {"spot": mexc.spot_ws_url, "swap": mexc.perpetual_ws_url}
        try:
            return await asyncio.wait_for(use(client), 60)
        finally:
            await client.close()

    return asyncio.run(run())


def test_ccxt_reads_the_market_over_rest(mexc: SandboxExchange) -> None:
    """Markets, books, trades, bars, tickers and funding of both venues."""

    async def use(client: Any) -> None:
        markets = await client.load_markets()
        assert markets[SPOT]["limits"]["cost"]["min"] == 1
        assert markets[SWAP]["contractSize"] == 0.0001
        for symbol in (SPOT, SWAP):
            book = await client.fetch_order_book(symbol)
            assert book["bids"][0][0] < book["asks"][0][0]
            assert await client.fetch_trades(symbol)
            assert len(await client.fetch_ohlcv(symbol, "1m", limit=100)) >= 100
            assert (await client.fetch_ticker(symbol))["last"] > 0
        assert (await client.fetch_funding_rate(SWAP))["fundingRate"] == 0.0001

    ccxt_run(mexc, use)


@pytest.mark.parametrize("symbol", [SPOT, SWAP])
def test_ccxt_watches_trades_and_the_book(mexc: SandboxExchange, symbol: str) -> None:
    """Deals arrive, and the local book is built from snapshot and changes."""

    async def use(client: Any) -> None:
        trades = await client.watch_trades(symbol)
        book = await client.watch_order_book(symbol)
        assert trades[-1]["symbol"] == symbol
        assert trades[-1]["side"] in {"buy", "sell"}
        assert book["bids"][0][0] < book["asks"][0][0]

    ccxt_run(mexc, use)


def test_ccxt_trades_on_spot_and_watches_its_own(mexc: SandboxExchange) -> None:
    """Places, is told of order, fill and balance, cancels, and queries."""

    async def use(client: Any) -> None:
        await client.load_markets()
        watching = [
            asyncio.create_task(client.watch_orders(SPOT)),
            asyncio.create_task(client.watch_my_trades(SPOT)),
            asyncio.create_task(client.watch_balance({"type": "spot"})),
        ]
        await asyncio.sleep(0.5)  # until the subscriptions stand: ccxt gives no sign of it
        ask = (await client.fetch_order_book(SPOT))["asks"][0][0]
        bought = await client.create_order(
            SPOT, "limit", "buy", 0.01, round(ask * 1.01, 2), {"clientOrderId": "ccxt-spot-1"}
        )
        orders, trades, balance = await asyncio.gather(*watching)
        assert orders[-1]["clientOrderId"] == trades[-1]["info"]["clientOrderId"] == "ccxt-spot-1"
        assert "free" in balance

        order = await client.fetch_order(bought["id"], SPOT)
        assert (order["status"], order["filled"]) == ("closed", 0.01)
        assert (await client.fetch_my_trades(SPOT))[-1]["fee"]["currency"] == "BTC"

        waiting = await client.create_order(SPOT, "limit", "buy", 0.01, round(ask * 0.9, 2))
        assert waiting["id"] in {o["id"] for o in await client.fetch_open_orders(SPOT)}
        await client.cancel_order(waiting["id"], SPOT)
        assert (await client.fetch_order(waiting["id"], SPOT))["status"] == "canceled"
        assert (await client.fetch_balance())["BTC"]["free"] > 1

    ccxt_run(mexc, use)


def test_ccxt_trades_perpetuals_and_watches_its_own(mexc: SandboxExchange) -> None:
    """Sets leverage, opens a position, is told of it, cancels, queries, and closes."""

    async def use(client: Any) -> None:
        client.options["defaultType"] = "swap"
        await client.load_markets()
        await client.set_leverage(5, SWAP, {"openType": 1, "positionType": 1})
        watching = [asyncio.create_task(client.watch_orders(SWAP)), asyncio.create_task(client.watch_my_trades(SWAP))]
        await asyncio.sleep(0.5)  # until the login stands: ccxt gives no sign of it
        ask = (await client.fetch_order_book(SWAP))["asks"][0][0]
        more = {"openType": 1, "leverage": 5, "clientOrderId": "ccxt-swap-1"}
        opened = await client.create_order(SWAP, "limit", "buy", 10, round(ask * 1.01, 1), more)
        orders, trades = await asyncio.gather(*watching)
        assert orders[-1]["id"] == trades[-1]["order"] == opened["id"]

        position = (await client.fetch_positions([SWAP]))[0]
        assert (position["side"], position["contracts"], position["leverage"]) == ("long", 10, 5)
        assert (await client.fetch_order(opened["id"], SWAP))["status"] == "closed"

        price = round(ask * 0.95, 1)
        waiting = await client.create_order(SWAP, "limit", "buy", 1, price, {"openType": 1, "leverage": 5})
        assert waiting["id"] in {o["id"] for o in await client.fetch_open_orders(SWAP)}
        await client.cancel_order(waiting["id"], SWAP)
        assert (await client.fetch_order(waiting["id"], SWAP))["status"] == "canceled"

        await client.create_order(
            SWAP, "limit", "sell", 10, round(ask * 0.95, 1), more | {"reduceOnly": True, "clientOrderId": "ccxt-swap-2"}
        )
        assert await client.fetch_positions([SWAP]) == []
        assert (await client.fetch_balance({"type": "swap"}))["USDT"]["total"] > 99_000

    ccxt_run(mexc, use)
