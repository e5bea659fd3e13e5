"""`claire explain ID --if NAME=VALUE`: the very machines decide again, at this decision or from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.common.events import Order, RiskDecision, Signal
from tests.unit.explain.recorded import RecordedPipeline, run, run_json, words, write
from tests.unit.explain.test_explain_why_not import Minutes

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def bought(**risk: str) -> RecordedPipeline:
    """A buy of one instrument by hand, and quotes after it."""
    pipeline = RecordedPipeline(**risk)
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.quote("50000")
    return pipeline


def again(
    pipeline: RecordedPipeline, folder: Path, id_: str, *changes: str, from_start: bool = False
) -> dict[str, Any]:
    """Return what another setting changes, which `--json` says under `if`."""
    journal = str(write(folder, pipeline.entries))
    more = ["--from-start"] if from_start else []
    options = [option for change in changes for option in ("--if", change)]
    found: dict[str, Any] = run_json("explain", id_, "--journal", journal, *options, *more)["if"]
    return found


@pytest.mark.parametrize("from_start", [False, True])
def test_a_refusal_flips_to_an_approval_and_back(tmp_path: Path, from_start: bool) -> None:
    """With no room nothing is bought; with 10 % it would have been bought and filled; and the other way round."""
    closed, opened = bought(MAX_POSITION_PCT="0"), bought()
    no, yes = closed.the(RiskDecision), opened.the(RiskDecision)

    freed = again(closed, tmp_path, no.event_id, "MAX_POSITION_PCT=0.10", from_start=from_start)
    shut = again(opened, tmp_path, yes.event_id, "MAX_POSITION_PCT=0", from_start=from_start)

    assert (freed["recorded"]["verdict"], freed["changed"]["verdict"], freed["flips"]) == ("refused", "filled", True)
    assert (shut["recorded"]["verdict"], shut["changed"]["verdict"], shut["flips"]) == ("filled", "refused", True)
    assert freed["faithful"]
    assert shut["faithful"]
    # what would have been decided is, byte for byte, what the run with that setting has decided
    assert freed["changed"]["decision"] == shut["recorded"]["decision"]
    assert shut["changed"]["decision"] == freed["recorded"]["decision"]
    assert {change["layer"] for change in freed["layers"]} == {"position_limits", "total_exposure"}
    assert freed["in_force"] == ("from_start" if from_start else "at_decision")


def test_at_this_decision_what_went_before_is_as_recorded_from_the_start_it_is_not(tmp_path: Path) -> None:
    """A second symbol is refused for want of exposure that the first took; which reading frees it is told apart."""
    pipeline = RecordedPipeline(MAX_TOTAL_EXPOSURE_PCT="0.08", ENTRY_SPACING_SEC="0")
    pipeline.quote("50000")
    pipeline.quote("3000", symbol="ETHUSDT")
    pipeline.buy("50000")
    second, _ = pipeline.buy("3000", symbol="ETHUSDT")
    pipeline.quote("3000", symbol="ETHUSDT")
    assert second.sizing.approved < second.sizing.requested

    here = again(pipeline, tmp_path, second.event_id, "RISK_PER_TRADE_PCT=0.0003")
    always = again(pipeline, tmp_path, second.event_id, "RISK_PER_TRADE_PCT=0.0003", from_start=True)

    assert here["recorded"]["decision"]["portfolio"]["exposure"] == here["changed"]["decision"]["portfolio"]["exposure"]
    assert always["changed"]["decision"]["portfolio"]["exposure"] < here["changed"]["decision"]["portfolio"]["exposure"]
    assert always["changed"]["order"]["quantity"] > here["recorded"]["order"]["quantity"]


def test_execution_s_settings_change_the_fill(tmp_path: Path) -> None:
    """A latency over the time until the last quote leaves the order unfilled."""
    pipeline = bought()
    pipeline.seconds(12)

    found = again(pipeline, tmp_path, pipeline.the(Order).order_id, "PAPER_LATENCY_MS=9000")

    assert (found["recorded"]["verdict"], found["changed"]["verdict"]) == ("filled", "expired")
    assert found["layers"] == []


def test_the_strategy_s_settings_can_take_the_signal_away(tmp_path: Path) -> None:
    """At a threshold of 3 % the signal is not given, and the bar says how far it was."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000", "51000", "51000")
    signal = pipeline.the(Signal)

    for from_start in (False, True):
        found = again(pipeline, tmp_path, signal.event_id, "SIGNAL_THRESHOLD_PCT=0.03", from_start=from_start)
        assert (found["signal_given"], found["changed"], found["flips"]) == (False, None, True)
    journal = str(write(tmp_path, pipeline.entries))
    _, output = run("explain", signal.event_id, "--if", "SIGNAL_THRESHOLD_PCT=0.03", "--journal", journal, columns=80)
    assert "then no signal: m 2.00 %, T 3.00 %, 66 % of the way: BELOW_THRESHOLD" in words(output)


