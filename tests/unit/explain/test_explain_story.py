"""`claire explain ID` and `claire trace` on journals of the kernel: each kind of id, and ids that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.events import LAYERS, Alert, Order, OrderResult, RiskDecision, Signal
from tests.unit.explain.recorded import RecordedPipeline, run, run_json, words, write
from tests.unit.explain.test_explain_why_not import Minutes

pytestmark = pytest.mark.unit


@pytest.fixture
def bought() -> RecordedPipeline:
    """A buy that was filled, and one that was refused because of it."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.seconds(61)
    pipeline.quote("50000")
    pipeline.buy("50000")
    return pipeline


@pytest.fixture
def journal(bought: RecordedPipeline, tmp_path: Path) -> str:
    """Its journal."""
    return str(write(tmp_path, bought.entries))


def approved(pipeline: RecordedPipeline) -> RiskDecision:
    """Return the approved decision."""
    return pipeline.the(RiskDecision, lambda decision: decision.approved)


def refused(pipeline: RecordedPipeline) -> RiskDecision:
    """Return the refused decision."""
    return pipeline.the(RiskDecision, lambda decision: not decision.approved)


def test_every_id_of_a_filled_order_tells_the_same_chain(bought: RecordedPipeline, journal: str) -> None:
    """Signal, decision, order (three ids) and fill lead to one story, each named as what it is."""
    fill = bought.the(OrderResult, lambda result: result.trade_id is not None)
    order = bought.the(Order)
    asked = {
        approved(bought).signal_id or "": "signal",
        approved(bought).event_id: "decision",
        order.order_id: "order",
        order.client_order_id: "order",
        order.event_id: "order",
        fill.trade_id or "": "fill",
        fill.event_id: "fill",
    }

    stories = {id_: run_json("explain", id_, "--journal", journal) for id_ in asked}

    assert {id_: story["kind"] for id_, story in stories.items()} == asked
    for story in stories.values():
        assert story["verdict"] == "filled"
        assert story["instrument"] == "mexc_spot:BTCUSDT"
        assert [path["order"]["order_id"] for path in story["decisions"]] == [order.order_id]
        assert story["decisions"][0]["results"][-1]["trade_id"] == fill.trade_id


def test_the_shape_of_the_json_is_stable(bought: RecordedPipeline, journal: str) -> None:
    """Scripts rely on these keys."""
    story = run_json("explain", approved(bought).event_id, "--journal", journal)

    assert set(story) == {
        "id", "kind", "instrument", "verdict", "summary", "subject", "began", "signal", "decisions", "timeline",
        "exchange_to_feed_us",
    }  # fmt: skip
    (path,) = story["decisions"]
    assert set(path) == {"n", "verdict", "summary", "decision", "layers", "order", "results"}
    assert [layer["layer"] for layer in path["layers"]] == list(LAYERS)
    assert {layer["unit"] for layer in path["layers"]} == {"fraction", "seconds"}
    assert set(story["timeline"][0]) == {
        "n", "event_id", "type", "producer", "timestamp", "since_previous_us", "since_beginning_us",
    }  # fmt: skip


def test_the_screen_shows_all_seven_layers_size_order_and_the_rule_of_the_fill(
    bought: RecordedPipeline, journal: str
) -> None:
    """A trader reads value, limit and headroom with units, what capped the size, and why it filled where it did."""
    for columns in (80, 120):
        code, output = run("explain", approved(bought).event_id, "--journal", journal, columns=columns)

        assert code == 0
        for text in (*LAYERS, "7.5", "10.00 %", "headroom", "capped by nothing", "paper_ioc_v1", "protected at",
                     "slippage", "fee", "USDT", "published by hand"):  # fmt: skip
            assert text in words(output)
        assert max(map(len, output.splitlines())) <= columns


def test_a_refusal_names_the_layer_and_its_numbers(bought: RecordedPipeline, journal: str) -> None:
    """What is held already is not bought again, and the story says how much is held."""
    story = run_json("explain", refused(bought).event_id, "--journal", journal)
    code, output = run("explain", refused(bought).event_id, "--journal", journal)

    assert (story["kind"], story["verdict"], code) == ("refusal", "refused", 0)
    assert "position_limits (ALREADY_POSITIONED)" in story["summary"]
    assert story["decisions"][0]["layers"][1]["unit"] == "base"
    assert "fail ALREADY_POSITIONED" in output


def test_bypassed_layers_are_shown_with_their_numbers(bought: RecordedPipeline, tmp_path: Path) -> None:
    """An exit goes past five layers, and each says what it would have said."""
    bought.seconds(61)
    bought.quote("50000")
    decision, _ = bought.sell("50000")
    journal = str(write(tmp_path, bought.entries))

    story = run_json("explain", decision.event_id, "--journal", journal)
    _, output = run("explain", decision.event_id, "--journal", journal)

    assert [layer["status"] for layer in story["decisions"][0]["layers"]].count("bypass") >= 3
    assert "bypass" in output
    assert "the position of" in output
    assert story["summary"].startswith("Sold ")


