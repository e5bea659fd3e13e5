"""The statistics against independent libraries: empyrical, pandas and SciPy, on the same equity curve.

The libraries are imported by the tests that use them: every test process collects this file, one runs it.
"""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claire.statistics import Statistics, StatisticsCollector, ratios, write_equity_csv
from services.common.timestamps import HOUR_US, parse_timestamp
from tests.unit.writer.journal_story import Story

if TYPE_CHECKING:
    import pandas as pd

pytestmark = pytest.mark.unit

DAYS = 45
YEAR = 365


def months() -> Statistics:
    """45 days, each with a random round trip of bitcoin on the hours between 00:00 and 24:00."""
    random = Random(20210519)
    story = Story(now=parse_timestamp("2021-04-01T00:00:00Z"))
    story.begin()
    price = Decimal(58_000)
    for _ in range(DAYS):
        begins, held = story.now, False
        for hour in range(1, 24):
            story.now = begins + hour * HOUR_US
            price += Decimal(random.randint(-60_000, 61_500)) / 100
            story.quote(price)
            if hour in {4, 17}:
                order = story.order(Decimal("0.4"), price, "SELL" if held else "BUY")
                story.fill(order, Decimal("0.4"), price + (Decimal(-3) if held else Decimal(3)))
                held = not held
        story.now = begins + 23 * HOUR_US
        story.tick(3_600)
    collector = StatisticsCollector()
    for entry in story.entries:
        collector.observe(entry)
    return collector.result()


@pytest.fixture(scope="module")
def run() -> Statistics:
    """The run, played once."""
    return months()


@pytest.fixture(scope="module")
def minutes(run: Statistics, tmp_path_factory: pytest.TempPathFactory) -> pd.Series:
    """Its equity as `equity.csv` gives it."""
    import pandas as pd

    path = Path(tmp_path_factory.mktemp("run")) / "equity.csv"
    write_equity_csv(run, path)
    table = pd.read_csv(path, parse_dates=["timestamp"])
    return table.set_index("timestamp")["equity"]


@pytest.fixture(scope="module")
def daily(minutes: pd.Series) -> pd.Series:
    """Its daily returns by pandas: the last equity of each UTC day, midnight belonging to the day before."""
    import pandas as pd

    closes = minutes.iloc[1:].copy()
    closes.index = closes.index - pd.Timedelta("1us")
    closes = closes.resample("D").last()
    return pd.concat([minutes.iloc[:1], closes]).pct_change().dropna()


def test_the_curve_is_the_one_that_was_meant(run: Statistics, daily: pd.Series) -> None:
    """45 days with 45 round trips, so that nothing is held back."""
    assert len(daily) == DAYS
    assert (run.days, run.values["round_trips"]) == (DAYS, DAYS)
    assert not {"sharpe", "win_rate_pct"} & set(run.not_shown)


def test_ratios_of_daily_returns_are_empyricals(run: Statistics, daily: pd.Series) -> None:
    """Sharpe, Sortino, volatility, growth, value at risk and its tail mean agree to nine digits."""
    import empyrical

    expected = {
        "sharpe": empyrical.sharpe_ratio(daily, annualization=YEAR),
        "sortino": empyrical.sortino_ratio(daily, annualization=YEAR),
        "volatility_pct": empyrical.annual_volatility(daily, annualization=YEAR),
        "cagr_pct": empyrical.cagr(daily, annualization=YEAR),
        "value_at_risk_pct": empyrical.value_at_risk(daily, cutoff=0.05),
        "conditional_value_at_risk_pct": empyrical.conditional_value_at_risk(daily, cutoff=0.05),
        "return_pct": empyrical.cum_returns_final(daily),
    }
    found = {name: float(run.values[name] or 0) for name in expected}

    assert found == pytest.approx(expected, rel=1e-9)


