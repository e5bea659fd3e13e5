"""Every number of the definitions table, from the books of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Final

from claire.statistics import ratios
from claire.statistics.curve import MinuteCurve
from claire.statistics.definitions import DAYS_PER_YEAR, DEFINITIONS, Definition
from claire.statistics.orders import OrderFlow
from claire.statistics.round_trips import RoundTrip
from services.common.decimals import ZERO, divide, quantise
from services.common.timestamps import DAY_US, MINUTE_US

__all__ = ["Material", "Value", "figures", "shown"]

Value = Decimal | int | None

_PLACES: Final = 12
_WIRE_PLACES: Final = 18
_TAIL: Final = 0.05
_BPS: Final = Decimal(10_000)


def shown(money: Decimal) -> Decimal:
    """Return money as JSON takes it: at most 18 decimals, which is more than exact sums of fills have."""
    exponent = money.as_tuple().exponent
    return quantise(money, _WIRE_PLACES) if isinstance(exponent, int) and exponent < -_WIRE_PLACES else money


@dataclass(frozen=True)
class Because:
    """Why there is no number."""

    reason: str


@dataclass(frozen=True)
class Material:
    """What the figures are computed from.

    Attributes:
        split: parts of the net PnL, which they add up to.
        fills: executions booked.
        in_market_us: time with any position.
        decided, refused: entries that the layers judged, and those that they refused.
    """

    curve: MinuteCurve
    trips: Sequence[RoundTrip]
    fills: int
    flow: OrderFlow
    split: Mapping[str, Decimal]
    in_market_us: int
    decided: int
    refused: int

    @cached_property
    def levels(self) -> list[float]:
        """Equity minute by minute."""
        return [float(equity) for equity in self.curve.equity]

    @cached_property
    def solvent(self) -> bool:
        """Whether there is an equity, and it was always above zero."""
        return bool(self.levels) and min(self.levels) > 0

    @cached_property
    def days(self) -> Decimal:
        """Days that the clock ran, pauses left out."""
        return divide(Decimal(self.curve.covered_us), Decimal(DAY_US), 6)

    @cached_property
    def days_with_data(self) -> int:
        """UTC days with data, partial ones too."""
        return len(self._closes)

    @cached_property
    def _closes(self) -> dict[int, float]:
        # what is sampled at midnight belongs to the day before
        return {(time - 1) // DAY_US: level for time, level in zip(self.curve.times[1:], self.levels[1:], strict=True)}

    @cached_property
    def daily(self) -> list[float]:
        """Returns of the UTC days with data."""
        return ratios.returns([*self.levels[:1], *self._closes.values()])

    @cached_property
    def growth(self) -> float:
        """Compound return a year."""
        return ratios.annual_growth(self.levels[0], self.levels[-1], float(self.days))

    @cached_property
    def drawdown(self) -> ratios.Drawdown:
        """The deepest."""
        return ratios.max_drawdown(self.levels)

    @cached_property
    def nets(self) -> list[Decimal]:
        """Net of each round trip."""
        return [trip.net for trip in self.trips]

    @cached_property
    def won(self) -> list[Decimal]:
        """Nets above zero."""
        return [net for net in self.nets if net > 0]

    @cached_property
    def lost(self) -> list[Decimal]:
        """The others."""
        return [net for net in self.nets if net <= 0]

    @cached_property
    def held(self) -> list[float]:
        """Holding times in minutes."""
        return [float(trip.minutes) for trip in self.trips]

    @cached_property
    def use(self) -> list[float]:
        """Exposure over equity, minute by minute."""
        return [
            float(exposure) / level if exposure else 0.0
            for exposure, level in zip(self.curve.exposure, self.levels, strict=True)
        ]

    @cached_property
    def holding(self) -> list[float]:
        """Value of one unit put in equal parts into all instruments at their first marks, minute by minute."""
        length = len(self.levels)
        grown = [0.0] * length
        for series in self.curve.prices.values():
            first, begins = series[0], length - len(series)
            for place in range(length):
                grown[place] += 1.0 if place < begins else series[place - begins] / first
        count = len(self.curve.prices)
        return [value / count for value in grown]


Found = float | Decimal | int | Because
_NO_EQUITY: Final = Because("there is no equity yet")
_BROKE: Final = Because("the equity has fallen to zero or below")
_NO_TRIP: Final = Because("no round trip has ended yet")
_NO_FILL: Final = Because("nothing was filled yet")


def figures(material: Material) -> tuple[dict[str, Value], dict[str, str]]:
    """Return the value of every definition, and for those that are None the reason."""
    values: dict[str, Value] = {}
    reasons: dict[str, str] = {}
    for definition in DEFINITIONS:
        found = _lacking(definition, material) or _FIGURES[definition.name](material)
        number = found if isinstance(found, Because) else _number(found)
        if isinstance(number, Because):
            values[definition.name], reasons[definition.name] = None, number.reason
        else:
            values[definition.name] = number
    return values, reasons


def _lacking(definition: Definition, material: Material) -> Because | None:
    needs = [
        f"{least} {unit} (has {there})"
        for least, there, unit in (
            (definition.days, material.days_with_data, "days"),
            (definition.trades, len(material.trips), "round trips"),
        )
        if least
    ]
    enough = material.days_with_data >= definition.days and len(material.trips) >= definition.trades
    return None if enough else Because(f"needs {' and '.join(needs)}")


def _number(found: float | Decimal | int) -> Decimal | int | Because:
    """Return a ratio with ten digits, so that a platform's last bit does not show; money stays as it is."""
    if isinstance(found, int):
        return found
    if isinstance(found, Decimal):
        return shown(found)
    return quantise(Decimal(f"{found:.10g}"), _PLACES) if abs(found) < 10**12 else Because("beyond every number")


