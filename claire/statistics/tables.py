"""The run as tables for a spreadsheet: equity minute by minute, and every fill with the round trip it belongs to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from claire.statistics.figures import shown
from claire.statistics.result import Statistics
from claire.statistics.round_trips import Fill, RoundTrip
from services.common.decimals import format_number
from services.common.timestamps import format_timestamp

__all__ = ["EQUITY_COLUMNS", "TRADE_COLUMNS", "write_equity_csv", "write_trades_csv"]

EQUITY_COLUMNS: Final = ("timestamp", "equity", "exposure", "drawdown_pct")
TRADE_COLUMNS: Final = (
    "kind",
    "round_trip",
    "opened_at",
    "closed_at",
    "venue",
    "symbol",
    "side",
    "purpose",
    "quantity",
    "price",
    "exit_price",
    "mid_at_decision",
    "gross",
    "fees",
    "funding",
    "slippage",
    "net",
    "net_pct",
    "adverse",
    "favourable",
    "liquidity",
    "order_id",
    "signal_id",
)

Cell = str | int | Decimal | None


def write_equity_csv(statistics: Statistics, path: Path) -> None:
    """Write one row a minute: equity and exposure in quote currency, drawdown as a fraction of the peak.

    Raises:
        OSError: the file cannot be written.
    """
    _write(path, EQUITY_COLUMNS, _equity_rows(statistics))


def write_trades_csv(statistics: Statistics, path: Path) -> None:
    """Write a row for each round trip (`kind` round_trip) and for each fill (`kind` fill), in order of time.

    Raises:
        OSError: the file cannot be written.
    """
    _write(path, TRADE_COLUMNS, _trade_rows(statistics))


def _equity_rows(statistics: Statistics) -> Iterator[tuple[Cell, ...]]:
    curve, peak = statistics.curve, None
    for time, equity, exposure in zip(curve.times, curve.equity, curve.exposure, strict=True):
        peak = equity if peak is None or equity > peak else peak
        drawdown = f"{float(1 - equity / peak):.9f}" if peak > 0 and equity != peak else "0.0"
        yield format_timestamp(time), shown(equity), shown(exposure), drawdown


def _trade_rows(statistics: Statistics) -> Iterator[tuple[Cell, ...]]:
    rows = [(fill.timestamp, 0, _fill_row(fill)) for fill in statistics.fills]
    rows += [(trip.closed_at, 1, _trip_row(trip)) for trip in statistics.round_trips]
    rows.sort(key=lambda row: row[:2])
    for _, _, row in rows:
        yield tuple(row.get(column) for column in TRADE_COLUMNS)


def _fill_row(fill: Fill) -> dict[str, Cell]:
    return {
        "kind": "fill",
        "round_trip": fill.round_trip,
        "opened_at": format_timestamp(fill.timestamp),
        "venue": fill.venue,
        "symbol": fill.symbol,
        "side": fill.side,
        "purpose": fill.purpose,
        "quantity": fill.quantity,
        "price": fill.price,
        "mid_at_decision": fill.mid,
        "fees": fill.fee,
        "slippage": fill.slippage,
        "liquidity": fill.liquidity,
        "order_id": fill.order_id,
        "signal_id": fill.signal_id,
    }


def _trip_row(trip: RoundTrip) -> dict[str, Cell]:
    return {
        "kind": "round_trip",
        "round_trip": trip.number,
        "opened_at": format_timestamp(trip.opened_at),
        "closed_at": format_timestamp(trip.closed_at),
        "venue": trip.venue,
        "symbol": trip.symbol,
        "side": trip.direction,
        "purpose": trip.exit_purpose,
        "quantity": trip.quantity,
        "price": trip.entry_price,
        "exit_price": trip.exit_price,
        "gross": trip.gross,
        "fees": trip.fees,
        "funding": trip.funding,
        "slippage": trip.slippage,
        "net": trip.net,
        "net_pct": trip.net_pct,
        "adverse": trip.adverse,
        "favourable": trip.favourable,
        "signal_id": trip.signal_id,
    }


def _write(path: Path, columns: Iterable[str], rows: Iterable[tuple[Cell, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(cell) for cell in row] for row in rows)


def _cell(cell: Cell) -> str | int:
    if cell is None:
        return ""
    return format_number(shown(cell)) if isinstance(cell, Decimal) else cell
