"""The dead-man switch: a risk that does not answer the clock gets no entry through; exits still leave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_execution.dead_man import RiskWatch
from services.common import channels
from services.common.events import Alert
from services.common.timestamps import SECOND_US
from tests.unit.execution.execution_desk import Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def heartbeat(desk: Desk, at_ms: int, producer: str = channels.RISK) -> None:
    """Let risk say that it has seen the clock up to `at_ms`."""
    desk.control("heartbeat", at_ms, producer=producer, service=producer)


def alerts(desk: Desk) -> list[tuple[str, str]]:
    """Return level and code of all alerts."""
    return [(alert.level, alert.code) for alert in desk.outputs if isinstance(alert, Alert)]


def silent_desk() -> Desk:
    """Risk answered the tick at 10 s and none of those from 11 s to 42 s."""
    desk = Desk()
    desk.hold("0.2")
    for second in range(1, 11):
        desk.tick(1_000 * second)
    heartbeat(desk, 10_000)
    for second in range(11, 43):
        desk.tick(1_000 * second)
    return desk


def test_an_entry_of_a_silent_risk_is_rejected_and_told_once() -> None:
    """The tick at 11 s waits for over 30 s at 42 s: one CRITICAL alert, and entries are refused with their code."""
    desk = silent_desk()

    for at_ms in (42_000, 43_000):
        desk.send(at_ms)

    assert alerts(desk) == [("CRITICAL", "RISK_SILENT")]
    assert [(r.status, str(r.reason).split(":")[0]) for r in desk.results[-2:]] == [("REJECTED", "RISK_SILENT")] * 2
    assert desk.machine.summary()["risk_silent"] is True


def test_exits_of_a_silent_risk_still_leave() -> None:
    """A late exit with a valid decision reduces what is at stake: it is accepted."""
    desk = silent_desk()

    for purpose in ("stop_loss", "exit"):
        desk.send(42_000, side="SELL", purpose=purpose, quantity="0.1", status="bypass")

    assert [result.status for result in desk.results[-2:]] == ["NEW", "NEW"]


def test_exactly_at_the_limit_risk_is_not_yet_silent() -> None:
    """30 s since the first unanswered tick: the entry is accepted; a millisecond later it is not."""
    desk = Desk()
    heartbeat(desk, 0)
    desk.tick(1_000)

    desk.send(31_000)
    assert desk.results[-1].status == "NEW"
    desk.quote(31_001)
    desk.send(31_001)
    assert desk.results[-1].status == "REJECTED"


def test_silence_cancels_the_entries_that_work() -> None:
    """What still works as an entry is given up when the silence is found; an exit goes on."""
    desk = Desk(PAPER_ORDER_LIFE_SEC=600)
    desk.hold("0.2")
    heartbeat(desk, 1_000)
    desk.tick(2_000)
    desk.send(2_000)
    desk.send(2_000, side="SELL", purpose="exit", quantity="0.1", status="bypass")

    desk.tick(32_001)

    assert [(r.status, str(r.reason).split(":")[0]) for r in desk.results[-1:]] == [("CANCELED", "RISK_SILENT")]
    assert [order.purpose for order in desk.machine.state.working] == ["exit"]


def test_a_heartbeat_of_now_ends_the_silence_and_one_of_then_does_not() -> None:
    """A risk that catches up is silent up to what it has seen."""
    desk = silent_desk()

    heartbeat(desk, 10_500)
    assert desk.machine.state.risk_watch.silent is True, "it has not seen the tick at 11 s"
    heartbeat(desk, 42_000)
    assert desk.machine.state.risk_watch.silent is False
    assert alerts(desk)[-1] == ("INFO", "RISK_ANSWERS")
    desk.send(43_000)
    assert desk.results[-1].status == "NEW"


def test_nothing_is_expected_before_the_first_heartbeat_and_others_cannot_send_one() -> None:
    """Risk joins the run with its first answer; a heartbeat of somebody else is none."""
    desk = Desk()
    heartbeat(desk, 0, producer=channels.CORE)
    for second in range(1, 100):
        desk.tick(1_000 * second)

    desk.send(99_000)

    assert desk.results[-1].status == "NEW"


def test_only_cdb_ws_moves_the_clock_that_is_to_be_answered() -> None:
    """A tick of somebody else begins no silence."""
    desk = Desk()
    heartbeat(desk, 0)
    desk.control("tick", 1_000, producer="somebody")
    desk.tick(40_000)

    desk.send(40_000)

    assert desk.results[-1].status == "NEW"


def test_ticks_a_minute_apart_are_no_silence() -> None:
    """Candle files tick every minute: what was answered at 60 s is not silent at 119 s."""
    desk = Desk()
    heartbeat(desk, 0)
    desk.tick(60_000)
    heartbeat(desk, 60_000)
    desk.quote(119_900)

    desk.send(119_900)

    assert desk.results[-1].status == "NEW"
    assert alerts(desk) == []


def test_silence_survives_a_restart() -> None:
    """Restored before every entry, the same happens."""
    plain, restarting = Desk(), Desk(restarting=True)
    for desk in (plain, restarting):
        heartbeat(desk, 0)
        for second in range(1, 40):
            desk.tick(1_000 * second)
        desk.send(40_000)

    assert [event.data for event in plain.outputs] == [event.data for event in restarting.outputs]
    assert restarting.results[-1].status == "REJECTED"


@given(
    gaps=st.lists(st.integers(1, 90), min_size=1, max_size=20),
    lag=st.integers(0, 5),
    limit=st.integers(15, 60),
)
def test_silence_never_exceeds_what_truly_waits(gaps: list[int], lag: int, limit: int) -> None:
    """However ticks are spaced and however far risk lags, a found silence is a tick that waits for over the limit."""
    watch, ticks, now = RiskWatch(heard=True), [0], 0
    watch.tick(0)
    for gap in gaps:
        now += gap * SECOND_US
        watch.tick(now)
        ticks.append(now)
        seen = ticks[max(0, len(ticks) - 1 - lag)]
        watch.heartbeat(seen)
        waiting = [tick for tick in ticks if tick > seen]
        if watch.overdue(now, limit):
            assert waiting
            assert now - seen > limit * SECOND_US
        if not waiting:
            assert watch.seconds(now) == 0