def _on_equity(compute: Callable[[Material], Found | None], undefined: str = "") -> Callable[[Material], Found]:
    def figure(material: Material) -> Found:
        if not material.levels:
            return _NO_EQUITY
        if not material.solvent:
            return _BROKE
        found = compute(material)
        return Because(undefined) if found is None else found

    return figure


def _on_trips(compute: Callable[[Material], Found]) -> Callable[[Material], Found]:
    return lambda material: compute(material) if material.trips else _NO_TRIP


def _sum(values: Sequence[Decimal]) -> Decimal:
    return sum(values, ZERO)


def _mean(values: Sequence[Decimal], absent: str) -> Decimal | Because:
    return divide(_sum(values), Decimal(len(values))) if values else Because(absent)


def _share(part: Decimal | int, whole: Decimal | int, absent: str) -> float | Because:
    return float(part) / float(whole) if whole else Because(absent)


def _drawdown_minutes(material: Material) -> int:
    drawdown, times = material.drawdown, material.curve.times
    until = times[-1] if drawdown.recovered is None else times[drawdown.recovered]
    return int((until - times[drawdown.peak]) // MINUTE_US) if drawdown.depth else 0


def _payoff(material: Material) -> Found:
    won, lost = _mean(material.won, "no round trip has won"), _mean(material.lost, "no round trip has lost")
    if isinstance(won, Because) or isinstance(lost, Because):
        return won if isinstance(won, Because) else lost
    return _share(won, -lost, "no round trip has lost anything")


def _latency(share: float) -> Callable[[Material], Found]:
    def figure(material: Material) -> Found:
        latencies = material.flow.latencies_ms
        return ratios.quantile(latencies, share) if latencies else Because("no signal was filled yet")

    return figure


def _benchmark(compute: Callable[[list[float]], float]) -> Callable[[Material], Found]:
    return lambda material: compute(material.holding) if material.curve.prices else Because("no price was seen yet")


_FLAT: Final = "the equity never changed from day to day"

_FIGURES: Final[Mapping[str, Callable[[Material], Found]]] = {
    "net_pnl": lambda m: _sum(list(m.split.values())),
    "gross_pnl": lambda m: m.split["price"] + m.split["slippage"],
    "fees": lambda m: -m.split["fees"],
    "funding": lambda m: m.split["funding"],
    "slippage": lambda m: -m.split["slippage"],
    "return_pct": _on_equity(lambda m: m.levels[-1] / m.levels[0] - 1),
    "cagr_pct": _on_equity(lambda m: m.growth),
    "volatility_pct": _on_equity(lambda m: ratios.standard_deviation(m.daily) * math.sqrt(DAYS_PER_YEAR)),
    "max_drawdown_pct": _on_equity(lambda m: m.drawdown.depth),
    "max_drawdown_minutes": _on_equity(_drawdown_minutes),
    "ulcer_index_pct": _on_equity(lambda m: ratios.ulcer_index(m.levels)),
    "value_at_risk_pct": _on_equity(lambda m: ratios.quantile(m.daily, _TAIL)),
    "conditional_value_at_risk_pct": _on_equity(lambda m: ratios.conditional_value_at_risk(m.daily, _TAIL)),
    "sharpe": _on_equity(lambda m: ratios.sharpe(m.daily), _FLAT),
    "sortino": _on_equity(lambda m: ratios.sortino(m.daily), "no day has lost anything"),
    "calmar": _on_equity(
        lambda m: m.growth / m.drawdown.depth if m.drawdown.depth else None, "the equity never fell from a peak"
    ),
    "probabilistic_sharpe_pct": _on_equity(lambda m: ratios.probabilistic_sharpe(m.daily), _FLAT),
    "round_trips": lambda m: len(m.trips),
    "wins": lambda m: len(m.won),
    "win_rate_pct": _on_trips(lambda m: len(m.won) / len(m.nets)),
    "profit_factor": _on_trips(lambda m: _share(_sum(m.won), -_sum(m.lost), "no round trip has lost anything")),
    "expectancy": _on_trips(lambda m: _mean(m.nets, "")),
    "payoff": _on_trips(_payoff),
    "average_win": _on_trips(lambda m: _mean(m.won, "no round trip has won")),
    "average_loss": _on_trips(lambda m: _mean(m.lost, "no round trip has lost")),
    "best_trade": _on_trips(lambda m: max(m.nets)),
    "worst_trade": _on_trips(lambda m: min(m.nets)),
    "longest_winning_streak": lambda m: ratios.longest_run([net > 0 for net in m.nets], wanted=True),
    "longest_losing_streak": lambda m: ratios.longest_run([net > 0 for net in m.nets], wanted=False),
    "mae_pct": _on_trips(lambda m: ratios.mean([float(trip.adverse / trip.notional) for trip in m.trips])),
    "mfe_pct": _on_trips(lambda m: ratios.mean([float(trip.favourable / trip.notional) for trip in m.trips])),
    "holding_minutes": _on_trips(lambda m: ratios.mean(m.held)),
    "holding_minutes_median": _on_trips(lambda m: ratios.quantile(m.held, 0.5)),
    "time_in_market_pct": lambda m: _share(m.in_market_us, m.curve.covered_us, "no time has passed yet"),
    "exposure_mean_pct": _on_equity(lambda m: ratios.mean(m.use)),
    "exposure_max_pct": _on_equity(lambda m: max(m.use)),
    "turnover": _on_equity(lambda m: float(m.flow.traded) / ratios.mean(m.levels)),
    "trades_per_day": lambda m: _share(len(m.trips), m.days, "no time has passed yet"),
    "orders": lambda m: len(m.flow.orders),
    "fills": lambda m: m.fills,
    "maker_share_pct": lambda m: _share(m.flow.as_maker, m.flow.traded, _NO_FILL.reason),
    "fill_ratio_pct": lambda m: _share(m.flow.filled_value, m.flow.ordered_value, "no order has ended yet"),
    "slippage_bps": lambda m: _share(-m.split["slippage"] * _BPS, m.flow.at_mid, _NO_FILL.reason),
    "signal_to_fill_ms": _latency(0.5),
    "signal_to_fill_p95_ms": _latency(0.95),
    "entries_decided": lambda m: m.decided,
    "entries_refused": lambda m: m.refused,
    "buy_and_hold_pct": _benchmark(lambda values: values[-1] / values[0] - 1),
    "buy_and_hold_drawdown_pct": _benchmark(lambda values: ratios.max_drawdown(values).depth),
    "cash_pct": lambda _: ZERO,
}
