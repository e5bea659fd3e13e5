"""Reads market data back from its canonical bytes in one step: nine of ten events are market data, for every service.

One expression matches exactly what our encoder writes of a plain event. Whatever differs (another order of keys, a
space, an escape, a longer number) is left to the decoder and the contract, so nothing is accepted or refused here that
they would not.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

from services.common.book import Level
from services.common.canonical import NotExactError, read_instant

__all__ = ["read_market_data"]

_TEXT: Final = r'"([ !#-\[\]-~]{1,64})"'
_INSTANT: Final = r'"([0-9T:.\-]{26}Z)"'
_FLAG: Final = "(true|false)"
_DIGITS: Final = r"(?:0|[1-9][0-9]{0,11})\.[0-9]{1,12}"
_NUMBER: Final = f"({_DIGITS})"
_LEVEL: Final = rf"\[{_DIGITS},{_DIGITS}\]"
_LEVELS: Final = rf"\[({_LEVEL}(?:,{_LEVEL}){{0,19}})\]"

_FIELDS: Final = (
    ("type", '"market_data"'),
    ("event_id", _TEXT),
    ("schema_version", r'"1\.0"'),
    ("timestamp", _INSTANT),
    ("producer", _TEXT),
    ("correlation_id", f"(?:null|{_TEXT})"),
    ("causation_id", f"(?:null|{_TEXT})"),
    ("venue", '"(mexc_spot|mexc_perpetual)"'),
    ("symbol", '"([A-Z0-9]{5,20})"'),
    ("price", _NUMBER),
    ("volume", _NUMBER),
    ("high", _NUMBER),
    ("low", _NUMBER),
    ("bid", f"(?:null|{_NUMBER})"),
    ("ask", f"(?:null|{_NUMBER})"),
    ("bid_size", f"(?:null|{_NUMBER})"),
    ("ask_size", f"(?:null|{_NUMBER})"),
    ("exchange_timestamp", f"(?:null|{_INSTANT})"),
    ("sequence", "(0|[1-9][0-9]{0,17})"),
    ("gap", _FLAG),
    ("synthetic", _FLAG),
    ("mark_price", f"(?:null|{_NUMBER})"),
    ("funding_rate", f"(?:null|(-?{_DIGITS}))"),
)
_CANONICAL: Final = re.compile(
    r"\{"
    + ",".join(f'"{name}":{pattern}' for name, pattern in _FIELDS)
    + f'(?:,"bids":{_LEVELS})?(?:,"asks":{_LEVELS})?'
    + r"\}"
)
_POSITIVE: Final = ("price", "high", "low", "bid", "ask", "mark_price")
_LEVEL_NUMBERS: Final = re.compile(_DIGITS)


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _levels(text: str | None) -> tuple[Level, ...] | None:
    if text is None:
        return None
    numbers = map(Decimal, _LEVEL_NUMBERS.findall(text))
    return tuple(zip(numbers, numbers, strict=True))


def read_market_data(data: bytes) -> dict[str, Any] | None:
    """Return the fields of market data in schema order, None when the bytes are not plainly canonical.

    What must hold between levels and quote is not looked at.
    """
    try:
        found = _CANONICAL.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError:
        return None
    if found is None:
        return None
    (
        event_id, timestamp, producer, correlation_id, causation_id, venue, symbol, price, volume, high, low, bid, ask,
        bid_size, ask_size, exchange_timestamp, sequence, gap, synthetic, mark_price, funding_rate, bids, asks,
    ) = found.groups()  # fmt: skip
    try:
        values: dict[str, Any] = {
            "type": "market_data",
            "event_id": event_id,
            "schema_version": "1.0",
            "timestamp": read_instant(timestamp),
            "producer": producer,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
            "venue": venue,
            "symbol": symbol,
            "price": Decimal(price),
            "volume": Decimal(volume),
            "high": Decimal(high),
            "low": Decimal(low),
            "bid": _number(bid),
            "ask": _number(ask),
            "bid_size": _number(bid_size),
            "ask_size": _number(ask_size),
            "exchange_timestamp": None if exchange_timestamp is None else read_instant(exchange_timestamp),
            "sequence": int(sequence),
            "gap": gap == "true",
            "synthetic": synthetic == "true",
            "mark_price": _number(mark_price),
            "funding_rate": _number(funding_rate),
            "bids": _levels(bids),
            "asks": _levels(asks),
        }
    except NotExactError:
        return None
    for name in _POSITIVE:
        value = values[name]
        if value is not None and not value:
            return None  # the expression has excluded signs, but not zero
    for side in (values["bids"], values["asks"]):
        if side is not None and not all(price and size for price, size in side):
            return None
    return values
