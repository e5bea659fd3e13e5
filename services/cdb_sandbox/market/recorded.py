"""A recording as the market: tick or candle files (CSV, perhaps gzip), at a speed, once or in a loop.

Sizes and volumes of a file are base units; for a perpetual they become whole contracts, at least one. A candle is
played as open, low, high, close at the quarters of its span with a quote of 2 bp around each, a quarter of its volume
as a trade; its touch holds a 240th of the volume.
"""

from __future__ import annotations

import csv
import gzip
import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, TextIO, cast

from services.cdb_sandbox.core.depth import Quote, assumed_size
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.orders import Side
from services.cdb_sandbox.market.events import MarketEvent, MarketTrade
from services.common.decimals import ZERO, ceil_to, divide, floor_to
from services.common.errors import FeedInputInvalid
from services.common.instruments import Venue, instrument_key, normalise_symbol

__all__ = ["RecordedMarket", "Recording"]

_TICKS: Final = {"ts_ms", "symbol", "price", "qty", "side", "bid", "ask"}
_CANDLES: Final = {"ts_ms", "symbol", "interval", "open", "high", "low", "close", "volume"}
_HALF_SPREAD: Final = Decimal("0.0001")
_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TAKERS: Final[Mapping[str, Side]] = {"buy": "BUY", "sell": "SELL"}


@dataclass(frozen=True)
class Recording:
    """One file and what it is played as.

    Attributes:
        path: CSV or CSV.gz with the columns of `backoffice/data/README.md`.
        venue: the market that it stands for.
        symbols: from the file's symbols to ours, where they differ (`XBTUSD` to `BTCUSDT`).
    """

    path: Path
    venue: Venue = "mexc_spot"
    symbols: Mapping[str, str] | None = None


class RecordedMarket:
    """Plays recordings, merged in order of their times, beginning at the first call of `due`.

    Args:
        recordings: the files.
        listings: the instruments; rows of others are passed over.
        speed: seconds of the recording per second of the exchange's clock.
        loop: begin again when all have ended; the market goes on at the recording's first price.

    Raises:
        FeedInputInvalid: a file is missing, has other columns, or has no row of a listed instrument.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        listings: Iterable[Listing],
        *,
        speed: Decimal = Decimal(1),
        loop: bool = True,
    ) -> None:
        self._recordings = recordings
        self._listings = {listing.key: listing for listing in listings}
        self._speed = speed
        self._loop = loop
        self._begun: tuple[int, int] | None = None
        self._next: MarketEvent | None = None
        self._rows = self._read()
        self._next = next(self._rows, None)
        if self._next is None:
            names = ", ".join(recording.path.name for recording in recordings)
            raise FeedInputInvalid(f"{names or 'no file'}: no row of an instrument that is listed here")
        self.keys = frozenset(
            key
            for recording in recordings
            for key in self._listings
            if key.startswith(f"{recording.venue}:") and self._plays(recording, key)
        )

    @staticmethod
    def _plays(recording: Recording, key: str) -> bool:
        with _open(recording.path) as file:
            first = next(csv.DictReader(file), {})
        symbol = _name(recording, first.get("symbol", ""))
        return key == instrument_key(recording.venue, symbol)

    def due(self, now_ms: int) -> Iterator[MarketEvent]:
        """Yield the rows whose time has come."""
        while self._next is not None:
            assert self._next.at_ms is not None
            if self._begun is None:
                self._begun = (now_ms, self._next.at_ms)
            started, first = self._begun
            at_ms = started + int(divide(Decimal(self._next.at_ms - first), self._speed))
            if at_ms > now_ms:
                return
            event = self._next
            yield MarketEvent(key=event.key, at_ms=at_ms, quote=event.quote, trade=event.trade, mark=event.mark)
            self._next = next(self._rows, None)
            if self._next is None and self._loop:
                self._rows = self._read()
                self._next = next(self._rows, None)
                assert self._next is not None
                assert self._next.at_ms is not None
                self._begun = (at_ms + 1000, self._next.at_ms)

    def postpone(self, milliseconds: int) -> None:
        """Let the rows that are still to come be due so much later."""
        if self._begun is not None:
            started, first = self._begun
            self._begun = (started + milliseconds, first)

    def _read(self) -> Iterator[MarketEvent]:
        return heapq.merge(*(self._rows_of(recording) for recording in self._recordings), key=lambda e: e.at_ms or 0)

    def _rows_of(self, recording: Recording) -> Iterator[MarketEvent]:
        with _open(recording.path) as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            if not (columns >= _TICKS or columns >= _CANDLES):
                raise FeedInputInvalid(f"{recording.path}: neither the columns of ticks nor of candles")
            sizes: dict[str, deque[Decimal]] = {}
            for row in reader:
                key = instrument_key(recording.venue, _name(recording, row["symbol"]))
                listing = self._listings.get(key)
                if listing is None:
                    continue
                if "interval" in row:
                    yield from _candle(listing, row)
                else:
                    yield from _tick(listing, row, sizes.setdefault(key, deque(maxlen=50)))


def _open(path: Path) -> TextIO:
    if not path.is_file():
        raise FeedInputInvalid(f"{path}: there is no such file")
    if path.suffix == ".gz":
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


def _name(recording: Recording, raw: str) -> str:
    symbol = normalise_symbol(raw)
    return (recording.symbols or {}).get(symbol, symbol)


def _units(listing: Listing, base: Decimal) -> Decimal:
    """Return base units in the exchange's unit, on its grid and at least one lot."""
    return max(listing.lot, floor_to(divide(base, listing.unit_value), listing.lot))


