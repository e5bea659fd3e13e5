"""When people are told what: at once, counted, after the quiet hours, in a digest, again while it lasts."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from services.cdb_notifier.adapters.local_time import minutes_of
from services.cdb_notifier.message import Message, Notice
from services.cdb_notifier.planner import MOST_KEYS, MOST_KINDS, Planner, Rules
from services.cdb_notifier.webhook import read_webhook
from services.common import channels
from services.common.errors import SettingsInvalid, StateMismatch
from services.common.timestamps import MINUTE_US, SECOND_US, parse_timestamp
from tests.unit.notifier.notifier_desk import START, Desk, utc_minute

pytestmark = pytest.mark.unit
NIGHT = Rules(quiet=(22 * 60, 7 * 60))


def titles(messages: list[Message]) -> list[str]:
    """Return the titles."""
    return [message.title for message in messages]


def test_an_alert_is_told_at_once_with_what_it_is_about() -> None:
    """Level and code are the title; sentence, context, time and source are the text."""
    told = Desk().alert("EXIT_LATCHED", key="mexc_spot:BTCUSDT", distance=Decimal("0.01"))

    assert titles(told) == ["CRITICAL EXIT_LATCHED"]
    assert told[0].body == (
        "EXIT_LATCHED happened\ndistance: 0.01\nkey: mexc_spot:BTCUSDT\n2026-03-02 12:00 UTC, from cdb_risk"
    )


def test_what_is_below_the_least_level_is_only_counted_for_the_day() -> None:
    """INFO is no message of its own; the summary of the day names it."""
    desk = Desk()
    desk.start_day("100")
    assert desk.alert("POSITION_DUST", "INFO") == []

    summary = desk.start_day("100", day="2026-03-03")

    assert "1 x INFO POSITION_DUST" in summary[0].body


def test_equal_alerts_within_the_repetition_time_are_counted() -> None:
    """The same code about the same thing comes once; about another thing it comes too; numbers make no difference."""
    desk = Desk()
    first = desk.alert("LIQUIDATION_NEAR", key="a", distance=Decimal("0.02"))
    desk.wait(5)
    again = desk.alert("LIQUIDATION_NEAR", key="a", distance=Decimal("0.01"))
    other = desk.alert("LIQUIDATION_NEAR", key="b", distance=Decimal("0.01"))

    assert [len(first), len(again), len(other)] == [1, 0, 1]


def test_a_critical_one_that_came_again_is_told_again_after_fifteen_minutes() -> None:
    """Also when its producer does not repeat it then; with how often it came. After a quiet stretch it is over."""
    desk = Desk()
    desk.alert("EXIT_LATCHED", key="a")
    desk.wait(3)
    desk.alert("EXIT_LATCHED", key="a")
    desk.alert("EXIT_LATCHED", key="a")

    told = desk.wait(20)
    later = desk.wait(60)

    assert titles(told) == ["CRITICAL EXIT_LATCHED"]
    assert "2 more since 2026-03-02 12:00 UTC, the last at 2026-03-02 12:03 UTC" in told[0].body
    assert told[0].at - START >= 15 * MINUTE_US
    assert later == []


def test_an_alarm_that_comes_back_after_its_all_clear_is_told_at_once() -> None:
    """Nobody goes on believing the all-clear; what was only counted until then stands in the day's summary."""
    desk = Desk()
    desk.start_day("100")

    def webhook(status: str) -> list[str]:
        alert = {"status": status, "labels": {"alertname": "ClockStalled", "severity": "critical", "service": "cdb_ws"}}
        body = json.dumps({"version": "4", "alerts": [alert]}).encode()
        return titles(desk.machine.outside(read_webhook(body), desk.now))

    told = [webhook(status) for status in ("firing", "firing", "resolved", "resolved", "firing", "resolved")]
    summary = desk.start_day("100", day="2026-03-03")

    alarm, over = ["CRITICAL ClockStalled"], ["WARNING ClockStalled_RESOLVED"]
    assert told == [alarm, [], over, [], alarm, over]
    assert "1 x CRITICAL ClockStalled" in summary[0].body
    assert "1 x WARNING ClockStalled_RESOLVED" in summary[0].body


def test_a_producer_that_repeats_every_fifteen_minutes_comes_through_each_time() -> None:
    """Risk repeats what lasts every 15 minutes: nothing of that is swallowed, whatever tick comes first."""
    desk = Desk()
    told = list(desk.alert("ORDER_UNKNOWN", order_id="o-1"))
    for _ in range(3):
        desk.wait(15)
        told += desk.alert("ORDER_UNKNOWN", order_id="o-1")

    assert titles(told) == ["CRITICAL ORDER_UNKNOWN"] * 4


