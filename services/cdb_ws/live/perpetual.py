"""MEXC's perpetual ("contract") WebSocket: JSON both ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from services.cdb_ws.live.depth import pushed, ranked
from services.cdb_ws.live.words import Acknowledged, Bad, Deal, Deals, Mark, Other, Ping, Pong, Quote, Refused, Sight
from services.cdb_ws.numbers import milliseconds, not_negative, positive, signed_fraction
from services.common.codec import decode, encode_value
from services.common.errors import ContractViolation, FeedInputInvalid
from services.common.instruments import normalise_symbol
from services.common.mexc.symbols import perpetual_symbol
from services.common.timestamps import MS_US

__all__ = ["PerpetualProtocol", "deal_of_row", "plain"]

_METHODS: Final = ("deal", "depth.full", "ticker", "fair.price", "funding.rate", "index.price")
_NAMED: Final = re.compile(r"\[([A-Z0-9_]+)\]")


class PerpetualProtocol:
    """What is said on the perpetual WebSocket. A topic is written `deal@BTC_USDT`.

    Args:
        levels: of each side of the book that are wanted.
    """

    ping: Final = '{"method":"ping"}'

    def __init__(self, levels: int = 5) -> None:
        self._levels = pushed(levels)

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return what is subscribed of an instrument; the first are its trades, the second its quotes."""
        return tuple(f"{method}@{perpetual_symbol(symbol)}" for method in _METHODS)

    def subscribe(self, topics: Sequence[str], number: int) -> list[str]:  # noqa: ARG002 - there are no numbers here
        """Return the frames that ask for topics, in plain text and with every single trade."""
        return [self._frame("sub", topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], number: int) -> list[str]:  # noqa: ARG002 - as above
        """Return the frames that end topics."""
        return [self._frame("unsub", topic) for topic in topics]

    def _frame(self, verb: str, topic: str) -> str:
        method, _, symbol = topic.partition("@")
        param: dict[str, Any] = {"symbol": symbol}
        if method == "deal":
            param["compress"] = False
        elif method == "depth.full":
            param["limit"] = self._levels
        return encode_value({"method": f"{verb}.{method}", "param": param, "gzip": False})

    def pong(self) -> str:
        """Return the answer to the exchange's own ping."""
        return '{"method":"pong"}'

    def decode(self, frame: bytes | str) -> list[Sight]:
        """Return what a frame says; what cannot be used comes out as `Bad`, never as an error."""
        try:
            value = decode(frame)
        except ContractViolation as error:
            return [Bad(str(error))]
        if not isinstance(value, dict):
            return [Bad("JSON that is no object")]
        channel, data = value.get("channel", value.get("method")), value.get("data")
        if not isinstance(channel, str):
            return [Bad("a frame without a channel")]
        if channel in {"pong", "ping"}:
            return [Pong() if channel == "pong" else Ping()]
        if channel.startswith("rs."):
            return [_answer(channel[3:], data)]
        if not channel.startswith("push."):
            return [Other(channel)]
        return [_push(channel[5:], value, data)]


def _answer(method: str, data: Any) -> Sight:
    if method == "error":
        reason = str(data)
        return Refused(tuple(f"*@{name}" for name in _NAMED.findall(reason)), reason)
    verb, _, topic = method.partition(".")
    if verb != "sub":
        return Other(method)
    return Acknowledged((topic,)) if data == "success" else Refused((topic,), str(data))


def _push(method: str, value: Mapping[str, Any], data: Any) -> Sight:
    read = _READERS.get(method)
    if read is None:
        return Other(f"push.{method}")
    name = value.get("symbol")
    if not isinstance(name, str) and isinstance(data, dict):
        name = data.get("symbol")
    try:
        symbol = normalise_symbol(name) if isinstance(name, str) else ""
    except ContractViolation as error:
        return Bad(f"push.{method}: {error}")
    if not symbol:
        return Bad(f"push.{method} without a symbol")
    try:
        return read(symbol, f"{method}@{name}", data, _time(value.get("ts")))
    except (FeedInputInvalid, KeyError, TypeError, ValueError, AttributeError) as error:
        return Bad(f"push.{method} of {name}: {type(error).__name__}: {error}", symbol)


