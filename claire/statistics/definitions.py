"""What each statistic means, its formula, its unit, its source, and from how much data on it is shown.

The one table that the collector, the report, `claire stats` and the handbook (`backoffice/docs/statistik.md`) share.
Annualisation is on 365 days, for this market never closes. Returns are those of UTC days with data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["BY_NAME", "DAYS_NEEDED", "DAYS_PER_YEAR", "DEFINITIONS", "TRADES_NEEDED", "Definition"]

DAYS_PER_YEAR: Final = 365
DAYS_NEEDED: Final = 30
TRADES_NEEDED: Final = 30


@dataclass(frozen=True)
class Definition:
    """One statistic.

    Attributes:
        name: its key in JSON.
        label: what a person reads.
        unit: `usdt`, `pct` (a fraction, shown in per cent), `ratio`, `bps`, `count`, `minutes`, `ms` or `per_day`.
        meaning: one sentence in the terms of the field.
        formula: how it is computed, in the symbols of the handbook page.
        source: paper, book, or `definition` where nothing but the formula is needed.
        days, trades: fewest UTC days with data and fewest round trips from which it is shown.
    """

    name: str
    label: str
    unit: str
    meaning: str
    formula: str
    source: str = "definition"
    days: int = 0
    trades: int = 0

    @property
    def unit_text(self) -> str:
        """The unit as a person reads it; empty where the value says it."""
        return {"usdt": "USDT", "per_day": "a day", "bps": "bp"}.get(self.unit, "")


DEFINITIONS: Final[tuple[Definition, ...]] = (
    # result
    Definition("net_pnl", "Net PnL", "usdt", "Equity gained, all costs included", "E_end - E_0"),
    Definition("gross_pnl", "Gross PnL", "usdt", "Net PnL before fees and funding", "net + fees - funding"),
    Definition("fees", "Fees", "usdt", "Trading fees paid, base-coin fees at their fill's price", "Σ fee"),
    Definition("funding", "Funding", "usdt", "Funding received (+) or paid (-) on perpetuals", "Σ -q·mark·rate"),
    Definition(
        "slippage",
        "Slippage paid",
        "usdt",
        "Cost of filling away from the mid at decision, half the spread included",
        "Σ d·q·(p - mid_decision)",
        "Perold 1988 (implementation shortfall)",
    ),
    Definition("return_pct", "Return", "pct", "Net PnL over the initial equity", "E_end/E_0 - 1"),
    Definition("cagr_pct", "CAGR", "pct", "Compound return a year", "(E_end/E_0)^(365/days) - 1", days=DAYS_NEEDED),
    # risk
    Definition(
        "volatility_pct",
        "Volatility",
        "pct",
        "Standard deviation of daily returns a year",
        "sd(r)·√365, n - 1",
        days=DAYS_NEEDED,
    ),
    Definition(
        "max_drawdown_pct",
        "Maximum drawdown",
        "pct",
        "Deepest fall from a peak, on one-minute equity",
        "max_t(1 - E_t/max_{s≤t} E_s)",
        "Magdon-Ismail & Atiya 2004",
    ),
    Definition(
        "max_drawdown_minutes",
        "Its length",
        "minutes",
        "From that drawdown's peak until it was made good, or until the end",
        "t_recovered - t_peak",
    ),
    Definition(
        "ulcer_index_pct",
        "Ulcer index",
        "pct",
        "Root mean square of all drawdowns, on one-minute equity",
        "√mean(D_t²)",
        "Martin & McCann 1989",
    ),
    Definition(
        "value_at_risk_pct",
        "Value at risk (95 %)",
        "pct",
        "Daily return that one day in twenty undercuts, historical",
        "Q_0.05(r), linear between order statistics",
        "Jorion 2006",
        days=DAYS_NEEDED,
    ),
    Definition(
        "conditional_value_at_risk_pct",
        "Conditional value at risk",
        "pct",
        "Mean of the daily returns at or below the value at risk",
        "mean(r | r ≤ Q_0.05)",
        "Rockafellar & Uryasev 2000",
        days=DAYS_NEEDED,
    ),
    # ratios
    Definition(
        "sharpe",
        "Sharpe ratio",
        "ratio",
        "Daily mean over deviation, no riskless rate",
        "mean(r)/sd(r)·√365",
        "Sharpe 1994",
        days=DAYS_NEEDED,
        trades=TRADES_NEEDED,
    ),
    Definition(
        "sortino",
        "Sortino ratio",
        "ratio",
        "As Sharpe, but only falls count as risk",
        "mean(r)/√mean(min(r, 0)²)·√365",
        "Sortino & Price 1994",
        days=DAYS_NEEDED,
        trades=TRADES_NEEDED,
    ),
    Definition(
        "calmar",
        "Calmar ratio",
        "ratio",
        "CAGR over maximum drawdown",
        "CAGR/max drawdown",
        "Young 1991",
        days=DAYS_NEEDED,
        trades=TRADES_NEEDED,
    ),
    Definition(
        "probabilistic_sharpe_pct",
        "Probabilistic Sharpe",
        "pct",
        "Probability that the true Sharpe ratio is above zero, given skew, kurtosis and length",
        "Φ(S·√(n - 1)/√(1 - g3·S + (g4 - 1)/4·S²)), S daily",
        "Bailey & López de Prado 2012",
        days=DAYS_NEEDED,
        trades=TRADES_NEEDED,
    ),
    # round trips
    Definition("round_trips", "Round trips", "count", "Positions from flat to flat (or to dust)", "n"),
    Definition("wins", "Wins", "count", "Round trips with a net above zero", "#(net > 0)"),
    Definition(
        "win_rate_pct",
        "Win rate",
        "pct",
        "Share of round trips that won, net of fees and funding",
        "wins/n",
        trades=TRADES_NEEDED,
    ),
    Definition(
        "profit_factor", "Profit factor", "ratio", "Sum won over sum lost", "Σ net⁺/Σ net⁻", trades=TRADES_NEEDED
    ),
    Definition("expectancy", "Expectancy", "usdt", "Mean net of a round trip", "mean(net)", trades=TRADES_NEEDED),
    Definition("payoff", "Payoff", "ratio", "Mean win over mean loss", "mean(net⁺)/mean(net⁻)", trades=TRADES_NEEDED),
    Definition("average_win", "Average win", "usdt", "Mean net of the winners", "mean(net | net > 0)"),
    Definition("average_loss", "Average loss", "usdt", "Mean net of the others", "mean(net | net ≤ 0)"),
    Definition("best_trade", "Best round trip", "usdt", "Largest net", "max(net)"),
    Definition("worst_trade", "Worst round trip", "usdt", "Smallest net", "min(net)"),
    Definition("longest_winning_streak", "Longest winning streak", "count", "Wins in a row", "max run(net > 0)"),
    Definition("longest_losing_streak", "Longest losing streak", "count", "Others in a row", "max run(net ≤ 0)"),
    Definition(
        "mae_pct",
        "Adverse excursion (mean)",
        "pct",
        "Worst open result of a round trip before fees, over its entry notional",
        "mean(min_t PnL_t/N_entry)",
        "Sweeney 1997",
    ),
    Definition(
        "mfe_pct",
        "Favourable excursion (mean)",
        "pct",
        "Best open result of a round trip before fees, over its entry notional",
        "mean(max_t PnL_t/N_entry)",
        "Sweeney 1997",
    ),
    Definition(
        "holding_minutes", "Holding time (mean)", "minutes", "From first entry fill to flat", "mean(t_out - t_in)"
    ),
    Definition(
        "holding_minutes_median", "Holding time (median)", "minutes", "Half are shorter", "median(t_out - t_in)"
    ),
    # activity
    Definition("time_in_market_pct", "Time in market", "pct", "Share of time with any position", "T_open/T"),
    Definition("exposure_mean_pct", "Exposure (mean)", "pct", "Gross position value over equity", "mean(Σ|q|·mark/E)"),
    Definition("exposure_max_pct", "Exposure (largest)", "pct", "Gross position value over equity", "max(Σ|q|·mark/E)"),
    Definition("turnover", "Turnover", "ratio", "Traded notional over mean equity", "Σ q·p/mean(E)"),
    Definition("trades_per_day", "Round trips a day", "per_day", "Over the time with data", "n/days"),
    # execution
    Definition("orders", "Orders", "count", "Orders that risk released", "count"),
    Definition("fills", "Fills", "count", "Executions booked", "count"),
    Definition("maker_share_pct", "Maker share", "pct", "Notional filled as maker", "Σ_maker q·p/Σ q·p"),
    Definition(
        "fill_ratio_pct",
        "Fill ratio",
        "pct",
        "Filled over ordered value at the mid at decision, ended orders",
        "Σ q_filled·mid/Σ q·mid",
    ),
    Definition(
        "slippage_bps",
        "Slippage (mean)",
        "bps",
        "Basis points of the filled notional",
        "slippage/Σ q·mid_decision·10⁴",
    ),
    Definition(
        "signal_to_fill_ms",
        "Signal to fill (median)",
        "ms",
        "On the run's clock, to the first fill",
        "median(t_fill - t_signal)",
    ),
    Definition(
        "signal_to_fill_p95_ms",
        "Signal to fill (95 %)",
        "ms",
        "On the run's clock, to the first fill",
        "Q_0.95(t_fill - t_signal)",
    ),
    # decisions and benchmarks
    Definition("entries_decided", "Entries decided", "count", "Entry signals that the seven layers judged", "count"),
    Definition("entries_refused", "Entries refused", "count", "Of these, refused by a layer", "count"),
    Definition(
        "buy_and_hold_pct",
        "Buy and hold",
        "pct",
        "Initial equity in equal parts at the first marks, no costs",
        "mean_i(P_i,end/P_i,0) - 1",
    ),
    Definition(
        "buy_and_hold_drawdown_pct",
        "Its maximum drawdown",
        "pct",
        "As above, on one-minute marks",
        "max_t(1 - V_t/max_{s≤t} V_s)",
    ),
    Definition("cash_pct", "Cash", "pct", "Not trading at all, without interest", "0"),
)

BY_NAME: Final = {definition.name: definition for definition in DEFINITIONS}
