"""A connection to the spot streams: control in JSON text, data in protobuf."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from services.cdb_sandbox.bars import INTERVALS_MS
from services.cdb_sandbox.core.book import PublicTrade
from services.cdb_sandbox.core.facts import Fact, Filled, OrderChanged, WalletChanged
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.faults import FaultKind
from services.cdb_sandbox.streams import spot_messages as messages
from services.cdb_sandbox.streams.connection import Connection
from services.cdb_sandbox.streams.depth_feed import DepthDelta, DepthSnapshot
from services.cdb_sandbox.streams.intervals import STREAM_INTERVALS

if TYPE_CHECKING:
    from services.cdb_sandbox.house import House

__all__ = ["SpotConnection"]

_MOST_SUBSCRIPTIONS: Final = 30
_WITHOUT_SUBSCRIPTION_MS: Final = 30_000
_IDLE_MS: Final = 60_000
_INTERVALS: Final = "|".join(STREAM_INTERVALS)
_SHAPES: Final = {
    "deals": r"spot@public\.aggre\.deals\.v3\.api\.pb@(?:10|100)ms@(?P<symbol>\w+)",
    "ticker": r"spot@public\.aggre\.bookTicker\.v3\.api\.pb@(?:10|100)ms@(?P<symbol>\w+)",
    "depth": r"spot@public\.aggre\.depth\.v3\.api\.pb@(?:10|100)ms@(?P<symbol>\w+)",
    "limit": r"spot@public\.limit\.depth\.v3\.api\.pb@(?P<symbol>\w+)@(?P<more>5|10|20)",
    "kline": rf"spot@public\.kline\.v3\.api\.pb@(?P<symbol>\w+)@(?P<more>{_INTERVALS})",
    "batch": r"spot@public\.bookTicker\.batch\.v3\.api\.pb@(?P<symbol>\w+)",
    "mini": r"spot@public\.miniTicker\.v3\.api\.pb@(?P<symbol>\w+)@(?P<more>[\w+-]+)",
}
_ORDERS: Final = "spot@private.orders.v3.api.pb"
_DEALS: Final = "spot@private.deals.v3.api.pb"
_ACCOUNT: Final = "spot@private.account.v3.api.pb"


@dataclass(frozen=True)
class _Subscription:
    kind: str
    key: str
    more: str = ""
    silent: bool = False


class SpotConnection(Connection):
    """One connection; `account` is whose listen key it was opened with, None without one."""

    def __init__(
        self,
        house: House,
        send: Callable[[str | bytes], None],
        close: Callable[[bool], None],
        account: str | None = None,
        listen_key: str | None = None,
    ) -> None:
        super().__init__(house, send, close)
        self.account = account
        self.listen_key = listen_key
        self.subscriptions: dict[str, _Subscription] = {}

    def on_text(self, text: str) -> None:
        """Do what the client asks."""
        self.heard_ms = self.house.now_ms()
        try:
            asked = json.loads(text)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self._answer(0, "msg format invalid")
            return
        number = asked["id"] if isinstance(asked.get("id"), int) else 0
        method, params = str(asked.get("method", "")).upper(), asked.get("params")
        channels = [str(channel) for channel in params] if isinstance(params, list) else []
        if method == "PING":
            self._answer(number, "PONG")
        elif method == "SUBSCRIPTION":
            self._subscribe(number, channels)
        elif method == "UNSUBSCRIPTION":
            for channel in channels:
                self.subscriptions.pop(channel, None)
            self._answer(number, ",".join(channels))
        else:
            self._answer(number, f"no handler for method: {asked.get('method')}")

    def _answer(self, number: Any, text: str) -> None:
        self.send(json.dumps({"id": number, "code": 0, "msg": text}, ensure_ascii=False))

    def _subscribe(self, number: Any, channels: list[str]) -> None:
        accepted, refused = [], []
        for channel in channels:
            found = self._understand(channel)
            if found is None or len(self.subscriptions) >= _MOST_SUBSCRIPTIONS:
                refused.append(channel)
            else:
                accepted.append(channel)
                self.subscriptions[channel] = found
        if not refused:
            self._answer(number, ",".join(accepted))
        else:
            begun = f"Subscribed successful! [{','.join(accepted)}]. " if accepted else ""
            self._answer(number, f"{begun}Not Subscribed successfully! [{','.join(refused)}].  Reason： Blocked! ")  # noqa: RUF001
        for channel in accepted:
            self._greet(channel, self.subscriptions[channel])

    def _understand(self, channel: str) -> _Subscription | None:
        """Return what a channel means; None when it is refused."""
        symbol = None
        subscription: _Subscription | None = None
        if channel in {_ORDERS, _DEALS, _ACCOUNT}:
            subscription = _Subscription("private", channel) if self.account is not None else None
        for kind, shape in _SHAPES.items():
            match = re.fullmatch(shape, channel)
            listing = self.house.exchange.by_name("mexc_spot", match["symbol"]) if match else None
            if match and listing is not None:
                symbol = listing.name
                subscription = _Subscription(kind, listing.key, match.groupdict().get("more") or "")
        fault = self.house.faults.strike(
            frozenset({FaultKind.SILENT, FaultKind.BLOCKED}), channel, symbol=symbol, at_ms=self.house.now_ms()
        )
        if subscription is None or (fault is not None and fault.kind is FaultKind.BLOCKED):
            return None
        if fault is not None:
            return _Subscription(subscription.kind, subscription.key, subscription.more, silent=True)
        return subscription

    def _greet(self, channel: str, subscription: _Subscription) -> None:
        """Send the present state of what is a state: touch, best levels, the forming bar."""
        if subscription.kind in {"ticker", "limit", "batch", "kline", "mini"}:
            listing = self.house.exchange.listings[subscription.key]
            self._push_state(channel, subscription, listing, self.house.hub.depth(listing))

    def _push_state(self, channel: str, subscription: _Subscription, listing: Listing, snapshot: DepthSnapshot) -> None:
        now_ms, name = self.house.now_ms(), listing.name
        frame = None
        if subscription.kind == "ticker":
            frame = messages.book_ticker_message(channel, name, snapshot, now_ms)
        elif subscription.kind == "batch":
            frame = messages.book_ticker_batch_message(channel, name, snapshot, now_ms)
        elif subscription.kind == "limit":
            frame = messages.limit_depth_message(channel, name, snapshot, int(subscription.more), now_ms)
        elif subscription.kind == "kline":
            span_ms = INTERVALS_MS[STREAM_INTERVALS[subscription.more]]
            bars = self.house.bars[listing.key].of(span_ms, now_ms, count=1)
            frame = messages.kline_message(channel, name, bars[-1], span_ms, now_ms) if bars else None
        elif subscription.kind == "mini":
            day = self.house.bars[listing.key].day(now_ms)
            frame = messages.mini_ticker_message(channel, name, day, now_ms) if day else None
        if frame is not None and not subscription.silent:
            self.push(channel, frame, symbol=name)

    def on_book(self, listing: Listing, delta: DepthDelta, snapshot: DepthSnapshot) -> None:
        """Push a changed book to the channels that show it."""
        for channel, subscription in list(self.subscriptions.items()):
            if subscription.key != listing.key or subscription.silent:
                continue
            if subscription.kind == "depth":
                frame = messages.depth_message(channel, listing.name, delta, self.house.now_ms())
                self.push(channel, frame, symbol=listing.name)
            elif subscription.kind in {"ticker", "limit", "batch"}:
                self._push_state(channel, subscription, listing, snapshot)

    def on_trades(self, listing: Listing, trades: list[PublicTrade]) -> None:
        """Push public trades and what is made of them."""
        for channel, subscription in list(self.subscriptions.items()):
            if subscription.key != listing.key or subscription.silent:
                continue
            if subscription.kind == "deals":
                frame = messages.deals_message(channel, listing.name, trades, self.house.now_ms())
                self.push(channel, frame, symbol=listing.name)
            elif subscription.kind in {"kline", "mini"}:
                self._push_state(channel, subscription, listing, self.house.hub.depth(listing))

    def on_fact(self, fact: Fact) -> None:
        """Push what concerns this account."""
        now_ms = self.house.now_ms()
        if isinstance(fact, OrderChanged) and not fact.order.listing.is_perpetual:
            order = fact.order
            if self._wants(_ORDERS, order.account):
                frame = messages.order_message(order, now_ms)
                self.push(_ORDERS, frame, symbol=order.listing.name, client_id=order.client_order_id)
        elif isinstance(fact, Filled) and not fact.fill.listing.is_perpetual:
            fill = fact.fill
            if self._wants(_DEALS, fill.account):
                frame = messages.deal_message(fill, now_ms)
                self.push(_DEALS, frame, symbol=fill.listing.name, client_id=fill.client_order_id)
        elif isinstance(fact, WalletChanged) and self._wants(_ACCOUNT, fact.account):
            self.push(_ACCOUNT, messages.account_message(fact, now_ms))

    def _wants(self, channel: str, account: str) -> bool:
        subscription = self.subscriptions.get(channel)
        return account == self.account and subscription is not None and not subscription.silent

    def on_time(self, now_ms: int) -> None:
        """Close what the exchange would close: idle, without a subscription, too old, or its listen key has ended."""
        quiet_since = max(self.heard_ms, self.sent_ms)
        if (
            now_ms - self.opened_ms >= self.house.options.max_connection_ms
            or (not self.subscriptions and now_ms - self.heard_ms > _WITHOUT_SUBSCRIPTION_MS)
            or now_ms - quiet_since > _IDLE_MS
            or (self.listen_key is not None and self.house.listen_keys.account_of(self.listen_key, now_ms) is None)
        ):
            self.close()
