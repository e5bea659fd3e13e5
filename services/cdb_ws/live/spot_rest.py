"""MEXC's spot REST interface, as far as a feed needs it: questions and what the answers say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live.perpetual import plain
from services.cdb_ws.live.words import Ask, Deal
from services.cdb_ws.numbers import milliseconds, not_negative, positive
from services.cdb_ws.warmup import MinuteBar
from services.common.codec import decode
from services.common.errors import ClaireError, ContractViolation, FeedInputInvalid
from services.common.instruments import InstrumentSpec, normalise_symbol
from services.common.mexc.instruments import spot_listing
from services.common.timestamps import MS_US

__all__ = ["SpotRest"]


class SpotRest:
    """Questions of the spot feed."""

    bars_per_answer: Final = 500
    trades_per_answer: Final = 1_000
    asks_stretches: Final = True

    def time(self) -> Ask:
        """Ask for the exchange's time."""
        return Ask("time", "", "/api/v3/time")

    def instruments(self) -> Ask:
        """Ask for all grids."""
        return Ask("instruments", "", "/api/v3/exchangeInfo")

    def tickers(self) -> Ask:
        """Ask for the turnover of everything."""
        return Ask("tickers", "", "/api/v3/ticker/24hr")

    def klines(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for one-minute bars that begin from `start_us` and before `end_us`."""
        return self._klines("klines", symbol, "1m", start_us, end_us)

    def age(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for daily bars since a time: where the first one is older than the limit, the instrument is."""
        return self._klines("age", symbol, "1d", start_us, end_us)

    def _klines(self, kind: Any, symbol: str, interval: str, start_us: int, end_us: int) -> Ask:
        params = (
            ("symbol", symbol),
            ("interval", interval),
            ("startTime", str(start_us // MS_US)),
            ("endTime", str(end_us // MS_US - 1)),
            ("limit", str(self.bars_per_answer)),
        )
        return Ask(kind, symbol, "/api/v3/klines", params)

    def trades(self, symbol: str, from_ms: int, until_ms: int) -> Ask:
        """Ask for the trades of a stretch, by the exchange's time, both ends included."""
        params = (
            ("symbol", symbol),
            ("startTime", str(from_ms)),
            ("endTime", str(until_ms)),
            ("limit", str(self.trades_per_answer)),
        )
        return Ask("trades", symbol, "/api/v3/aggTrades", params)

    # what the answers say; each raises FeedInputInvalid when it is not what was asked for

    def read_time(self, body: bytes) -> int:
        """Return the exchange's time, milliseconds."""
        return milliseconds("serverTime", plain(_object(body).get("serverTime"))) // MS_US

    def read_instruments(self, body: bytes) -> dict[str, Listing]:
        """Return what is listed, by symbol; what has no usable grid is left out."""
        rows = _object(body).get("symbols")
        if not isinstance(rows, list):
            raise FeedInputInvalid("exchangeInfo without symbols")
        found: dict[str, Listing] = {}
        for row in rows:
            try:
                found_one = spot_listing(row)
            except (ClaireError, KeyError, TypeError, ValueError, AttributeError):
                continue
            found[found_one.spec.symbol] = Listing(found_one.spec)
        return found

    def read_tickers(self, body: bytes) -> list[Ticker]:
        """Return 24 hours' turnover and the quote of everything that has them."""
        found = []
        for row in _array(body):
            try:
                found.append(
                    Ticker(
                        normalise_symbol(row["symbol"]),
                        not_negative("quoteVolume", plain(row["quoteVolume"])),
                        _or_none(row.get("bidPrice")),
                        _or_none(row.get("askPrice")),
                    )
                )
            except (FeedInputInvalid, ContractViolation, KeyError, TypeError, AttributeError):
                continue
        return found

    def read_klines(self, body: bytes, _spec: InstrumentSpec | None) -> list[MinuteBar]:
        """Return bars in order of time."""
        bars = []
        for row in _array(body):
            try:
                start_us = milliseconds("openTime", plain(row[0]))
                opening, high, low, close = (positive("price", plain(value)) for value in row[1:5])
                bars.append(MinuteBar(start_us, opening, max(high, low), min(high, low), close, _volume(plain(row[5]))))
            except (IndexError, TypeError, KeyError, ValueError) as error:
                raise FeedInputInvalid(f"bar {row!r:.120}: {error}") from error
        return sorted(bars, key=lambda bar: bar.start_us)

    def read_trades(self, body: bytes) -> list[Deal]:
        """Return trades in order of time."""
        deals = []
        for row in _array(body):
            try:
                trade_id = row.get("a")
                deals.append(
                    Deal(
                        positive("p", plain(row["p"])),
                        positive("q", plain(row["q"])),
                        not row["m"],
                        milliseconds("T", plain(row["T"])) // MS_US,
                        None if trade_id is None else str(trade_id),
                    )
                )
            except (KeyError, TypeError, AttributeError) as error:
                raise FeedInputInvalid(f"trade {row!r:.120}: {error}") from error
        return sorted(deals, key=lambda deal: deal.time_ms)


def _volume(text: str) -> Decimal:
    return not_negative("volume", text)


def _or_none(value: Any) -> Decimal | None:
    number = not_negative("price", plain(value)) if value not in {None, ""} else None
    return number or None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = decode(body)
    except ContractViolation as error:
        raise FeedInputInvalid(str(error)) from error
    if not isinstance(value, dict):
        raise FeedInputInvalid("an object is meant")
    return value


def _array(body: bytes) -> list[Any]:
    try:
        value = decode(body)
    except ContractViolation as error:
        raise FeedInputInvalid(str(error)) from error
    if not isinstance(value, list):
        raise FeedInputInvalid(f"a list is meant, not {str(value)[:120]}")
    return value