def test_an_order_that_expires_says_by_which_rule(tmp_path: Path) -> None:
    """The feed falls silent after the order: it expires because no quote came."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000")
    accepted = pipeline.entries[: _place(pipeline, "NEW") + 1]
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.silent_buy("50000")
    pipeline.seconds(12)
    order_id = pipeline.the(Order).order_id
    folder = tmp_path / "cut"
    folder.mkdir()

    working = run_json("explain", order_id, "--journal", str(write(folder, accepted)))
    expired = run_json("explain", order_id, "--journal", str(write(tmp_path, pipeline.entries)))

    assert working["verdict"] == "working"
    assert "it works since" in working["summary"]
    assert expired["verdict"] == "expired"
    assert "NO_QUOTE" in expired["summary"]


def _place(pipeline: RecordedPipeline, status: str) -> int:
    events = [entry.event for entry in pipeline.entries]
    return next(place for place, e in enumerate(events) if isinstance(e, OrderResult) and e.status == status)


def test_the_beginning_of_an_id_is_enough(bought: RecordedPipeline, journal: str) -> None:
    """Ten characters name one event; the whole id is in the answer."""
    decision = approved(bought)

    assert run_json("explain", decision.event_id[:10], "--journal", journal)["id"] == decision.event_id


def test_an_ambiguous_beginning_lists_what_it_may_be(journal: str) -> None:
    """All order ids begin alike: the candidates are named, and the exit code says that nothing was answered."""
    code, output = run("explain", "ord-", "--journal", journal)
    assert code == 0, "there is only one order"

    code, output = run("explain", "or", "--journal", journal)
    assert code == 1
    assert "at least 4 characters" in output
    assert "several" not in output


def test_an_unknown_id_names_what_resembles_it(bought: RecordedPipeline, journal: str) -> None:
    """A typing mistake in the last place leads to the id that was meant."""
    meant = approved(bought).event_id
    code, output = run("explain", meant[:-1] + ("0" if meant[-1] != "0" else "1"), "--journal", journal)

    assert code == 1
    assert meant in output


def test_market_data_tell_what_followed_from_them(tmp_path: Path) -> None:
    """Asked for the market data that triggered a stop, the story is the stop's."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.seconds(30)
    pipeline.quote("48900")
    pipeline.quote("48900")
    stop = pipeline.the(RiskDecision, lambda decision: decision.purpose == "stop_loss")
    journal = str(write(tmp_path, pipeline.entries))

    story = run_json("explain", stop.correlation_id or "", "--journal", journal)

    assert (story["kind"], story["signal"]) == ("market_data", None)
    assert [path["decision"]["event_id"] for path in story["decisions"]] == [stop.event_id]


def test_alerts_and_signals_without_a_decision_are_told_as_such(tmp_path: Path) -> None:
    """What nothing followed from is no error."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.command("halt")
    signal = pipeline.the(Signal)
    place = next(i for i, entry in enumerate(pipeline.entries) if entry.event.event_id == signal.event_id)
    folder = tmp_path / "cut"
    folder.mkdir()
    cut, whole = str(write(folder, pipeline.entries[: place + 1])), str(write(tmp_path, pipeline.entries))

    assert run_json("explain", signal.event_id, "--journal", cut)["verdict"] == "undecided"
    alert = run_json("explain", pipeline.the(Alert).event_id, "--journal", whole)
    assert alert["kind"] == "alert"
    assert run("explain", pipeline.the(Alert).event_id, "--journal", whole)[0] == 0


def test_the_strategy_s_own_signals_show_momentum_threshold_and_why_it_left(tmp_path: Path) -> None:
    """Entry: m against T, floor and volume; exit: what triggered it, how long it was held, the virtual stop."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000", "51000", "50900", "50000", "50000")
    entry, exit_ = pipeline.of(Signal)
    journal = str(write(tmp_path, pipeline.entries))

    _, entered = run("explain", entry.event_id, "--journal", journal, columns=80)
    _, left = run("explain", exit_.event_id, "--journal", journal, columns=120)

    for text in ("m +2.00 % over 2 min (50,000.00 to 51,000.00)", "200 % of the threshold 1.00 %", "confidence 1.00",
                 "the larger of 1.00 %", "is needed"):  # fmt: skip
        assert text in words(entered)
    for text in ("MOMENTUM_FADED; held 2 of at most 240 min since 51,000.00", "virtual stop 49,980.00"):
        assert text in words(left)


def test_a_flatten_begins_with_the_operator(tmp_path: Path, bought: RecordedPipeline) -> None:
    """Who closed it and why, and the exit that followed."""
    command = bought.command("flatten")[0]
    bought.quote("50000")
    journal = str(write(tmp_path, bought.entries))

    story = run_json("explain", command.event_id, "--journal", journal)
    _, output = run("explain", command.event_id, "--journal", journal)

    assert (story["kind"], story["verdict"]) == ("control", "filled")
    assert "flatten by ana: test" in words(output)
    position = run_json("explain", "BTCUSDT", "--journal", journal)
    assert (position["state"], position["exit_purpose"]) == ("closed", "flatten")