def test_an_alert_that_counts_is_told_with_its_number_when_the_alert_comes_before_the_tick() -> None:
    """The next one after the repetition time says how often it came since."""
    desk = Desk()
    desk.alert("MARKS_STALE", "WARNING", key="a")
    desk.alert("MARKS_STALE", "WARNING", key="a")
    desk.now += 16 * MINUTE_US

    told = desk.alert("MARKS_STALE", "WARNING", key="a")

    assert "2 times since 2026-03-02 12:00 UTC" in told[0].body


def test_a_warning_that_came_again_is_counted_for_the_day() -> None:
    """Only what is CRITICAL is repeated by itself; the repetitions of others stand in the summary."""
    desk = Desk()
    desk.start_day("100")
    desk.alert("MARKS_STALE", "WARNING", key="a")
    desk.alert("MARKS_STALE", "WARNING", key="a")

    assert desk.wait(20) == []
    assert "1 x WARNING MARKS_STALE" in desk.start_day("100", day="2026-03-03")[0].body


@pytest.mark.parametrize("restart", [False, True])
def test_quiet_hours_let_only_critical_through_and_end_with_one_digest(restart: bool) -> None:
    """At night warnings are withheld, also over a restart; in the morning one message lists them, the worst first."""
    desk = Desk(NIGHT)
    desk.now = parse_timestamp("2026-03-02T23:30:00.000000Z")
    desk.wait(1)

    assert desk.alert("MARKS_STALE", "WARNING", key="a") == []
    assert desk.alert("MARKS_STALE", "WARNING", key="b") == []
    assert desk.alert("DRAWDOWN_WARNING", "WARNING") == []
    assert titles(desk.alert("EXIT_LATCHED", key="a")) == ["CRITICAL EXIT_LATCHED"]
    if restart:
        desk.restart()
    assert desk.machine.summary()["withheld_by_quiet_hours"] == 3
    desk.now = parse_timestamp("2026-03-03T06:59:00.000000Z")
    assert desk.wait(0.9) == []

    morning = desk.wait(0.5)

    assert titles(morning) == ["WARNING 3 notices came in the quiet hours"]
    assert morning[0].body.splitlines()[0].startswith("2 x WARNING MARKS_STALE (2026-03-02 23:31 UTC)")


def test_the_days_summary_waits_for_the_morning_as_a_message_of_its_own() -> None:
    """It is not torn into the digest: its picture belongs to it."""
    desk = Desk(NIGHT)
    desk.start_day("100")
    desk.now = parse_timestamp("2026-03-03T00:00:00.000000Z")

    assert desk.start_day("101", day="2026-03-03") == []
    desk.now = parse_timestamp("2026-03-03T07:00:00.000000Z")

    assert titles(desk.wait(0.1)) == ["2026-03-02: +1.00 USDT (+1.00 %)"]


@pytest.mark.parametrize(
    ("quiet", "at", "expected"),
    [
        ((22 * 60, 7 * 60), "22:00", True),
        ((22 * 60, 7 * 60), "06:59", True),
        ((22 * 60, 7 * 60), "07:00", False),
        ((12 * 60, 13 * 60), "12:30", True),
        ((12 * 60, 13 * 60), "13:00", False),
        (None, "23:00", False),
    ],
)
def test_quiet_hours_begin_at_their_first_and_end_before_their_last_minute(
    quiet: tuple[int, int] | None, at: str, expected: bool
) -> None:
    """Over midnight or within a day."""
    planner = Planner(Rules(quiet=quiet), utc_minute)

    assert planner.is_quiet(parse_timestamp(f"2026-03-02T{at}:00.000000Z")) is expected


def test_quiet_hours_are_local_also_over_the_change_of_summer_time() -> None:
    """22:00 in Berlin is 21:00 UTC in winter and 20:00 UTC in summer; an unknown zone is named at the start."""
    minute = minutes_of("Europe/Berlin")

    assert minute(parse_timestamp("2026-03-28T21:00:00.000000Z")) == 22 * 60
    assert minute(parse_timestamp("2026-03-29T20:00:00.000000Z")) == 22 * 60
    with pytest.raises(SettingsInvalid, match="NOTIFY_TIMEZONE=Berlin"):
        minutes_of("Berlin")