def test_a_wider_stop_would_not_have_been_hit(tmp_path: Path) -> None:
    """The protective exit is decided again, and with 5 % nothing triggers it."""
    pipeline = bought()
    pipeline.quote("48900")
    pipeline.quote("48900")
    stop = pipeline.the(RiskDecision, lambda decision: decision.purpose == "stop_loss")

    found = again(pipeline, tmp_path, stop.event_id, "STOP_LOSS_PCT=0.05")
    journal = str(write(tmp_path, pipeline.entries))
    code, output = run("explain", stop.event_id, "--if", "STOP_LOSS_PCT=0.05", "--journal", journal)

    assert (found["signal_given"], found["changed"], found["flips"]) == (None, None, True)
    assert code == 0
    assert "risk decides nothing here" in words(output)


def test_the_screen_says_which_reading_it_is_and_which_layers_change(tmp_path: Path) -> None:
    """A person sees what was, what would be, and in force since when; on 80 columns."""
    pipeline = bought(MAX_POSITION_PCT="0")
    journal = str(write(tmp_path, pipeline.entries))
    decision = pipeline.the(RiskDecision)

    for more, text in (((), "at this decision alone"), (("--from-start",), "from the start of the recorded run")):
        code, output = run(
            "explain", decision.event_id, "--if", "MAX_POSITION_PCT=0.1", "--journal", journal, *more, columns=80
        )
        assert code == 0
        assert text in words(output)
        assert "MAX_POSITION_PCT were 0.1 (it was 0" in words(output)
        assert "fail POSITION_LIMIT" in output
        assert "recorded none; then" in words(output)
        assert max(map(len, output.splitlines())) <= 80


def test_an_unchanged_setting_changes_nothing(tmp_path: Path) -> None:
    """The value that was in force gives the recorded bytes."""
    pipeline = bought()

    found = again(pipeline, tmp_path, pipeline.the(RiskDecision).event_id, "MAX_POSITION_PCT=0.10")
    journal = str(write(tmp_path, pipeline.entries))
    _, output = run(
        "explain", pipeline.the(RiskDecision).event_id, "--if", "MAX_POSITION_PCT=0.10", "--journal", journal
    )

    assert found["changed"] == found["recorded"]
    assert (found["flips"], found["layers"]) == (False, [])
    assert "The outcome is the same." in output


def test_why_not_and_a_position_can_be_decided_again(tmp_path: Path) -> None:
    """A refused signal found by its time, and the entry of a position."""
    refused, held = Minutes(MAX_POSITION_PCT="0"), bought()
    refused.minutes("50000", "50000", "51000", "51000")
    signal = refused.the(Signal)
    time = str(signal.model_dump(mode="json")["timestamp"])
    journal = str(write(tmp_path, refused.entries))

    found = run_json("explain", "--why-not", "BTCUSDT", time, "--if", "MAX_POSITION_PCT=0.1", "--journal", journal)[
        "if"
    ]

    assert (found["recorded"]["verdict"], found["changed"]["verdict"]) == ("refused", "filled")
    assert run("explain", "--why-not", "BTCUSDT", time, "--if", "MAX_POSITION_PCT=0.1", "--journal", journal)[0] == 0
    assert again(held, tmp_path, "BTCUSDT", "MAX_POSITION_PCT=0")["changed"]["verdict"] == "refused"


def test_what_has_no_decision_cannot_be_decided_again(tmp_path: Path) -> None:
    """Market data that nothing followed from."""
    pipeline = bought()
    journal = str(write(tmp_path, pipeline.entries))

    code, output = run("explain", "ws-2", "--if", "MAX_POSITION_PCT=0", "--journal", journal)

    assert code == 1
    assert "decided nothing" in words(output)