def test_what_capped_the_size_is_named(tmp_path: Path) -> None:
    """One symbol may take 2 %, the method asked for 7.5."""
    pipeline = RecordedPipeline(MAX_POSITION_PCT="0.02")
    pipeline.quote("50000")
    pipeline.buy("50000")
    journal = str(write(tmp_path, pipeline.entries))

    _, output = run("explain", approved(pipeline).event_id, "--journal", journal)

    assert "capped by position_limits to 0.0398" in words(output)


def test_a_rejected_order_is_not_filled(tmp_path: Path) -> None:
    """Execution was frozen by the operator while the order was on its way."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.risk.away_from = frozenset({"control"})
    pipeline.command("halt", details={"freeze": True})
    pipeline.buy("50000")
    journal = str(write(tmp_path, pipeline.entries))

    story = run_json("explain", pipeline.the(Order).order_id, "--journal", journal)
    _, output = run("explain", pipeline.the(Order).order_id, "--journal", journal)
    _, tree = run("trace", pipeline.the(Order).order_id, "--journal", journal)

    assert story["verdict"] == "rejected"
    assert "Sent but not filled, rejected: TRADING_STATE" in words(output)
    assert "REJECTED: TRADING_STATE" in words(tree)


def test_the_tree_of_an_alert_and_of_a_command(tmp_path: Path) -> None:
    """A halt is followed by the state and its alert."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    halt = pipeline.command("halt")[0]
    journal = str(write(tmp_path, pipeline.entries))

    code, output = run("trace", halt.event_id, "--journal", journal)
    _, alert = run("explain", pipeline.the(Alert).event_id, "--journal", journal)

    assert code == 0
    assert "halt by ana: test" in words(output)
    assert "TRADING_HALTED" in words(output)
    assert "Alert WARNING TRADING_HALTED" in words(alert)


def test_an_open_position_is_the_story_of_its_entry(bought: RecordedPipeline, journal: str) -> None:
    """Held, entry price, mark, open result and stop; `mexc_spot:` may be left out."""
    for name in ("BTCUSDT", "mexc_spot:BTCUSDT", "btc/usdt"):
        position = run_json("explain", name, "--journal", journal)
        assert (position["kind"], position["state"], position["direction"]) == ("position", "open", "long")
    assert position["quantity"] > 0
    assert position["stop_price"] == pytest.approx(position["entry_price"] * 0.98)
    assert position["entry"]["verdict"] == "filled"
    assert position["exit"] is None
    code, output = run("explain", "BTCUSDT", "--journal", journal, columns=80)
    assert code == 0
    assert "stop loss" in words(output)


def test_a_closed_position_says_what_it_came_to(tmp_path: Path) -> None:
    """A stop ends it: net is the price result less fees, and the story of the exit says which quote it was."""
    pipeline = RecordedPipeline()
    pipeline.quote("50000")
    pipeline.buy("50000")
    pipeline.seconds(30)
    pipeline.quote("48900")
    pipeline.quote("48900")
    journal = str(write(tmp_path, pipeline.entries))

    position = run_json("explain", "BTCUSDT", "--journal", journal)
    code, output = run("explain", "BTCUSDT", "--journal", journal, columns=80)

    assert (position["state"], position["exit_purpose"]) == ("closed", "stop_loss")
    assert position["net"] == pytest.approx(position["gross"] - position["fees"])
    assert position["exit"]["decisions"][0]["decision"]["purpose"] == "stop_loss"
    assert "it lay at" in words(output)
    assert code == 0


def test_a_symbol_that_was_never_traded_is_no_position(journal: str) -> None:
    """Exit code 1, and what is missing is said."""
    code, output = run("explain", "ETHUSDT", "--journal", journal)

    assert code == 1
    assert "nothing of ETHUSDT was filled" in words(output)


def test_trace_prints_each_event_under_its_cause(bought: RecordedPipeline, journal: str) -> None:
    """Signal, then decision and order, then what execution answered; any id of the chain leads there."""
    order = bought.the(Order)

    tree = run_json("trace", order.order_id, "--journal", journal)
    code, output = run("trace", order.order_id[:12], "--journal", journal, columns=80)

    (root,) = tree["roots"]
    assert root["event"]["type"] == "signal"
    assert [child["event"]["type"] for child in root["children"]] == ["risk_decision", "order"]
    assert [child["event"]["status"] for child in root["children"][1]["children"]] == ["NEW", "FILLED"]
    assert code == 0
    assert "└── " in output


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Exit code 2, as every command on a history."""
    code, _ = run("explain", "abcdef", "--journal", str(tmp_path / "none.zst"))

    assert code == 2