def test_a_flood_becomes_one_digest() -> None:
    """Beyond the burst limit of a level the rest is counted; another level has its own room."""
    desk = Desk(Rules(burst=3))
    told = [desk.alert("ORDER_UNKNOWN", order_id=f"o-{number}") for number in range(10)]
    warned = desk.alert("MARKS_STALE", "WARNING", key="a")

    assert [len(one) for one in told] == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert len(warned) == 1
    assert desk.machine.summary()["withheld_by_burst"] == 7
    after = desk.wait(15.5)
    assert titles(after) == ["CRITICAL 7 notices came too fast to be told one by one"]
    assert len(desk.alert("ORDER_UNKNOWN", order_id="o-11")) == 1


def test_what_is_remembered_is_bounded() -> None:
    """Ever new kinds of notices do not grow the state for ever: the oldest key goes, further kinds are one line."""
    planner = Planner(Rules(burst=10**6, quiet=(0, 60)), lambda _: 30)
    for number in range(MOST_KEYS + 5):
        planner.hear(Notice("CRITICAL", "X", "x", {"n": str(number)}, "me"), START)
    for number in range(MOST_KINDS + 5):
        planner.hear(Notice("WARNING", f"W_{number}", "w", {}, "me"), START)

    assert len(planner.state.told) == MOST_KEYS
    assert len(planner.state.quiet) == MOST_KINDS + 1
    assert planner.state.quiet["WARNING|OTHERS"].count == 5


def test_the_all_clear_comes_to_whoever_got_the_alarm() -> None:
    """TRADING_ACTIVE is INFO for risk, and still told at once."""
    desk = Desk()
    desk.alert("TRADING_FROZEN")

    assert titles(desk.alert("TRADING_ACTIVE", "INFO")) == ["WARNING TRADING_ACTIVE"]


@pytest.mark.parametrize(
    ("state", "causes", "reminded"),
    [("FROZEN", ["freeze"], True), ("HALTED", ["breaker"], True), ("HALTED", ["halt"], False), ("ACTIVE", [], False)],
)
def test_a_frozen_state_or_a_tripped_breaker_is_repeated_every_fifteen_minutes(
    state: str, causes: list[str], reminded: bool
) -> None:
    """While it lasts, over a restart; an operator's own halt is not: who halted knows it."""
    desk = Desk()
    details = {"state": state, "previous": "ACTIVE", "causes": causes}
    desk.control("trading_state", producer=channels.RISK, service=channels.RISK, reason="why", details=details)
    desk.alert(f"TRADING_{state}", "WARNING")
    desk.wait(10)
    desk.restart()

    told = desk.wait(35)

    assert titles(told) == [f"CRITICAL TRADING_{state}"] * (3 if reminded else 0)
    if reminded:
        assert told[0].body == f"trading is still {state} since 2026-03-02 12:00 UTC: why"
        desk.control(
            "trading_state", producer=channels.RISK, details={"state": "ACTIVE", "previous": state, "causes": []}
        )
        assert desk.wait(40) == []


def test_a_new_run_tells_what_was_withheld_and_begins_with_its_own_clock() -> None:
    """A second recording begins earlier than the first one ended: nothing is held back for ever."""
    desk = Desk(NIGHT)
    desk.start_day("100")
    desk.now = parse_timestamp("2026-03-02T23:30:00.000000Z")
    desk.alert("MARKS_STALE", "WARNING", key="a")
    desk.start_day("99", day="2026-03-03")
    desk.now = START - MINUTE_US

    told = desk.control("started", producer=channels.WS, service=channels.WS, run_id="run-2")

    assert titles(told) == ["WARNING 1 notices were withheld when a new run began", "2026-03-02: -1.00 USDT (-1.00 %)"]
    assert len(desk.alert("MARKS_STALE", "WARNING", key="a")) == 1


def test_notices_from_outside_live_by_the_time_they_were_received() -> None:
    """When the run's clock stands still, an alarm about just that is repeated all the same."""
    desk = Desk()
    notice = Notice("CRITICAL", "ClockStalled", "no tick", {"service": "cdb_ws"}, "Prometheus")

    first = desk.machine.outside([notice], 0)
    soon = desk.machine.outside([notice], 60 * SECOND_US)
    late = desk.machine.outside_tick(16 * MINUTE_US)

    assert [len(first), len(soon), len(late)] == [1, 0, 1]


def test_a_state_that_is_none_is_refused() -> None:
    """What stands in the file is validated."""
    with pytest.raises(StateMismatch):
        Desk().machine.restore({"folded": 1})
