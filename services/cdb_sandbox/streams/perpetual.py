"""A connection to the perpetual streams: JSON both ways; after the login everything personal is pushed."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from services.cdb_sandbox.bars import INTERVALS_MS
from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.facts import AssetChanged, Fact, Filled, OrderChanged, PositionChanged
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.faults import FaultKind
from services.cdb_sandbox.perpetual_rows import fill_row, funding_row, order_row, position_row, ticker_row
from services.cdb_sandbox.streams.connection import Connection
from services.cdb_sandbox.streams.depth_feed import DepthDelta, DepthSnapshot
from services.cdb_sandbox.streams.intervals import STREAM_INTERVALS
from services.cdb_sandbox.wire import to_json
from services.common.decimals import ZERO
from services.common.mexc.signing import perpetual_login_signature

if TYPE_CHECKING:
    from services.cdb_sandbox.house import House

__all__ = ["PerpetualConnection"]

_WITHOUT_PING_MS: Final = 60_000
_LOGIN_WINDOW_MS: Final = 10_000
_PER_SYMBOL: Final = frozenset(
    {"ticker", "deal", "depth", "depth.full", "kline", "funding.rate", "index.price", "fair.price"}
)
_FOR_ALL: Final = frozenset({"tickers", "contract", "event.contract"})


@dataclass(frozen=True)
class _Subscription:
    topic: str
    key: str
    more: str = ""
    merged: bool = True
    silent: bool = False


class PerpetualConnection(Connection):
    """One connection; `account` is set by a login."""

    def __init__(self, house: House, send: Callable[[str | bytes], None], close: Callable[[bool], None]) -> None:
        super().__init__(house, send, close)
        self.account: str | None = None
        self.subscriptions: list[_Subscription] = []
        self._filters: dict[str, list[str]] | None = {}
        self._tickers_ms = 0

    def on_text(self, text: str) -> None:
        """Do what the client asks."""
        now_ms = self.heard_ms = self.house.now_ms()
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self._answer("rs.error", "Invalid message")
            return
        method = str(asked.get("method", ""))
        param = asked.get("param") if isinstance(asked.get("param"), dict) else {}
        assert isinstance(param, dict)
        if method == "ping":
            self.send(to_json({"channel": "pong", "data": now_ms, "ts": now_ms}))
            self.send(to_json({"channel": "clientId", "data": f"{id(self):x}", "ts": now_ms}))
        elif method == "login":
            self._login(param, everything=asked.get("subscribe") is not False)
        elif method == "personal.filter":
            self._filter(param)
        elif method.startswith("sub."):
            self._subscribe(method.removeprefix("sub."), param)
        elif method.startswith("unsub."):
            self._unsubscribe(method.removeprefix("unsub."), param)
        else:
            self._answer("rs.error", f"Method [{method}] not exists")

    def _answer(self, channel: str, data: Any) -> None:
        self.send(to_json({"channel": channel, "data": data, "ts": self.house.now_ms()}))

    def _login(self, param: dict[str, Any], *, everything: bool) -> None:
        customer = self.house.customers.get(str(param.get("apiKey")))
        time_text = str(param.get("reqTime", ""))
        in_time = time_text.isdecimal() and abs(self.house.now_ms() - int(time_text)) <= _LOGIN_WINDOW_MS
        if customer is None or not in_time:
            self._answer("rs.error", "Login failed" if customer is None else "Invalid request time")
            return
        expected = perpetual_login_signature(customer.api_secret, customer.api_key, time_text)
        if not hmac.compare_digest(expected.encode(), str(param.get("signature", "")).encode()):
            self._answer("rs.error", "Signature verification failed!")
            return
        self.account = customer.name
        self._filters = {} if everything else None
        self._answer("rs.login", "success")

    def _filter(self, param: dict[str, Any]) -> None:
        if self.account is None:
            self._answer("rs.error", "Please log in first")
            return
        rows = param.get("filters") or []
        self._filters = {str(row.get("filter")): [str(rule) for rule in row.get("rules") or []] for row in rows}
        self._answer("rs.personal.filter", "success")

    def _subscribe(self, topic: str, param: dict[str, Any]) -> None:
        name = param.get("symbol")
        listing = self.house.exchange.by_name("mexc_perpetual", str(name))
        if topic not in _PER_SYMBOL | _FOR_ALL:
            self._answer("rs.error", f"Method [sub.{topic}] not exists")
            return
        if topic in _PER_SYMBOL and listing is None:
            self._answer("rs.error", f"Contract [{name}] not exists")
            return
        fault = self.house.faults.strike(
            frozenset({FaultKind.SILENT, FaultKind.BLOCKED}),
            f"sub.{topic}",
            symbol=str(name) if name else None,
            at_ms=self.house.now_ms(),
        )
        if fault is not None and fault.kind is FaultKind.BLOCKED:
            self._answer("rs.error", "Blocked!")
            return
        more = str(param.get("interval") or param.get("limit") or "")
        if topic == "kline" and more not in STREAM_INTERVALS:
            self._answer("rs.error", f"Interval [{more}] not exists")
            return
        subscription = _Subscription(
            topic,
            listing.key if listing is not None else "",
            more,
            merged=param.get("compress") is not False,
            silent=fault is not None,
        )
        self.subscriptions = [
            s for s in self.subscriptions if (s.topic, s.key, s.more) != (topic, subscription.key, more)
        ]
        self.subscriptions.append(subscription)
        self._answer(f"rs.sub.{topic}", "success")
        if listing is not None and not subscription.silent:
            self._greet(subscription, listing)

    def _unsubscribe(self, topic: str, param: dict[str, Any]) -> None:
        listing = self.house.exchange.by_name("mexc_perpetual", str(param.get("symbol")))
        key = listing.key if listing is not None else ""
        self.subscriptions = [s for s in self.subscriptions if (s.topic, s.key) != (topic, key)]
        self._answer(f"rs.unsub.{topic}", "success")

    def _greet(self, subscription: _Subscription, listing: Listing) -> None:
        """Send the present state of what is a state."""
        now_ms, topic = self.house.now_ms(), subscription.topic
        if topic == "ticker":
            self._push(topic, ticker_row(self.house, listing, now_ms), listing)
        elif topic == "depth.full":
            self._push_full(subscription, listing, self.house.hub.depth(listing))
        elif topic == "kline":
            self._push_bar(subscription, listing)
        elif topic == "funding.rate":
            self._push(topic, funding_row(self.house, listing, now_ms), listing)
        elif topic in {"index.price", "fair.price"}:
            self._push_mark(topic, listing)

    def _push(self, topic: str, data: Any, listing: Listing | None, *, client_id: str | None = None) -> None:
        channel, name = f"push.{topic}", listing.name if listing is not None else None
        message = {"channel": channel, "data": data, "ts": self.house.now_ms()}
        if name is not None:
            message["symbol"] = name
        self.push(channel, to_json(message), symbol=name, client_id=client_id)

    def _push_full(self, subscription: _Subscription, listing: Listing, snapshot: DepthSnapshot) -> None:
        count = int(subscription.more) if subscription.more.isdecimal() else 20
        data = {
            "asks": [[price, quantity, 1] for price, quantity in snapshot.asks[:count]],
            "bids": [[price, quantity, 1] for price, quantity in snapshot.bids[:count]],
            "version": snapshot.version,
        }
        self._push("depth.full", data, listing)

    def _push_bar(self, subscription: _Subscription, listing: Listing) -> None:
        span_ms = INTERVALS_MS[STREAM_INTERVALS[subscription.more]]
        bars = self.house.bars[listing.key].of(span_ms, self.house.now_ms(), count=1)
        if bars:
            bar = bars[-1]
            prices = {"o": bar.open, "c": bar.close, "h": bar.high, "l": bar.low}
            data: dict[str, Any] = {"symbol": listing.name, "interval": subscription.more, "t": bar.open_ms // 1000}
            data |= prices | {"a": bar.amount, "q": bar.volume} | {f"r{k}": value for k, value in prices.items()}
            self._push("kline", data, listing)

    def _push_mark(self, topic: str, listing: Listing) -> None:
        mark = self.house.exchange.marks.get(listing.key)
        if mark is not None:
            self._push(topic, {"symbol": listing.name, "price": mark}, listing)

    def _wanted(self, listing: Listing) -> list[_Subscription]:
        return [s for s in self.subscriptions if s.key == listing.key and not s.silent]

    def on_book(self, listing: Listing, delta: DepthDelta, snapshot: DepthSnapshot) -> None:
        """Push a changed book to the channels that show it."""
        for subscription in self._wanted(listing):
            if subscription.topic == "depth":
                data: dict[str, Any] = {
                    "asks": [[price, quantity, 1] for price, quantity in delta.asks],
                    "bids": [[price, quantity, 1] for price, quantity in delta.bids],
                    "version": delta.last,
                }
                if subscription.merged:
                    data |= {"begin": delta.first, "end": delta.last}
                self._push("depth", data, listing)
            elif subscription.topic == "depth.full":
                self._push_full(subscription, listing, snapshot)
            elif subscription.topic == "ticker":
                self._push("ticker", ticker_row(self.house, listing, self.house.now_ms()), listing)
            elif subscription.topic in {"index.price", "fair.price"}:
                self._push_mark(subscription.topic, listing)

    def on_trades(self, listing: Listing, trades: list[PublicTrade]) -> None:
        """Push public trades and what is made of them."""
        for subscription in self._wanted(listing):
            if subscription.topic == "deal":
                rows = [
                    {
                        "p": trade.price,
                        "v": trade.quantity,
                        "T": 1 if trade.taker == "BUY" else 2,
                        "O": 3,
                        "M": 2,
                        "t": trade.time_ms,
                        "i": trade.trade_id,
                        "cts": str(trade.time_ms),
                    }
                    for trade in trades
                ]
                self._push("deal", rows, listing)
            elif subscription.topic == "kline":
                self._push_bar(subscription, listing)

    def on_funding(self, listing: Listing) -> None:
        """Push a funding rate that has changed or is due to be repeated."""
        for subscription in self._wanted(listing):
            if subscription.topic == "funding.rate":
                self._push("funding.rate", funding_row(self.house, listing, self.house.now_ms()), listing)

    def on_fact(self, fact: Fact) -> None:
        """Push what concerns this account."""
        if isinstance(fact, OrderChanged):
            order = fact.order
            if order.listing.is_perpetual and self._wants("order", order.account, order.listing.name):
                rates = {"makerFeeRate": order.listing.maker_fee, "takerFeeRate": order.listing.taker_fee}
                data = order_row(order) | {"remainVol": order.remaining} | rates
                self._push("personal.order", data, order.listing, client_id=order.client_order_id)
        elif isinstance(fact, Filled):
            fill = fact.fill
            if fill.listing.is_perpetual and self._wants("order.deal", fill.account, fill.listing.name):
                more = {
                    "isSelf": fill.self_trade,
                    "externalOid": fill.client_order_id or f"_m_{int(fill.order_id):032x}",
                    "positionMode": 2,
                    "reduceOnly": fill.side_code in {2, 4},
                    "opponentUid": 0,
                }
                self._push("personal.order.deal", fill_row(fill) | more, fill.listing, client_id=fill.client_order_id)
        elif isinstance(fact, PositionChanged):
            state = fact.position
            if self._wants("position", state.account, state.name):
                listing = self.house.exchange.by_name("mexc_perpetual", state.name)
                data = position_row(state) | {
                    "fee": state.fee,
                    "pnl": self._pnl(state.symbol, state.quantity, state.entry),
                }
                self._push("personal.position", data, listing)
        elif isinstance(fact, AssetChanged) and self._wants("asset", fact.account, None):
            data = {
                "currency": fact.currency,
                "availableBalance": fact.available,
                "frozenBalance": fact.frozen,
                "positionMargin": fact.position_margin,
                "bonus": 0,
            }
            self._push("personal.asset", data, None)

    def _pnl(self, symbol: str, quantity: Decimal, entry: Decimal) -> Decimal:
        key = f"mexc_perpetual:{symbol}"
        size = self.house.exchange.listings[key].spec.contract_size
        mark = self.house.exchange.marks.get(key)
        return ZERO if mark is None else (mark - entry) * quantity * size

    def _wants(self, kind: str, account: str, name: str | None) -> bool:
        if account != self.account or self._filters is None:
            return False
        if not self._filters:
            return True
        rules = self._filters.get(kind)
        return rules is not None and (not rules or name is None or name in rules)

    def on_time(self, now_ms: int) -> None:
        """Push the tickers of all contracts once a second, and close what the exchange would close."""
        everything = any(s.topic == "tickers" and not s.silent for s in self.subscriptions)
        if everything and now_ms - self._tickers_ms >= 1000:
            self._tickers_ms = now_ms
            listings = [x for x in self.house.exchange.listings.values() if x.is_perpetual]
            self._push("tickers", [ticker_row(self.house, listing, now_ms) for listing in listings], None)
        too_old = now_ms - self.opened_ms >= self.house.options.max_connection_ms
        if too_old or now_ms - self.heard_ms > _WITHOUT_PING_MS:
            self.close()
