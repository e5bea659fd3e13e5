"""Minutes against the exchange's bars: what differs for good, what is asked in parts, what cannot be learnt."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_sandbox.faults import FaultKind
from services.cdb_ws.live.spot_rest import SpotRest
from tests.unit.ws.live_desk import LiveDesk, book
from tests.unit.ws.sandbox_rig import SandboxRig

pytestmark = pytest.mark.unit

KEY = "mexc_spot:BTCUSDT"
DEALS = "spot@public.aggre.deals*"


def totals(rig: SandboxRig) -> tuple[Decimal, Decimal]:
    """Return what was counted and what was traded."""
    counted = sum((one.volume for one in rig.observations), Decimal(0))
    return counted, sum((quantity for _, quantity in rig.truth["BTCUSDT"]), Decimal(0))


def test_a_bar_that_disagrees_with_the_exchanges_own_trades_is_told_once() -> None:
    """Nothing can be brought back: after a second look it is told, marked once, and not again while it stays so."""
    rig = SandboxRig().begin().play(58)
    for _ in range(2):
        rig.play(30, every_ms=2_000)
        rig.house.bars[KEY]._minutes[-1].volume += 5
        rig.play(30)
    assert rig.codes == ["FEED_VOLUME_DIFFERS"]
    rig.play(90)

    assert rig.codes == ["FEED_VOLUME_DIFFERS"]
    told = rig.news[0]
    assert Decimal(told.context["bar"]) - Decimal(told.context["counted"]) == 5
    assert [one.gap for one in rig.observations].count(True) == 1
    assert rig.feed.instruments["BTCUSDT"].compared == {"begun": 1, "differs": 2, "equal": 1}
    assert totals(rig)[0] == totals(rig)[1]


def test_more_counted_than_the_bar_has_is_told_and_not_marked() -> None:
    """Nothing is missing then."""
    rig = SandboxRig().begin().play(58).play(30, every_ms=2_000)
    rig.house.bars[KEY]._minutes[-1].volume -= 1
    rig.play(90)

    assert rig.codes == ["FEED_VOLUME_DIFFERS"]
    assert not any(one.gap for one in rig.observations)


def test_a_bar_that_is_behind_is_looked_at_again() -> None:
    """The second look finds it right: nobody is told."""
    rig = SandboxRig().begin().play(58).play(30, every_ms=2_000)
    bar = rig.house.bars[KEY]._minutes[-1]
    bar.volume -= 1
    rig.play(50)
    bar.volume += 1
    rig.play(30)

    assert (rig.codes, rig.feed.instruments["BTCUSDT"].compared["equal"]) == ([], 1)


def test_a_minute_of_more_trades_than_an_answer_holds_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five trades an answer, a loss within a minute: half by half until it is found, or the questions run out."""
    monkeypatch.setattr(SpotRest, "trades_per_answer", 5)
    rig = SandboxRig(settings={"FEED_WARMUP_MIN": 0}).begin().play(60)
    rig.fault(FaultKind.DROP, DEALS)
    rig.play(14, every_ms=1_000)
    rig.play(70)
    assert totals(rig)[0] == totals(rig)[1]
    assert "FEED_TRADES_MISSED" in rig.codes

    rig.play(rig.seconds_to_minute())
    rig.play(33, every_ms=400)
    rig.fault(FaultKind.DROP, DEALS)
    rig.play(17, every_ms=400)
    rig.play(100)
    assert totals(rig)[0] < totals(rig)[1], "so many questions, and no more"
    assert "FEED_VOLUME_DIFFERS" in rig.codes


def test_a_bar_that_cannot_be_learnt_is_passed_over() -> None:
    """Six failures, or an answer without the minute: the next minute is compared again."""
    rig = SandboxRig().begin().play(70)
    rig.fault(FaultKind.SERVER_ERROR_BEFORE, "GET */klines", count=6)
    rig.play(150)
    compared = rig.feed.instruments["BTCUSDT"].compared
    assert (compared["unknown"], compared["equal"]) == (1, 1)
    assert not rig.feed.problems(rig.now_us)

    desk = LiveDesk().begin()
    for _ in range(14):
        desk.later(10)
        desk.frame(book("BTCUSDT", "99", "101"))
        for ask in [ask for ask in desk.asks if ask.kind in {"bar", "recount"}]:
            desk.answer(ask.kind, [])
    assert desk.feed.instruments["BTCUSDT"].compared == {"unknown": 2}


def test_without_the_setting_nothing_is_compared() -> None:
    """FEED_COMPARE=false asks for nothing."""
    rig = SandboxRig(settings={"FEED_COMPARE": False}).begin().play(140, every_ms=10_000)

    assert rig.feed.instruments["BTCUSDT"].compared == {}
