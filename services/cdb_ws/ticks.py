"""Ticks: from a row of a tick file to what was seen of the instrument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import compress
from operator import not_
from typing import Final

from services.cdb_ws.numbers import milliseconds, not_negative, positive, signed_fraction
from services.cdb_ws.observation import NO_VOLUME, Observation
from services.cdb_ws.stretches import TickBlock, Ticks
from services.cdb_ws.tick_columns import NOT_NEGATIVE, POSITIVE, NotPlainError, columns_of, lines_by_symbol, times_of
from services.common.decimals import divide, wire_form
from services.common.errors import FeedInputInvalid

__all__ = ["MARKED_TICK_COLUMNS", "SIZED_TICK_COLUMNS", "TICK_COLUMNS", "TickReader"]

TICK_COLUMNS: Final = ("ts_ms", "symbol", "price", "qty", "side", "bid", "ask")
SIZED_TICK_COLUMNS: Final = (*TICK_COLUMNS, "bid_size", "ask_size")
MARKED_TICK_COLUMNS: Final = (*SIZED_TICK_COLUMNS, "mark_price", "funding_rate")
"""Of a perpetual whose recorder also wrote down its mark price and funding rate, each where it is known."""

_SIDES: Final = frozenset({"buy", "sell", ""})


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

    def read_block(self, lines: Sequence[str], known: Mapping[str, str | None], after_us: int) -> TickBlock | None:
        """Return in columns what `read` returns of rows with SIZED_TICK_COLUMNS, without those that are not played.

        Nearly all rows have a whole quote and plain numbers and follow a trade, and there are millions. None: some are
        not so, or not in order of time; `read` knows what each row is, or what is wrong with it.

        Args:
            lines: a row each, without its end and without a quoted field.
            known: what the file's symbols are played as; None for those that are not.
            after_us: no row may lie before it, nor before the one before it.
        """
        block = []
        try:
            for raw, share in lines_by_symbol(lines).items():
                symbol, columns = known[raw], columns_of(share, len(SIZED_TICK_COLUMNS))
                if symbol is not None:
                    block.append(self._share(symbol, columns))
        except (KeyError, NotPlainError):
            return None
        if len({share.symbol for share in block}) < len(block) or any(share.times[0] < after_us for share in block):
            return None
        self._last_trade.update((share.symbol, share.prices[-1]) for share in block if share.prices)
        return tuple(block)

    def _share(self, symbol: str, columns: Sequence[Sequence[str]]) -> Ticks:
        """Return the rows of one instrument in columns.

        Raises:
            NotPlainError: see `read_block`.
        """
        stamps, _, price_texts, qty_texts, sides, bids, asks, bid_sizes, ask_sizes = columns
        traded = list(map(bool, price_texts))
        if (
            traded != list(map(bool, qty_texts))
            or not _SIDES.issuperset(sides)
            or any(compress(sides, map(not_, traded)))
        ):
            raise NotPlainError
        prices, volumes = POSITIVE.of(filter(None, price_texts)), POSITIVE.of(filter(None, qty_texts))
        price_before = prices[0] if traded[0] else self._last_trade.get(symbol)
        if price_before is None:
            raise NotPlainError
        return Ticks(
            symbol,
            times_of(stamps),
            POSITIVE.of(bids),
            POSITIVE.of(asks),
            NOT_NEGATIVE.of(bid_sizes),
            NOT_NEGATIVE.of(ask_sizes),
            list(compress(range(len(traded)), traded)),
            prices,
            volumes,
            price_before,
        )


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
