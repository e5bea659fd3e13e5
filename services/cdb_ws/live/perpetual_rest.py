"""MEXC's perpetual ("contract") REST interface, as far as a feed needs it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live.perpetual import deal_of_row, plain
from services.cdb_ws.live.words import Ask, Deal
from services.cdb_ws.numbers import milliseconds, not_negative, positive
from services.cdb_ws.warmup import MinuteBar
from services.common.codec import decode
from services.common.decimals import wire_form
from services.common.errors import ClaireError, ContractViolation, FeedInputInvalid
from services.common.instruments import InstrumentSpec, normalise_symbol
from services.common.mexc.instruments import contract_listing
from services.common.mexc.symbols import perpetual_symbol
from services.common.timestamps import MS_US, SECOND_US

__all__ = ["PerpetualRest"]

_UNUSABLE: Final = (ClaireError, KeyError, TypeError, ValueError, AttributeError)


class PerpetualRest:
    """Questions of the perpetual feed. Answers stand in an envelope: `{"success":true,"code":0,"data":…}`."""

    bars_per_answer: Final = 2_000
    trades_per_answer: Final = 100
    asks_stretches: Final = False

    def time(self) -> Ask:
        """Ask for the exchange's time."""
        return Ask("time", "", "/api/v1/contract/ping")

    def instruments(self) -> Ask:
        """Ask for all contracts."""
        return Ask("instruments", "", "/api/v1/contract/detail")

    def tickers(self) -> Ask:
        """Ask for the turnover of everything."""
        return Ask("tickers", "", "/api/v1/contract/ticker")

    def klines(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for one-minute bars that begin from `start_us` and before `end_us`."""
        return self._klines("klines", symbol, "Min1", start_us, end_us)

    def age(self, symbol: str, start_us: int, end_us: int) -> Ask:
        """Ask for daily bars since a time."""
        return self._klines("age", symbol, "Day1", start_us, end_us)

    @staticmethod
    def _klines(kind: Any, symbol: str, interval: str, start_us: int, end_us: int) -> Ask:
        params = (
            ("interval", interval),
            ("start", str(start_us // SECOND_US)),
            ("end", str(end_us // SECOND_US - 1)),
        )
        return Ask(kind, symbol, f"/api/v1/contract/kline/{perpetual_symbol(symbol)}", params)

    def trades(self, symbol: str, from_ms: int, until_ms: int) -> Ask:  # noqa: ARG002 - it gives the last ones alone
        """Ask for the newest trades: a stretch cannot be asked for."""
        limit = str(self.trades_per_answer)
        return Ask("trades", symbol, f"/api/v1/contract/deals/{perpetual_symbol(symbol)}", (("limit", limit),))

    # what the answers say; each raises FeedInputInvalid when it is not what was asked for

    def read_time(self, body: bytes) -> int:
        """Return the exchange's time, milliseconds."""
        return milliseconds("data", plain(_data(body))) // MS_US

    def read_instruments(self, body: bytes) -> dict[str, Listing]:
        """Return what is listed, by symbol; what has no usable grid is left out."""
        data = _data(body)
        found: dict[str, Listing] = {}
        for row in data if isinstance(data, list) else [data]:
            try:
                found_one = contract_listing(row)
            except _UNUSABLE:
                continue
            found[found_one.spec.symbol] = Listing(found_one.spec)
        return found

    def read_tickers(self, body: bytes) -> list[Ticker]:
        """Return 24 hours' turnover and the quote of everything that has them."""
        data = _data(body)
        found = []
        for row in data if isinstance(data, list) else [data]:
            try:
                found.append(
                    Ticker(
                        normalise_symbol(row["symbol"]),
                        not_negative("amount24", plain(row["amount24"])),
                        not_negative("bid1", plain(row.get("bid1", 0))) or None,
                        not_negative("ask1", plain(row.get("ask1", 0))) or None,
                    )
                )
            except _UNUSABLE:
                continue
        return found

    def read_klines(self, body: bytes, spec: InstrumentSpec | None) -> list[MinuteBar]:
        """Return bars in order of time, volumes in base units."""
        data = _data(body)
        try:
            columns = [data[name] for name in ("time", "open", "high", "low", "close", "vol")]
            unit = Decimal(1) if spec is None else spec.contract_size
            bars = []
            for time, *prices, volume in zip(*columns, strict=True):
                opening, high, low, close = (positive("price", plain(value)) for value in prices)
                base = wire_form(not_negative("vol", plain(volume)) * unit)
                bars.append(
                    MinuteBar(int(plain(time)) * SECOND_US, opening, max(high, low), min(high, low), close, base)
                )
        except (KeyError, TypeError, ValueError) as error:
            raise FeedInputInvalid(f"bars in columns are meant: {type(error).__name__}: {error}") from error
        return sorted(bars, key=lambda bar: bar.start_us)

    def read_trades(self, body: bytes) -> list[Deal]:
        """Return trades in order of time."""
        data = _data(body)
        rows = data.get("resultList") if isinstance(data, dict) else data
        if not isinstance(rows, list):
            raise FeedInputInvalid("a list of trades is meant")
        try:
            return sorted((deal_of_row(row) for row in rows), key=lambda deal: deal.time_ms)
        except (KeyError, TypeError, AttributeError) as error:
            raise FeedInputInvalid(f"trades: {type(error).__name__}: {error}") from error


def _data(body: bytes) -> Any:
    try:
        value = decode(body)
    except ContractViolation as error:
        raise FeedInputInvalid(str(error)) from error
    if not isinstance(value, dict) or value.get("success") is False or value.get("code", 0) != 0:
        raise FeedInputInvalid(f"not the answer that was asked for: {str(value)[:120]}")
    return value.get("data")
