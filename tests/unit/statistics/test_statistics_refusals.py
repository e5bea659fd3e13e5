"""Refused entries by layer, and what they would have made under the stated rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common.events import LAYERS, LayerVerdict, RiskDecision, Sizing
from tests.unit.statistics.story_statistics import of
from tests.unit.writer.journal_story import Story

pytestmark = pytest.mark.unit

D = Decimal
FEE = D("0.001")


def begun() -> Story:
    """A story with a taker fee of 10 bp and a stop of 2 %, quoted at 100 with a spread of 1."""
    story = Story()
    story.begin()
    details = {"settings": {"PAPER_TAKER_FEE": FEE}, "settings_hash": "1" * 64, "code_version": "test"}
    story.control("cdb_execution", "config", service="cdb_execution", details=details)
    quote(story, "100")
    return story


def quote(story: Story, price: str, **fields: Any) -> None:
    """Quote half a unit around a price, a second later."""
    story.tick()
    story.quote(D(price), **fields)


def refuse(story: Story, side: str = "BUY", failing: tuple[str, ...] = ("spread_check",), size: str = "2") -> None:
    """Refuse an entry in these layers."""
    signal = story.signal(D(100), side.lower(), intent="entry")
    decision = story.decision(signal.event_id, side, "entry", "BTCUSDT", approved=False)
    assert isinstance(decision, RiskDecision)
    layers = tuple(
        LayerVerdict(
            layer=layer, code="LIMIT" if layer in failing else "OK", status="fail" if layer in failing else "pass"
        )
        for layer in LAYERS
    )
    sizing = Sizing(method="fixed_fractional", requested=D(size), approved=D(0))
    story.entries.pop()
    story.add(decision.model_copy(update={"layers": layers, "sizing": sizing}))


def leave(story: Story) -> None:
    """Let the strategy want to leave."""
    story.signal(D(100), "sell", intent="exit")


def test_a_refused_entry_is_followed_from_touch_to_touch() -> None:
    """In at the ask of the next quote (101.5), out at the bid of the quote after the exit (109.5), fees on both."""
    story = begun()
    refuse(story)
    quote(story, "101")
    quote(story, "105")
    leave(story)
    quote(story, "110")
    quote(story, "200")

    layer = of(story).refusals["spread_check"]

    gain = D("109.5") - D("101.5") - FEE * (D("109.5") + D("101.5"))
    assert layer.mean_bps == pytest.approx(gain / D("101.5") * 10_000, abs=D("0.000001"))
    assert (layer.decisive, layer.failing, layer.ended, layer.won) == (1, 1, 1, 1)
    assert layer.sum == 2 * gain


def test_the_stop_ends_it_before_the_exit() -> None:
    """A bid 2 % under the entry ends it there, whatever comes later."""
    story = begun()
    refuse(story)
    quote(story, "100")  # in at 100.5, the stop is at 98.49
    quote(story, "99")  # the bid is 98.5
    quote(story, "98.9")  # the bid is 98.4
    leave(story)
    quote(story, "150")

    layer = of(story).refusals["spread_check"]

    gain = D("98.4") - D("100.5") - FEE * (D("98.4") + D("100.5"))
    assert layer.sum == 2 * gain
    assert layer.won == 0


def test_a_refused_short_sells_first() -> None:
    """In at the bid, out at the ask; a fall is a gain."""
    story = begun()
    refuse(story, "SELL")
    quote(story, "100")
    story.signal(D(100), "buy", intent="exit")
    quote(story, "90")

    layer = of(story).refusals["spread_check"]

    assert layer.sum == 2 * (D("99.5") - D("90.5") - FEE * (D("99.5") + D("90.5")))


def test_what_has_not_ended_is_not_counted() -> None:
    """Still open, never quoted again, or left before it could be entered: decisive, but without a result."""
    story = begun()
    refuse(story)
    quote(story, "101")
    still_open = of(story).refusals["spread_check"]
    never_entered = begun()
    refuse(never_entered)
    leave(never_entered)
    quote(never_entered, "101")

    assert (still_open.decisive, still_open.ended, still_open.mean_bps, still_open.sum) == (1, 0, None, 0)
    assert of(never_entered).refusals["spread_check"].ended == 0


def test_a_crossed_quote_is_no_quote() -> None:
    """Neither entered nor left at a book whose bid is not below its ask, or which has none."""
    story = begun()
    refuse(story)
    quote(story, "50", bid=D(51), ask=D(50))
    quote(story, "50", bid=None)
    quote(story, "101")
    leave(story)
    quote(story, "102")

    assert of(story).refusals["spread_check"].sum == 2 * (0 - FEE * (D("101.5") * 2))


def test_the_first_failing_layer_decides_and_all_are_counted() -> None:
    """Two layers fail: the first is decisive, both are failing; another refusal has its own layer."""
    story = begun()
    refuse(story, failing=("daily_drawdown", "spread_check"))
    refuse(story, failing=("spread_check",))

    found = of(story)

    assert {name: (layer.decisive, layer.failing) for name, layer in found.refusals.items()} == {
        "daily_drawdown": (1, 1),
        "spread_check": (1, 2),
    }
    assert (found.values["entries_decided"], found.values["entries_refused"]) == (2, 2)
    assert found.refusals["daily_drawdown"].codes == {"LIMIT": 1}


def test_without_a_size_there_are_basis_points_and_no_money() -> None:
    """Sizing could not say how much: the result has no sum."""
    story = begun()
    refuse(story, size="0")
    quote(story, "100")
    leave(story)
    quote(story, "120")

    layer = of(story).refusals["spread_check"]

    assert layer.mean_bps is not None
    assert layer.sum == 0


def test_hypotheses_are_no_part_of_the_result() -> None:
    """The net stays zero, and JSON calls them hypothetical."""
    story = begun()
    refuse(story)
    quote(story, "100")
    leave(story)
    quote(story, "120")

    found = of(story)

    assert found.values["net_pnl"] == 0
    assert found.as_json()["refusals_by_layer"]["spread_check"]["hypothetical"]["ended"] == 1


def test_only_so_many_are_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals that never leave must not make every quote slower: beyond the bound they are counted alone."""
    monkeypatch.setattr("claire.statistics.refusals.FOLLOWED", 2)
    story = begun()
    for _ in range(5):
        refuse(story)
    quote(story, "100")
    leave(story)
    quote(story, "120")

    layer = of(story).refusals["spread_check"]

    assert (layer.decisive, layer.ended) == (5, 2)
