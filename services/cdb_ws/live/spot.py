"""MEXC's spot WebSocket: control frames in JSON, data in protobuf, and refusals that come with code 0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from google.protobuf.message import DecodeError

from services.cdb_ws.live.depth import pushed, ranked
from services.cdb_ws.live.words import Acknowledged, Bad, Deal, Deals, Other, Ping, Pong, Quote, Refused, Sight
from services.cdb_ws.numbers import milliseconds, not_negative, positive
from services.common.codec import decode, encode_value
from services.common.errors import ContractViolation, FeedInputInvalid
from services.common.instruments import normalise_symbol
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper
from services.common.timestamps import MS_US

__all__ = ["SpotProtocol"]

_LISTED: Final = re.compile(r"\[([^\]]*)\]")
_NOT: Final = re.compile(r"not subscribed successful+y?!?", re.IGNORECASE)
_REASON: Final = re.compile("reason\\s*[:\uff1a]\\s*(.*)", re.IGNORECASE | re.DOTALL)
_EARLIEST_MS: Final = 1_400_000_000_000


class SpotProtocol:
    """What is said on the spot WebSocket.

    Args:
        push_ms: how often trades and quotes are pushed, 10 or 100.
        levels: of each side of the book that are wanted.
    """

    ping: Final = '{"method":"PING"}'

    def __init__(self, push_ms: int = 100, levels: int = 5) -> None:
        self._push_ms = push_ms
        self._levels = pushed(levels)

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return what is subscribed of an instrument; the first are its trades, the second its quotes."""
        return (
            f"spot@public.aggre.deals.v3.api.pb@{self._push_ms}ms@{symbol}",
            f"spot@public.aggre.bookTicker.v3.api.pb@{self._push_ms}ms@{symbol}",
            f"spot@public.limit.depth.v3.api.pb@{symbol}@{self._levels}",
        )

    def subscribe(self, topics: Sequence[str], number: int) -> list[str]:
        """Return the frames that ask for topics."""
        return [encode_value({"method": "SUBSCRIPTION", "params": list(topics), "id": number})]

    def unsubscribe(self, topics: Sequence[str], number: int) -> list[str]:
        """Return the frames that end topics."""
        return [encode_value({"method": "UNSUBSCRIPTION", "params": list(topics), "id": number})]

    def pong(self) -> str:
        """Return the answer to the exchange's own ping."""
        return '{"method":"PONG"}'

    def decode(self, frame: bytes | str) -> list[Sight]:
        """Return what a frame says; what cannot be used comes out as `Bad`, never as an error."""
        return _control(frame) if isinstance(frame, str) else [_push(frame)]


def _control(text: str) -> list[Sight]:
    try:
        value = decode(text)
    except ContractViolation as error:
        return [Bad(f"text that is no JSON: {error}", lost=False)]
    if not isinstance(value, dict):
        return [Bad("JSON that is no object", lost=False)]
    message = value.get("msg", value.get("method"))
    if not isinstance(message, str):
        return [Bad("a control frame without msg", lost=False)]
    if message.upper() == "PONG":
        return [Pong()]
    if message.upper() == "PING":
        return [Ping()]
    if value.get("code", 0) not in {0, 200}:
        return [Refused(_names(message), message)]
    if "subscribed success" in message.lower():
        return _verdicts(message)
    topics = tuple(part.strip() for part in message.split(",") if part.strip())
    if topics and all("@" in topic for topic in topics):
        return [Acknowledged(topics)]
    return [Other(message[:120])]


def _names(message: str) -> tuple[str, ...]:
    return tuple(name.strip() for group in _LISTED.findall(message) for name in group.split(",") if "@" in name)