def _deals(symbol: str, topic: str, data: Any, _time_ms: int | None) -> Sight:
    deals, bad = [], ""
    rows = [data] if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise FeedInputInvalid("a list of trades is meant")
    for row in rows:
        try:
            deals.append(deal_of_row(row))
        except (FeedInputInvalid, KeyError, TypeError) as error:
            bad = bad or f"{topic}: {type(error).__name__}: {error}"
    return Deals(symbol, topic, tuple(deals), bad)


def deal_of_row(row: Mapping[str, Any]) -> Deal:
    """Return a trade as push and REST write it.

    Raises:
        FeedInputInvalid: a number in it cannot be used.
        KeyError: something is missing.
    """
    if row["T"] not in {1, 2}:
        raise FeedInputInvalid(f"T={row['T']}: 1 (buy) or 2 (sell) is meant")
    trade_id = row.get("i")
    return Deal(
        positive("p", plain(row["p"])),
        positive("v", plain(row["v"])),
        row["T"] == 1,
        milliseconds("t", plain(row["t"])) // MS_US,
        str(trade_id) if trade_id else None,
    )


def _depth(symbol: str, topic: str, data: Any, time_ms: int | None) -> Sight:
    bids, asks = _levels("bid", data["bids"]), _levels("ask", data["asks"])
    bid, bid_size = max(bids, default=(None, None))
    ask, ask_size = min(asks, default=(None, None))
    version = None if data.get("version") is None else int(data["version"])
    levels = ranked(bids, falling=True), ranked(asks, falling=False)
    return Quote(symbol, topic, bid, ask, bid_size, ask_size, version, time_ms, *levels)


def _levels(name: str, rows: Any) -> list[tuple[Decimal, Decimal]]:
    levels = [(positive(name, plain(row[0])), not_negative(f"{name}_size", plain(row[1]))) for row in rows]
    return [level for level in levels if level[1]]


def _ticker(symbol: str, topic: str, data: Any, _time_ms: int | None) -> Sight:
    return Mark(
        symbol,
        topic,
        _optional(positive, "fairPrice", data.get("fairPrice")),
        _optional(signed_fraction, "fundingRate", data.get("fundingRate")),
        _optional(positive, "indexPrice", data.get("indexPrice")),
    )


def _fair(symbol: str, topic: str, data: Any, _time_ms: int | None) -> Sight:
    return Mark(symbol, topic, mark_price=positive("price", plain(data["price"])))


def _index(symbol: str, topic: str, data: Any, _time_ms: int | None) -> Sight:
    return Mark(symbol, topic, index_price=positive("price", plain(data["price"])))


def _funding(symbol: str, topic: str, data: Any, _time_ms: int | None) -> Sight:
    rate = data["rate"] if "rate" in data else data["fundingRate"]
    return Mark(symbol, topic, funding_rate=signed_fraction("rate", plain(rate)))


_READERS: Final[dict[str, Callable[[str, str, Any, int | None], Sight]]] = {
    "deal": _deals,
    "depth.full": _depth,
    "ticker": _ticker,
    "fair.price": _fair,
    "index.price": _index,
    "funding.rate": _funding,
}


def _optional(read: Callable[[str, str], Decimal], name: str, value: Any) -> Decimal | None:
    return None if value is None else read(name, plain(value))


def plain(value: Any) -> str:
    """Return a JSON number as text, whether it was sent as a number or as text.

    Raises:
        FeedInputInvalid: it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise FeedInputInvalid(f"{value!r:.40}: a number is meant")
    return str(value)


def _time(value: Any) -> int | None:
    try:
        return milliseconds("ts", plain(value)) // MS_US
    except FeedInputInvalid:
        return None
