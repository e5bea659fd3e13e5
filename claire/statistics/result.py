"""The statistics of a run, computed from its books; what there is too little data for is named instead of shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from claire.statistics.curve import MinuteCurve
from claire.statistics.figures import Material, Value, figures, shown
from claire.statistics.refusals import LayerRefusals, Refusal
from claire.statistics.round_trips import Fill, RoundTrip
from services.common.decimals import ZERO
from services.common.timestamps import format_timestamp

if TYPE_CHECKING:
    from claire.statistics.collector import Books

__all__ = ["Statistics", "compute"]

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Statistics:
    """What a run has come to; money in quote currency, `_pct` values are fractions.

    Attributes:
        exposure_limit: largest exposure that risk lets through, a fraction of equity; None when it did not say.
        values: by name of `claire.statistics.definitions`; None where there is nothing to say.
        not_shown: why a value is None, by name.
        pnl_split: price, slippage, fee and funding parts of the net PnL, which they add up to.
        portfolio: equity, cash, PnL, fees and open positions at the end.
        events: count of each type.
        refusals: by layer, with hypothetical results.
        exits_not_sent: by reason.
        curve: minute by minute, ending with the moment of this result.
    """

    run_id: str | None
    code_version: str | None
    settings_hashes: Mapping[str, str]
    mode: str | None
    begins: int | None
    ends: int | None
    days: Decimal
    exposure_limit: Decimal | None
    events: Mapping[str, int]
    values: Mapping[str, Value]
    not_shown: Mapping[str, str]
    pnl_split: Mapping[str, Decimal]
    portfolio: Mapping[str, Any]
    refusals: Mapping[str, LayerRefusals]
    refused_entries: Sequence[Refusal]
    exits_not_sent: Mapping[str, int]
    orders: Mapping[str, int]
    round_trips: Sequence[RoundTrip]
    fills: Sequence[Fill]
    curve: MinuteCurve

    def as_json(self) -> JsonObject:
        """Return everything but the series and the single trades: str, int, Decimal, None, dict and list."""
        return {
            **self.values,
            "days": self.days,
            "exposure_limit_pct": self.exposure_limit,
            "not_shown": dict(self.not_shown),
            "pnl_split": dict(self.pnl_split),
            "orders_by_end": dict(self.orders),
            "refusals_by_layer": {name: _layer(layer) for name, layer in self.refusals.items()},
            "exits_not_sent": dict(self.exits_not_sent),
            "by_symbol": _grouped(self.round_trips, lambda trip: f"{trip.venue}:{trip.symbol}"),
            "by_exit": _grouped(self.round_trips, lambda trip: trip.exit_purpose),
        }

    @property
    def period(self) -> JsonObject:
        """First and last time of the run's clock, and the days with data between them."""
        return {
            "from": None if self.begins is None else format_timestamp(self.begins),
            "to": None if self.ends is None else format_timestamp(self.ends),
            "days": self.days,
            "exposure_limit_pct": self.exposure_limit,
        }


def _layer(layer: LayerRefusals) -> JsonObject:
    return {
        "decisive": layer.decisive,
        "failing": layer.failing,
        "codes": dict(sorted(layer.codes.items())),
        "hypothetical": {
            "ended": layer.ended,
            "won": layer.won,
            "mean_net_bps": layer.mean_bps,
            "sum_net": shown(layer.sum),
        },
    }


def _grouped(trips: Sequence[RoundTrip], key: Any) -> JsonObject:
    groups: dict[str, list[RoundTrip]] = {}
    for trip in trips:
        groups.setdefault(key(trip), []).append(trip)
    return {
        name: {
            "round_trips": len(group),
            "wins": sum(trip.net > 0 for trip in group),
            "net": shown(sum((trip.net for trip in group), ZERO)),
            "fees": shown(sum((trip.fees for trip in group), ZERO)),
        }
        for name, group in sorted(groups.items())
    }


def compute(books: Books, counts: Mapping[str, int]) -> Statistics:
    """Return the statistics of a run; the books stay as they are."""
    curve = books.curve.ended(books.portfolio)
    split = _split(books)
    material = Material(
        curve=curve,
        trips=books.trips.closed,
        fills=len(books.fills),
        flow=books.flow,
        split=split,
        in_market_us=books.in_market_us,
        decided=books.refusals.decided,
        refused=len(books.refusals.entries),
    )
    values, not_shown = figures(material)
    return Statistics(
        run_id=books.run_id,
        code_version=books.code_version,
        settings_hashes=dict(sorted(books.settings_hashes.items())),
        mode=books.mode,
        begins=curve.times[0] if curve.times else None,
        ends=curve.now,
        days=material.days,
        exposure_limit=books.exposure_limit,
        events=dict(sorted(counts.items())),
        values=values,
        not_shown=not_shown,
        pnl_split={name: shown(part) for name, part in split.items()},
        portfolio=_portfolio(books),
        refusals=books.refusals.by_layer(),
        refused_entries=tuple(books.refusals.entries),
        exits_not_sent=dict(sorted(books.refusals.exits.items())),
        orders=dict(sorted(books.flow.ended.items())),
        round_trips=tuple(books.trips.closed),
        fills=tuple(books.fills),
        curve=curve,
    )


def _split(books: Books) -> dict[str, Decimal]:
    """Return the parts of the net PnL; they add up to it to the last digit."""
    portfolio = books.portfolio
    if portfolio is None:
        return dict.fromkeys(("price", "slippage", "fees", "funding"), ZERO)
    held = sum(
        (
            position.quantity * portfolio.marks[key].price
            for key, position in portfolio.positions.items()
            if position.quantity
        ),
        ZERO,
    )
    return {
        "price": books.price_flow + held,
        "slippage": -books.slippage,
        "fees": -portfolio.fees,
        "funding": books.funding,
    }


def _portfolio(books: Books) -> JsonObject:
    portfolio = books.portfolio
    if portfolio is None:
        return {}
    return {
        "initial_cash": portfolio.initial_cash,
        "equity": None if portfolio.equity is None else shown(portfolio.equity),
        "cash": shown(portfolio.cash),
        "realized_pnl": shown(portfolio.realized_pnl),
        "unrealized_pnl": None if portfolio.unrealized_pnl is None else shown(portfolio.unrealized_pnl),
        "fees": shown(portfolio.fees),
        "positions": [
            {
                "venue": position.venue,
                "symbol": position.symbol,
                "quantity": position.quantity,
                "entry_price": position.entry_price,
                "mark": portfolio.marks[key].price if key in portfolio.marks else None,
                "opened_at": None if position.opened_at is None else format_timestamp(position.opened_at),
            }
            for key, position in sorted(portfolio.positions.items())
            if position.quantity
        ],
    }