def _verdicts(message: str) -> list[Sight]:
    """Read `Subscribed successful! [a]. Not Subscribed successfully! [b].  Reason: Blocked!`: code 0 tells nothing."""
    good, *rest = _NOT.split(message, maxsplit=1)
    sights: list[Sight] = []
    if accepted := _names(good):
        sights.append(Acknowledged(accepted))
    if rest:
        reason = _REASON.search(rest[0])
        sights.append(Refused(_names(rest[0]), reason.group(1).strip() if reason else rest[0].strip()))
    return sights or [Other(message[:120])]


def _push(frame: bytes) -> Sight:
    if frame[:1] in {b"{", b"[", b"<"}:
        return Bad("a binary frame that is text; protobuf is meant")
    message = PushDataV3ApiWrapper()
    try:
        message.ParseFromString(frame)
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        return Bad(f"no protobuf of a push: {error}")
    if not message.channel:
        return Bad("a push without a channel")
    body = message.WhichOneof("body")
    parts = message.channel.split("@")
    name = message.symbol or next((part for part in reversed(parts) if part.isalnum() and not part.isdigit()), "")
    try:
        symbol = normalise_symbol(name)
    except ContractViolation as error:
        return Bad(f"{message.channel}: {error}")
    try:
        if body == "publicAggreDeals":
            return _deals(symbol, message)
        if body == "publicAggreBookTicker":
            return _book_ticker(symbol, message)
        if body == "publicLimitDepths":
            return _limit_depth(symbol, message)
    except FeedInputInvalid as error:
        return Bad(f"{message.channel}: {error}", symbol)
    if body is None:
        return Bad(f"{message.channel}: a push without a body that is known here", symbol)
    return Other(f"{message.channel}: {body}")


def _deals(symbol: str, message: Any) -> Sight:
    deals, bad = [], ""
    for item in message.publicAggreDeals.deals:
        try:
            if item.tradeType not in {1, 2}:
                raise FeedInputInvalid(f"tradeType={item.tradeType}: 1 (buy) or 2 (sell) is meant")
            deals.append(
                Deal(
                    positive("price", item.price),
                    positive("quantity", item.quantity),
                    item.tradeType == 1,
                    milliseconds("time", str(item.time)) // MS_US,
                    item.tradeId or None,
                )
            )
        except FeedInputInvalid as error:
            bad = bad or f"{message.channel}: {error}"
    return Deals(symbol, message.channel, tuple(deals), bad)


def _book_ticker(symbol: str, message: Any) -> Sight:
    ticker = message.publicAggreBookTicker
    bid, bid_size = _side("bid", ticker.bidPrice, ticker.bidQuantity)
    ask, ask_size = _side("ask", ticker.askPrice, ticker.askQuantity)
    return Quote(symbol, message.channel, bid, ask, bid_size, ask_size, _version(ticker.version), _sent(message))


def _limit_depth(symbol: str, message: Any) -> Sight:
    book = message.publicLimitDepths
    bids, asks = _levels("bid", book.bids), _levels("ask", book.asks)
    bid, bid_size = max(bids, default=(None, None))
    ask, ask_size = min(asks, default=(None, None))
    version, sent = _version(book.version), _sent(message)
    levels = ranked(bids, falling=True), ranked(asks, falling=False)
    return Quote(symbol, message.channel, bid, ask, bid_size, ask_size, version, sent, *levels)


def _levels(name: str, items: Iterable[Any]) -> list[tuple[Decimal, Decimal]]:
    levels = [(positive(name, item.price), not_negative(f"{name}_size", item.quantity)) for item in items]
    return [level for level in levels if level[1]]


def _side(name: str, price: str, size: str) -> tuple[Decimal | None, Decimal | None]:
    """Return a side of the book; an empty one is sent as empty text or as 0."""
    if price == "" or not not_negative(name, price):
        return None, None
    return positive(name, price), not_negative(f"{name}_size", size)


def _version(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise FeedInputInvalid(f"version={text!r}: a whole number is meant")
    return int(text)


def _sent(message: Any) -> int | None:
    time_ms = message.sendTime or message.createTime
    return time_ms if time_ms >= _EARLIEST_MS else None
