"""What each transform does to the rows of a recording."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from claire.scenarios.stress import TRANSFORMS, Crash, Duplicates, Funding, Gap, Late, Moment, Outage, Spread, Transform
from services.cdb_ws.observation import Observation, RejectedRow
from services.common.timestamps import MINUTE_US, SECOND_US
from tests.unit.scenarios.scenario_desk import BEGIN_US, minute, row, rows

pytestmark = pytest.mark.unit

AT = Moment(BEGIN_US + 10 * SECOND_US)
HALF_A_MINUTE = Decimal("0.5")


def played(stress: Transform, source: list[Any]) -> list[Any]:
    """Return what a stress makes of rows."""
    return list(stress(iter(source)))


def test_a_crash_falls_in_a_line_and_recovers_a_share() -> None:
    """A fall of 10 % over 10 minutes is 5 % after 5; of it half comes back within the recovery, and the rest stays."""
    crash = Crash(at=AT, drop_pct="0.1", minutes=10, recovery_minutes=20, recovery_pct="0.5")
    times = [AT.us, AT.us + 5 * MINUTE_US, AT.us + 10 * MINUTE_US, AT.us + 20 * MINUTE_US, AT.us + 300 * MINUTE_US]
    assert [crash.factor(at) for at in times] == [1, Decimal("0.95"), Decimal("0.9"), Decimal("0.925"), Decimal("0.95")]


def test_a_crash_takes_quotes_extremes_and_marks_with_it_and_leaves_volumes() -> None:
    """Every price of a row is multiplied alike, what was before is as it was, and constructed rows say so."""
    crash = Crash(at=AT, drop_pct="0.2", minutes=1, recovery_pct=0)
    before, after = played(crash, [row(9), row(100, mark_price=Decimal(50_001))])
    assert before == row(9)
    assert (after.price, after.high, after.low, after.bid, after.ask, after.mark_price) == (
        40_000, 40_000, 40_000, 39_998, 40_002, Decimal("40000.8"),
    )  # fmt: skip
    assert (after.volume, after.bid_size, after.synthetic) == (Decimal("1.5"), 3, True)


def test_a_crash_keeps_a_spread_of_one_tick_open() -> None:
    """A book of one tick does not close or cross when its level falls by half."""
    narrow = row(100, "0.0002", bid=Decimal("0.0001"), ask=Decimal("0.0002"))
    (fallen,) = played(Crash(at=AT, drop_pct="0.5", minutes=1, recovery_pct=0), [narrow])
    assert fallen.bid == Decimal("0.00005") < fallen.ask == Decimal("0.0001")


def test_spreads_are_multiplied_around_their_mid() -> None:
    """Twice the spread has the same mid; price and sizes stay."""
    (wide,) = played(Spread(factor=2), [row(0)])
    assert (wide.bid, wide.ask, wide.price, wide.bid_size) == (49_995, 50_005, 50_000, 3)


def test_a_spread_in_basis_points_never_makes_a_book_narrower() -> None:
    """100 bp of 50000 is 500 wide; a book that is wider already stays."""
    stress = Spread(to_bps=100)
    assert [(o.bid, o.ask) for o in played(stress, [row(0), row(1, bid=Decimal(40_000), ask=Decimal(60_000))])] == [
        (49_750, 50_250),
        (40_000, 60_000),
    ]


def test_rows_without_a_book_have_nothing_to_widen() -> None:
    """A trade without quotes and a crossed book pass as they are."""
    source = [row(0, bid=None, ask=None), row(1, bid=Decimal(2), ask=Decimal(1))]
    assert played(Spread(factor=3), source) == source


@pytest.mark.parametrize("given_", [{}, {"factor": 2, "to_bps": 3}])
def test_a_spread_is_given_in_one_way(given_: dict[str, Any]) -> None:
    """Neither and both are mistakes."""
    with pytest.raises(ValidationError, match="either factor"):
        Spread(**given_)


def test_an_outage_is_silence_and_then_a_gap() -> None:
    """All symbols are silent for so long; the first row of each afterwards says that something is missing."""
    source = sorted([*rows(60), *rows(60, "ETHUSDT")], key=lambda o: o.timestamp_us)
    left = played(Outage(at=AT, minutes=HALF_A_MINUTE), source)
    seconds = [(o.timestamp_us - BEGIN_US) // SECOND_US for o in left if o.symbol == "BTCUSDT"]
    assert seconds == [*range(10), *range(40, 60)]
    assert [o.timestamp_us for o in left if o.gap] == [BEGIN_US + 40 * SECOND_US] * 2


def test_an_unnoticed_outage_marks_nothing() -> None:
    """A feed that has not noticed its silence says no gap."""
    assert not any(o.gap for o in played(Outage(at=AT, minutes=HALF_A_MINUTE, marked=False), rows(60)))


def test_a_gap_loses_its_share_and_marks_what_follows() -> None:
    """Half of the messages of the window are lost, and exactly those that follow a loss are marked."""
    left = played(Gap(at=AT, minutes=1, share="0.5", seed=7), rows(100))
    seconds = [(o.timestamp_us - BEGIN_US) // SECOND_US for o in left]
    assert set(range(10)) | set(range(70, 100)) <= set(seconds)
    assert 15 < len(set(range(10, 70)) - set(seconds)) < 45
    assert [s for s, o in zip(seconds, left, strict=True) if o.gap] == [
        s for place, s in enumerate(seconds) if place and s - seconds[place - 1] > 1
    ]


def test_duplicates_come_behind_what_they_repeat() -> None:
    """Each row of the window comes three times, equal in everything."""
    doubled = played(Duplicates(at=AT, minutes=HALF_A_MINUTE, copies=2), rows(60))
    counts = Counter(o.timestamp_us for o in doubled)
    assert [counts[BEGIN_US + second * SECOND_US] for second in (9, 10, 39, 40)] == [1, 3, 3, 1]
    assert doubled == sorted(doubled, key=lambda o: o.timestamp_us)


def test_late_messages_come_after_newer_ones() -> None:
    """With a share of them late, what is said is no longer in the order in which it happened; time still is."""
    late = played(Late(delay_ms=2_500, share="0.3", seed=1), rows(60))
    assert [o.timestamp_us for o in late] == sorted(o.timestamp_us for o in late)
    prices = [o.price for o in late]
    assert prices != sorted(prices)
    assert sorted(prices) == [o.price for o in rows(60)]


def test_all_late_by_the_same_is_the_same_market_later() -> None:
    """A constant delay moves every row by it and changes nothing else."""
    late = played(Late(delay_ms=90_000), rows(20))
    assert late == [replace(o, timestamp_us=o.timestamp_us + 90 * SECOND_US) for o in rows(20)]


def test_delays_lie_between_their_bounds() -> None:
    """No delay is below the least or above the most."""
    delays = {
        (o.timestamp_us - BEGIN_US) // 1_000 - int(o.price - 50_000) * 1_000
        for o in played(Late(delay_ms=900, least_delay_ms=100, seed=3), rows(200))
    }
    assert min(delays) >= 100
    assert max(delays) <= 900
    assert len(delays) > 50
    with pytest.raises(ValidationError, match="exchange the two"):
        Late(delay_ms=1, least_delay_ms=2)


def test_a_funding_spike_is_taken_back() -> None:
    """In the window the rate is another; afterwards it is the recorded one, or the usual where there is none."""
    rate = Decimal("0.0002")
    recorded = [row(0, funding_rate=rate), row(20), row(50), row(51)]
    spiked = played(Funding(at=AT, minutes=HALF_A_MINUTE, rate="0.01"), recorded)
    assert [o.funding_rate for o in spiked] == [rate, Decimal("0.01"), rate, None]
    unknown = played(Funding(at=AT, minutes=HALF_A_MINUTE, rate="0.01"), [row(20), row(50)])
    assert [o.funding_rate for o in unknown] == [Decimal("0.01"), Decimal("0.0001")]


EVERYTHING: dict[str, dict[str, Any]] = {
    "crash": {"drop_pct": "0.1"},
    "gap": {"share": "0.5"},
    "spread": {"factor": 3},
    "outage": {},
    "duplicates": {"share": "0.5"},
    "late": {"delay_ms": 1_500, "least_delay_ms": 10},
    "funding": {"rate": "0.01"},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_transform_leaves_other_symbols_and_unusable_rows_alone(name: str) -> None:
    """Restricted to a symbol, rows of another and rows that cannot be read pass as they are, in their place."""
    source: list[Any] = [row(0, symbol="ETHUSDT"), RejectedRow(BEGIN_US, "bad", b"x"), row(3, symbol="ETHUSDT")]
    assert played(TRANSFORMS[name](symbols="BTCUSDT", at=AT, seed=1, **EVERYTHING[name]), source) == source


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_transform_does_the_same_each_time_whatever_streams_the_symbols_come_in(name: str) -> None:
    """Two symbols in one stream and each in its own give equal rows; another seed gives others where it draws."""
    stress = TRANSFORMS[name](at=AT, minutes=2, seed=5, **EVERYTHING[name])
    both = sorted([*rows(120), *rows(120, "ETHUSDT")], key=lambda o: o.timestamp_us)
    together = played(stress, both)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert [o for o in together if o.symbol == symbol] == played(stress, rows(120, symbol))
    other = stress.model_copy(update={"seed": 6})
    assert (played(other, both) == together) == (not stress.draws)
    assert stress.identity != other.identity


@given(
    st.lists(st.sampled_from(sorted(EVERYTHING)), min_size=1, max_size=4),
    st.integers(0, 100),
    st.lists(st.integers(0, 3_000), max_size=60),
)
def test_any_transforms_one_after_the_other_keep_time_in_order(names: list[str], seed: int, steps: list[int]) -> None:
    """Whatever is composed, feed time never goes back, and low <= price <= high and bid <= ask hold."""
    at_ms, source = 0, []
    for step in steps:
        at_ms += step
        source.append(row(at_ms / 1_000, str(50_000 + step)))
    for name in names:
        source = played(TRANSFORMS[name](at=AT, minutes=1, seed=seed, **EVERYTHING[name]), source)
    times = [o.timestamp_us for o in source]
    assert times == sorted(times)
    assert all(isinstance(o, Observation) and o.low <= o.price <= o.high and o.bid <= o.ask for o in source)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02T12:10", Moment(minute(10))),
        ("2024-01-02", Moment(minute(-720))),
        ("+90", Moment(90 * MINUTE_US, relative=True)),
        ("+1.5min", Moment(90 * SECOND_US, relative=True)),
    ],
)
def test_times_are_absolute_or_count_from_the_beginning_of_play(text: str, moment: Moment) -> None:
    """Both ways of writing are understood, and what is relative is resolved."""
    stress = Outage(at=text)
    assert stress.at == moment
    resolved = stress.beginning(BEGIN_US)
    assert resolved.at == (Moment(BEGIN_US + moment.us) if moment.relative else moment)
    assert Outage(at=str(moment)) == stress


@pytest.mark.parametrize("text", ["+", "+x", "noon", "+nan", "-5", "+1e99"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """The message says both ways of writing."""
    with pytest.raises(ValidationError, match=r"minutes after the beginning of play as \+90"):
        Outage(at=text)


def test_every_transform_has_a_case() -> None:
    """A new transform is tried here, too."""
    assert sorted(EVERYTHING) == sorted(TRANSFORMS)
