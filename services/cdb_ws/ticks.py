"""Ticks: from a row of a tick file to what was seen of the instrument."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import compress
from operator import not_
from typing import Final, cast

from services.cdb_ws.numbers import milliseconds, not_negative, plain_number, positive, signed_fraction
from services.cdb_ws.observation import NO_VOLUME, Observation
from services.cdb_ws.stretches import TickBlock, Ticks
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

    def read_block(
        self, rows: Sequence[Sequence[str]], known: Mapping[str, str | None], after_us: int
    ) -> TickBlock | None:
        """Return in columns what `read` returns of rows with SIZED_TICK_COLUMNS, without those that are not played.

        Nearly all rows have a whole quote and plain numbers and follow a trade, and there are millions. None: some are
        not so, or not in order of time; `read` knows what each row is, or what is wrong with it.

        Args:
            rows: as they stand in the file.
            known: what the file's symbols are played as; None for those that are not.
            after_us: no row may lie before it, nor before the one before it.
        """
        try:
            columns = list(zip(*rows, strict=True))
            played = [(raw, known[raw]) for raw in sorted(set(columns[1]))]
        except (ValueError, KeyError, IndexError):
            return None
        if len(columns) != len(SIZED_TICK_COLUMNS) or not all(map(_PLAIN_MS.fullmatch, columns[0])):
            return None
        times = list(map(int, columns[0]))
        if times[0] * MS_US < after_us or times != sorted(times):
            return None
        if len(played) == 1:
            shares = [(played[0][1], columns)]
        else:
            masks = [(symbol, [raw == found for found in columns[1]]) for raw, symbol in played]
            shares = [(symbol, [tuple(compress(column, mask)) for column in columns]) for symbol, mask in masks]
        block = [self._share(symbol, share) for symbol, share in shares if symbol is not None]
        ticks = tuple(share for share in block if share is not None)
        if len(ticks) < len(block) or len({share.symbol for share in ticks}) < len(ticks):
            return None
        self._last_trade.update((share.symbol, share.prices[-1]) for share in ticks if share.prices)
        return ticks

    def _share(self, symbol: str, columns: Sequence[Sequence[str]]) -> Ticks | None:
        """Return the rows of one instrument in columns, or None (see `read_block`)."""
        ts_ms, _, price_texts, qty_texts, sides, *quote = columns
        traded = list(map(bool, price_texts))
        if (
            traded != list(map(bool, qty_texts))
            or not _SIDES.issuperset(sides)
            or any(compress(sides, map(not_, traded)))
        ):
            return None
        try:
            bids, asks = (_numbers(column, above_zero=True) for column in quote[:2])
            bid_sizes, ask_sizes = (_numbers(column) for column in quote[2:])
            prices = _numbers(filter(None, price_texts), above_zero=True)
            volumes = _numbers(filter(None, qty_texts), above_zero=True)
        except FeedInputInvalid:
            return None
        price_before = prices[0] if traded[0] else self._last_trade.get(symbol)
        times = [value * MS_US for value in map(int, ts_ms)]
        if price_before is None:
            return None
        traded_at = list(compress(range(len(times)), traded))
        return Ticks(symbol, times, bids, asks, bid_sizes, ask_sizes, traded_at, prices, volumes, price_before)


def _numbers(texts: Iterable[str], *, above_zero: bool = False) -> Sequence[Decimal]:
    values = tuple(map(plain_number, texts))
    if not all(values) and (above_zero or None in values):
        raise FeedInputInvalid("not only plain numbers")
    return cast("tuple[Decimal, ...]", values)


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
