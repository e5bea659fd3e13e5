"""The report: one self-contained page, a pure function of its data."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claire.report import render, report_data
from claire.report.axes import number_ticks, time_ticks
from claire.report.charts import time_chart
from claire.report.data import distribution
from claire.report.downsample import thin
from claire.statistics import DEFINITIONS, StatisticsCollector
from claire.up import to_json
from services.common.codec import decode
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.unit

D = Decimal


def report_of(story: Story, **more: Any) -> dict[str, Any]:
    """Return the report's data of a story."""
    collector = StatisticsCollector()
    for entry in story.entries:
        collector.observe(entry)
    return report_data(collector.result(), **more)


def test_equal_runs_give_equal_pages() -> None:
    """The same journal gives the same bytes, and another one does not."""
    assert render(report_of(tell(4, 400))) == render(report_of(tell(4, 400)))
    assert render(report_of(tell(4, 400))) != render(report_of(tell(5, 400)))


def test_a_page_from_json_is_the_page_of_the_run() -> None:
    """Written to `report.json` and read back, the data draw the same page, byte for byte."""
    report = report_of(tell(4, 400), title="a run", chain_tip="ab" * 32)

    again = decode(to_json(report))

    assert render(again) == render(report)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No address, no source, no import: everything stands in the file, and the policy forbids the rest."""
    page = render(report_of(tell(4, 400)))

    assert not re.search(r"https?:|//[a-z]|\bsrc=|\bhref=|@import|url\(", page)
    assert "default-src 'none'" in page


def test_everything_that_was_asked_for_is_on_the_page() -> None:
    """Equity, drawdown, exposure, prices with marks, distribution, months, refusals, statistics, manifest."""
    page = render(report_of(tell(4, 800), title="A day", chain_tip="ab" * 32))

    for heading in (
        "Equity, USDT",
        "Drawdown",
        "Open risk",
        "BTCUSDT, spot",
        "ETHUSDT, spot",
        "Net PnL of round trips",
    ):
        assert heading in page
    for word in ("month (UTC)", "data_quality", "Hypothetical", "run-1", "ab" * 32, "needs 30 days (has 2)"):
        assert word in page
    assert page.count('class="mark entry"') > 0
    assert page.count('class="mark exit"') > 0
    assert page.count('class="mark refused"') > 0
    for definition in DEFINITIONS:
        assert definition.label in page


def test_text_of_a_run_is_never_markup() -> None:
    """A title and a manifest from outside are escaped."""
    page = render(report_of(tell(4, 60), title="<script>x</script>", manifest={"feed": "<b>"}))

    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert "&lt;b&gt;" in page


def test_a_run_without_anything_has_a_page() -> None:
    """Before the first event and with quotes alone the page says that there is nothing."""
    assert "nothing to show" in render(report_of(Story()))
    quiet = Story()
    quiet.begin()
    quiet.tick()
    quiet.quote(D(40_000))
    assert "No round trip has ended" in render(report_of(quiet))


@given(st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=3_000), st.integers(1, 50))
def test_thinning_keeps_extremes_and_order(values: list[int], buckets: int) -> None:
    """First, last, lowest and highest survive, the order stays, and there are at most four values a stretch."""
    kept = thin(range(len(values)), values, buckets)

    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] == len(values) - 1
    shown = [values[place] for place in kept]
    assert (min(shown), max(shown)) == (min(values), max(values))
    assert len(kept) <= max(4 * buckets, 1)


@given(st.lists(st.decimals(-10_000, 10_000, places=4), min_size=1, max_size=200))
def test_every_round_trip_is_in_the_distribution(nets: list[Decimal]) -> None:
    """Counts add up, zero is an edge, and there are at most 22 bins."""
    found = distribution(nets)

    assert sum(found["counts"]) == len(nets)
    assert found["first"] % found["width"] == 0
    below = int(-found["first"] / found["width"])
    assert sum(found["counts"][:below]) == sum(net < 0 for net in nets)
    assert len(found["counts"]) <= 22


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_of_numbers_are_few_and_within(low: float, span: float) -> None:
    """At most seven, growing, between the bounds."""
    high = low + span
    ticks = number_ticks(low, high) if high > low else []

    assert len(ticks) <= 7
    assert ticks == sorted(ticks)
    assert all(low - span * 1e-6 <= tick <= high + span * 1e-6 for tick in ticks)


@pytest.mark.parametrize("span", [1, 59, 600, 3_600, 86_400, 2 * 86_400, 20 * 86_400, 90 * 86_400, 3 * 365 * 86_400])
def test_ticks_of_time_are_few_and_within(span: int) -> None:
    """From a second to three years there are at most six labels, all within, each different from its neighbour."""
    first = 1_621_382_437
    ticks = time_ticks(first, first + span)

    assert len(ticks) <= 6
    assert all(first <= tick.at <= first + span for tick in ticks)
    assert all(one.label != other.label for one, other in pairwise(ticks))


def test_a_year_of_minutes_stays_small() -> None:
    """525600 samples become at most 1600 points."""
    values = [(minute * 7919) % 1_000 for minute in range(525_600)]

    assert len(thin(range(0, 525_600 * 60, 60), values)) <= 1_600


@pytest.mark.parametrize(("name", "flat"), [("drawdown", -0.01), ("exposure", 0.01)])
def test_the_axis_of_a_run_that_never_traded_stays_near_nothing(name: str, flat: float) -> None:
    """No drawdown is drawn downwards from 0 and no open risk upwards, both within one per cent."""
    chart = time_chart(
        name,
        {"t": [0, 60], "v": [0.0, 0.0]},
        caption=name,
        label=lambda value: f"<{value:.3f}>",
        kind="area",
        flat=flat,
    )
    labels = [float(value) for value in re.findall(r"&lt;(-?[0-9.]+)&gt;</span>", chart)]
    assert len(labels) > 1
    assert min(labels) == min(flat, 0.0)
    assert max(labels) == max(flat, 0.0)


@pytest.mark.parametrize(("days", "told"), [("2", "2.0 days"), ("0.25", "6.0 hours"), ("0.005556", "8 min")])
def test_a_short_run_is_told_in_hours_or_minutes(days: str, told: str) -> None:
    """Eight minutes are not 0.0 days."""
    report = report_of(tell(3, 60))
    report["statistics"]["days"] = Decimal(days)
    assert f"UTC · {told} · paper trading" in render(report)
