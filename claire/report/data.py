"""What a report shows, as one JSON-able object: the page is a function of it, so that `report.json` can be drawn again.

Numbers are Decimal or int, times are seconds since the epoch (UTC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Final

from claire.report.downsample import thin
from claire.statistics import Statistics
from claire.statistics.figures import shown
from claire.statistics.round_trips import RoundTrip
from services.common.decimals import ZERO, quantise
from services.common.instruments import instrument_key
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["report_data"]

JsonObject = dict[str, Any]

LISTED: Final = 100
"""Round trips listed; all of them are in `trades.csv`."""
MARKED: Final = 400
"""Marks of one kind in the price chart of one instrument."""
DAYS_LISTED: Final = 31


def report_data(
    statistics: Statistics, *, title: str = "", chain_tip: str | None = None, manifest: Mapping[str, Any] | None = None
) -> JsonObject:
    """Return everything that a report shows of a run.

    Args:
        statistics: of the run.
        title: what was played, in words.
        chain_tip: hash of the last event, in hexadecimal digits.
        manifest: what else says where the numbers come from (feed, input files), shown as it is.
    """
    return {
        "run_id": statistics.run_id,
        "title": title,
        "mode": statistics.mode,
        "period": statistics.period,
        "events": dict(statistics.events),
        "statistics": statistics.as_json(),
        "portfolio": dict(statistics.portfolio),
        "chain_tip": chain_tip,
        "code_version": statistics.code_version,
        "settings_hashes": dict(statistics.settings_hashes),
        "manifest": dict(manifest or {}),
        "charts": charts(statistics),
    }


def charts(statistics: Statistics) -> JsonObject:
    """Return the series, marks and tables behind the pictures."""
    curve = statistics.curve
    times = [time // SECOND_US for time in curve.times]
    levels = [float(equity) for equity in curve.equity]
    return {
        "equity": _series(times, levels, 2),
        "drawdown_pct": _series(times, _drawdowns(levels), 6),
        "exposure_pct": _series(times, _shares(curve.exposure, levels), 6),
        "prices": {
            key: _series(times[len(times) - len(series) :], series, 8) for key, series in sorted(curve.prices.items())
        },
        "marks": {key: _marks(statistics, key) for key in sorted(curve.prices)},
        "distribution": distribution([trip.net for trip in statistics.round_trips]),
        "months": _periods(statistics, "%Y-%m"),
        "days": _days(statistics),
        "round_trips": [_trip(trip) for trip in statistics.round_trips[-LISTED:]],
    }


def _series(times: Sequence[int], values: Sequence[float], places: int) -> JsonObject:
    kept = thin(times, values)
    return {
        "t": [times[place] for place in kept],
        "v": [quantise(Decimal(f"{values[place]:.12g}"), places) for place in kept],
    }


def _drawdowns(levels: Sequence[float]) -> list[float]:
    found, top = [], 0.0
    for level in levels:
        top = max(top, level)
        found.append(level / top - 1 if top > 0 else 0.0)
    return found


def _shares(exposure: Sequence[Decimal], levels: Sequence[float]) -> list[float]:
    return [float(value) / level if value and level > 0 else 0.0 for value, level in zip(exposure, levels, strict=True)]


def _marks(statistics: Statistics, key: str) -> JsonObject:
    """Return where longs and shorts were entered, where they were left, and where entries were refused."""
    fills = [fill for fill in statistics.fills if fill.key == key]
    refused = [
        refusal for refusal in statistics.refused_entries if instrument_key(refusal.venue, refusal.symbol) == key
    ]
    bought = [fill for fill in fills if fill.purpose == "entry" and fill.side == "BUY"]
    sold = [fill for fill in fills if fill.purpose == "entry" and fill.side == "SELL"]
    closing = [fill for fill in fills if fill.purpose != "entry"]
    return {
        "entries": _limited([_mark(f.timestamp, f.price, f"{f.side} {f.quantity:f}") for f in bought]),
        "shorts": _limited([_mark(f.timestamp, f.price, f"{f.side} {f.quantity:f}") for f in sold]),
        "exits": _limited([_mark(f.timestamp, f.price, f"{f.purpose}: {f.side} {f.quantity:f}") for f in closing]),
        "refused": _limited([_mark(r.timestamp, r.entry, f"refused by {r.layer}: {r.code}") for r in refused]),
    }


def _mark(timestamp: int, price: Decimal | None, text: str) -> JsonObject:
    return {"t": timestamp // SECOND_US, "price": price, "text": text}


def _limited(marks: list[JsonObject]) -> list[JsonObject]:
    """Return at most `MARKED`, evenly chosen."""
    step = -(-len(marks) // MARKED)
    return marks[::step] if step > 1 else marks


def distribution(nets: Sequence[Decimal]) -> JsonObject:
    """Return a histogram with zero as an edge: `width` of a bin, `first` edge, `counts`, in quote currency.

    The width is the nicest of 1, 2, 5 times a power of ten that gives at most twenty bins.
    """
    if not nets:
        return {"first": ZERO, "width": ZERO, "counts": []}
    low, high = min(*nets, ZERO), max(*nets, ZERO)
    width = _nice_width((high - low) / 20)
    first = (low / width).to_integral_value(ROUND_FLOOR)
    counts = [0] * (int((high / width).to_integral_value(ROUND_FLOOR)) - int(first) + 1)
    for net in nets:
        counts[int((net / width).to_integral_value(ROUND_FLOOR)) - int(first)] += 1
    return {"first": first * width, "width": width, "counts": counts}


def _nice_width(least: Decimal) -> Decimal:
    if not least:
        return Decimal(1)
    power = Decimal(1).scaleb(least.adjusted())
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _days(statistics: Statistics) -> list[JsonObject]:
    days = _periods(statistics, "%Y-%m-%d")
    return days if len(days) <= DAYS_LISTED else []


def _periods(statistics: Statistics, form: str) -> list[JsonObject]:
    """Return one row for each month or day: equity at both ends, deepest drawdown within, and what was traded."""
    rows: dict[str, JsonObject] = {}
    curve = statistics.curve
    before: Decimal | None = None
    for time, equity in zip(curve.times, curve.equity, strict=True):
        if before is None:
            before = equity
            continue
        name = _name(time - 1, form)
        row = rows.get(name)
        if row is None:
            row = rows[name] = {"name": name, "first": before, "top": before, "drawdown": 0.0}
        row["last"] = before = equity
        if equity > row["top"]:
            row["top"] = equity
        elif row["top"] > 0 and equity != row["top"]:
            row["drawdown"] = max(row["drawdown"], 1 - float(equity) / float(row["top"]))
    trips: dict[str, list[RoundTrip]] = {}
    for trip in statistics.round_trips:
        trips.setdefault(_name(trip.closed_at - 1, form), []).append(trip)
    return [_period(row, trips.get(name, [])) for name, row in rows.items()]


_NAMES: dict[tuple[int, str], str] = {}


def _name(timestamp: int, form: str) -> str:
    hour = timestamp // (3600 * SECOND_US)
    found = _NAMES.get((hour, form))
    if found is None:
        if len(_NAMES) > 10_000:
            _NAMES.clear()
        found = _NAMES[hour, form] = datetime.fromtimestamp(hour * 3600, UTC).strftime(form)
    return found


def _period(row: JsonObject, trips: Sequence[RoundTrip]) -> JsonObject:
    first, last = row["first"], row["last"]
    return {
        "name": row["name"],
        "net": shown(last - first),
        "return_pct": quantise(Decimal(f"{float(last) / float(first) - 1:.10g}"), 8) if first > 0 else None,
        "max_drawdown_pct": quantise(Decimal(f"{row['drawdown']:.10g}"), 8),
        "round_trips": len(trips),
        "wins": sum(trip.net > 0 for trip in trips),
        "fees": shown(sum((trip.fees for trip in trips), ZERO)),
    }


def _trip(trip: RoundTrip) -> JsonObject:
    return {
        "number": trip.number,
        "venue": trip.venue,
        "symbol": trip.symbol,
        "direction": trip.direction,
        "opened_at": format_timestamp(trip.opened_at),
        "closed_at": format_timestamp(trip.closed_at),
        "entry_price": trip.entry_price,
        "exit_price": trip.exit_price,
        "net": shown(trip.net),
        "net_pct": trip.net_pct,
        "fees": shown(trip.fees),
        "exit": trip.exit_purpose,
    }