def _tick(listing: Listing, row: Mapping[str, str], sizes: deque[Decimal]) -> Iterator[MarketEvent]:
    at_ms = int(row["ts_ms"])
    mark = Decimal(row["mark_price"]) if row.get("mark_price") else None
    if row["price"]:
        quantity = _units(listing, Decimal(row["qty"]))
        sizes.append(quantity)
        price = floor_to(Decimal(row["price"]), listing.tick)
        trade = MarketTrade(price, quantity, _TAKERS.get(row["side"]))
        yield MarketEvent(key=listing.key, at_ms=at_ms, trade=trade, mark=mark)
    elif row["bid"] and row["ask"]:
        bid, ask = floor_to(Decimal(row["bid"]), listing.tick), ceil_to(Decimal(row["ask"]), listing.tick)
        assumed = assumed_size(listing, list(sizes))
        quote = Quote(
            bid,
            _units(listing, Decimal(row["bid_size"])) if row.get("bid_size") else assumed,
            ask,
            _units(listing, Decimal(row["ask_size"])) if row.get("ask_size") else assumed,
        )
        yield MarketEvent(key=listing.key, at_ms=at_ms, quote=quote, mark=mark)


def _candle(listing: Listing, row: Mapping[str, str]) -> Iterator[MarketEvent]:
    opens, span = int(row["ts_ms"]), int(row["interval"][:-1]) * _UNITS_MS[row["interval"][-1]]
    volume = Decimal(row["volume"])
    size, share = _units(listing, divide(volume, Decimal(240))), _units(listing, divide(volume, Decimal(4)))
    prices = [Decimal(row[name]) for name in ("open", "low", "high", "close")]
    for offset, price in zip((0, span // 4, span // 2, span - 100), prices, strict=True):
        half = price * _HALF_SPREAD
        bid, ask = floor_to(price - half, listing.tick), ceil_to(price + half, listing.tick)
        yield MarketEvent(key=listing.key, at_ms=opens + offset, quote=Quote(bid, size, ask, size))
        if volume > ZERO:
            trade = MarketTrade(floor_to(price, listing.tick), share, None)
            yield MarketEvent(key=listing.key, at_ms=opens + offset, trade=trade)