def test_drawdowns_of_the_minutes_are_empyricals(run: Statistics, minutes: pd.Series, daily: pd.Series) -> None:
    """Maximum drawdown on one-minute equity, its length by pandas, Calmar from both, and the ulcer index by NumPy."""
    import empyrical
    import numpy as np
    import pandas as pd

    deepest = -empyrical.max_drawdown(minutes.pct_change().dropna())
    under = minutes / minutes.cummax() - 1
    trough = under.idxmin()
    peak = minutes[:trough].idxmax()
    after = minutes[trough:]
    back = after[after >= minutes[peak]]
    until = back.index[0] if len(back) else minutes.index[-1]

    assert float(run.values["max_drawdown_pct"] or 0) == pytest.approx(deepest, rel=1e-9)
    assert run.values["max_drawdown_minutes"] == (until - peak) // pd.Timedelta("1min")
    growth = empyrical.cagr(daily, annualization=YEAR)
    assert float(run.values["calmar"] or 0) == pytest.approx(growth / deepest, rel=1e-9)
    assert float(run.values["ulcer_index_pct"] or 0) == pytest.approx(np.sqrt(np.mean(under**2)), rel=1e-9)


def test_the_probabilistic_sharpe_ratio_is_scipys(run: Statistics, daily: pd.Series) -> None:
    """PSR(0) from SciPy's moments: the Sharpe ratio over its standard error, through the normal distribution."""
    import empyrical
    from scipy import stats

    ratio = empyrical.sharpe_ratio(daily, annualization=1)
    skew, kurtosis = stats.skew(daily), stats.kurtosis(daily, fisher=False)
    error = math.sqrt((1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2) / (len(daily) - 1))

    found = float(run.values["probabilistic_sharpe_pct"] or 0)

    assert found == pytest.approx(stats.norm.cdf(ratio / error), rel=1e-9)


def test_figures_of_round_trips_are_pandas(run: Statistics) -> None:
    """Win rate, profit factor, expectancy, payoff and streaks from the nets alone, by pandas."""
    import pandas as pd

    nets = pd.Series([float(trip.net) for trip in run.round_trips])
    won, lost = nets[nets > 0], nets[nets <= 0]
    runs = (nets > 0).ne((nets > 0).shift()).cumsum()
    longest = nets.groupby(runs).size()
    wins = nets.groupby(runs).first() > 0
    expected = {
        "win_rate_pct": len(won) / len(nets),
        "profit_factor": won.sum() / -lost.sum(),
        "expectancy": nets.mean(),
        "payoff": won.mean() / -lost.mean(),
        "longest_winning_streak": longest[wins].max(),
        "longest_losing_streak": longest[~wins].max(),
    }

    assert {name: float(run.values[name] or 0) for name in expected} == pytest.approx(expected, rel=1e-9)


RETURNS = st.lists(st.floats(-0.3, 0.3, allow_subnormal=False).map(lambda value: round(value, 6)), min_size=3)


@given(RETURNS)
def test_formulas_agree_on_any_returns(values: list[float]) -> None:
    """Whatever the returns are, Sharpe, Sortino, deviation, quantile and drawdown are empyrical's and NumPy's."""
    import empyrical
    import numpy as np
    import pandas as pd

    series = pd.Series(values)
    levels = [100.0, *(100.0 * np.cumprod(1 + series))]

    assert ratios.standard_deviation(values) == pytest.approx(float(np.std(values, ddof=1)), rel=1e-9, abs=1e-12)
    assert ratios.quantile(values, 0.05) == pytest.approx(float(np.percentile(values, 5)), rel=1e-9, abs=1e-12)
    assert ratios.max_drawdown(levels).depth == pytest.approx(-empyrical.max_drawdown(series), rel=1e-9, abs=1e-12)
    if ratios.standard_deviation(values) > 1e-9:
        expected = empyrical.sharpe_ratio(series, annualization=YEAR)
        assert ratios.sharpe(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    if min(values) < 0:
        expected = empyrical.sortino_ratio(series, annualization=YEAR)
        assert ratios.sortino(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)
