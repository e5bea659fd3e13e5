"""Ticks: from a row of a tick file to what was seen of the instrument."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from services.cdb_ws.numbers import milliseconds, not_negative, plain_number, positive, signed_fraction
from services.cdb_ws.observation import NO_VOLUME, Observation
from services.common.decimals import divide, wire_form
from services.common.errors import FeedInputInvalid
from services.common.timestamps import MS_US

__all__ = ["MARKED_TICK_COLUMNS", "SIZED_TICK_COLUMNS", "TICK_COLUMNS", "TickReader"]

TICK_COLUMNS: Final = ("ts_ms", "symbol", "price", "qty", "side", "bid", "ask")
SIZED_TICK_COLUMNS: Final = (*TICK_COLUMNS, "bid_size", "ask_size")
MARKED_TICK_COLUMNS: Final = (*SIZED_TICK_COLUMNS, "mark_price", "funding_rate")
"""Of a perpetual whose recorder also wrote down its mark price and funding rate, each where it is known."""

_SIDES: Final = frozenset({"buy", "sell", ""})
_PLAIN_MS: Final = re.compile(r"[1-9][0-9]{11,13}")


class TickReader:
    """Reads rows in their order and remembers each symbol's last trade, the price of a row that has only a quote."""

    def __init__(self) -> None:
        self._last_trade: dict[str, Decimal] = {}

    def read(self, row: Mapping[str, str], symbol: str) -> Observation:
        """Return what one row says; `symbol` is its symbol as it stands on the wire.

        A trade has price, quantity and, if known, the taker's side; a quote has bid and ask. A quote alone has the
        price of the last trade, or before the first one the mid.

        Raises:
            FeedInputInvalid: naming the column, the value and what is meant.
        """
        timestamp_us = milliseconds("ts_ms", row["ts_ms"])
        bid, ask, bid_size, ask_size = _quote(row)
        if row["price"]:
            price = positive("price", row["price"])
            volume = positive("qty", row["qty"])
            if row["side"] not in _SIDES:
                raise FeedInputInvalid(f"side={row['side']!r}: buy or sell (of the taker) or nothing is meant")
            self._last_trade[symbol] = price
        elif row["qty"] or row["side"]:
            raise FeedInputInvalid(f"qty={row['qty']!r}, side={row['side']!r}: a trade without its price")
        elif bid is None or ask is None:
            raise FeedInputInvalid("neither a trade (price, qty) nor a quote (bid, ask) stands in this row")
        else:
            price, volume = self._last_trade.get(symbol) or wire_form(divide(bid + ask, Decimal(2))), NO_VOLUME
        return Observation(
            timestamp_us=timestamp_us,
            symbol=symbol,
            price=price,
            high=price,
            low=price,
            volume=volume,
            bid=bid,
            ask=ask,
            bid_size=bid_size,
            ask_size=ask_size,
            mark_price=positive("mark_price", row["mark_price"]) if row.get("mark_price") else None,
            funding_rate=signed_fraction("funding_rate", row["funding_rate"]) if row.get("funding_rate") else None,
        )

    def read_plain(self, values: Sequence[str], symbol: str) -> Observation | None:
        """Return what `read` returns of a row with exactly SIZED_TICK_COLUMNS, a whole quote and plain numbers.

        Nearly all rows are so, and there are millions. None: `read` knows what the row is, or what is wrong with it.
        """
        ts_ms, _, price_text, qty_text, side, *quote = values
        bid, ask, bid_size, ask_size = map(plain_number, quote)
        if not (bid and ask) or bid_size is None or ask_size is None or not _PLAIN_MS.fullmatch(ts_ms):
            return None
        if price_text:
            price, volume = plain_number(price_text), plain_number(qty_text)
            if not (price and volume) or side not in _SIDES:
                return None
            self._last_trade[symbol] = price
        else:
            price, volume = self._last_trade.get(symbol), NO_VOLUME
            if price is None or qty_text or side:
                return None
        return Observation(int(ts_ms) * MS_US, symbol, price, price, price, volume, bid, ask, bid_size, ask_size)


def _quote(row: Mapping[str, str]) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
    sizes = row.get("bid_size", ""), row.get("ask_size", "")
    if not row["bid"] and not row["ask"]:
        if sizes != ("", ""):
            raise FeedInputInvalid(f"bid_size={sizes[0]!r}, ask_size={sizes[1]!r}: sizes without their quote")
        return None, None, None, None
    if not row["bid"] or not row["ask"]:
        raise FeedInputInvalid(f"bid={row['bid']!r}, ask={row['ask']!r}: both or neither are meant")
    return (
        positive("bid", row["bid"]),
        positive("ask", row["ask"]),
        not_negative("bid_size", sizes[0]) if sizes[0] else None,
        not_negative("ask_size", sizes[1]) if sizes[1] else None,
    )
