"""`claire explain --why-not SYMBOL TIME`: each reason of the strategy, a refusal, and not being filled."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_core.evaluation import Reason
from services.cdb_core.settings import CoreSettings
from services.common import channels
from services.common.events import Control, MarketData
from services.common.timestamps import MINUTE_US, format_timestamp
from tests.unit.claire.pipeline_desk import START_US
from tests.unit.explain.recorded import RecordedPipeline, run, run_json, words, write

pytestmark = pytest.mark.unit

QUICK = {
    "SIGNAL_LOOKBACK_MIN": "2",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.01",
    "SIGNAL_MIN_VOLUME": "1000",
    "SIGNAL_COOLDOWN_MIN": "3",
    "SIGNAL_STOP_COOLDOWN_MIN": "9",
}


class Minutes(RecordedPipeline):
    """One quote a minute, ten seconds into it, then the tick that closes it."""

    def __init__(self, core: dict[str, str] | None = None, **risk: str) -> None:
        self._core = CoreSettings.model_validate(QUICK | (core or {}))
        super().__init__(**risk)

    def _core_settings(self) -> CoreSettings:
        return self._core

    def minute(self, price: str, *, volume: str = "9", gap: bool = False, symbol: str = "BTCUSDT") -> int:
        """Let a minute pass and return the time at which its bar closes."""
        begins = self.now // MINUTE_US * MINUTE_US
        self.now, mid = begins + 5_000_000, Decimal(price)
        self._feed(
            MarketData, venue="mexc_spot", symbol=symbol, price=mid, volume=Decimal(volume), high=mid, low=mid,
            bid=mid - 1, ask=mid + 1, bid_size=Decimal(100), ask_size=Decimal(100), sequence=self.number + 1, gap=gap,
        )  # fmt: skip
        self.now = begins + MINUTE_US
        self._feed(Control, action="tick", details={"pressure": "none"})
        return self.now

    def minutes(self, *prices: str, **fields: Any) -> int:
        """Let one minute pass for each price."""
        for price in prices:
            closed = self.minute(price, **fields)
        return closed


def ask(pipeline: Minutes, folder: Path, at_us: int, *more: str, symbol: str = "BTCUSDT") -> dict[str, Any]:
    """Ask why there was no trade."""
    journal = str(write(folder, pipeline.entries))
    return run_json("explain", "--why-not", symbol, format_timestamp(at_us), "--journal", journal, *more)


def missing(found: dict[str, Any]) -> list[str]:
    """Return the conditions that did not hold."""
    return [condition["name"] for condition in found["conditions"] if not condition["met"]]


def test_under_the_threshold_says_how_far(tmp_path: Path) -> None:
    """Half a percent of one: 50 % of the way, and by how much it is short."""
    pipeline = Minutes()
    closed = pipeline.minutes("50000", "50000", "50250")

    found = ask(pipeline, tmp_path, closed)

    assert (found["verdict"], missing(found)) == ("no_signal", [Reason.BELOW_THRESHOLD])
    assert found["bar"]["way_pct"] == 50
    assert "m +0.50 % of T 1.00 %, 50 % of the way, 0.50 % short" in found["summary"]


def test_a_fall_is_no_part_of_the_way_to_a_purchase(tmp_path: Path) -> None:
    """Half a percent down on spot: one and a half are short of one percent up, not half of one."""
    pipeline = Minutes()

    found = ask(pipeline, tmp_path, pipeline.minutes("50000", "50000", "49750"))

    assert missing(found) == [Reason.BELOW_THRESHOLD, Reason.SHORT_NOT_ALLOWED]
    assert "m -0.50 % of T 1.00 %, in the wrong direction, 1.50 % short" in found["summary"]
    assert "of the way" not in found["summary"]
    assert found["bar"]["way_pct"] == 0
    deep = ask(pipeline, tmp_path, pipeline.minutes("49000"))
    assert missing(deep) == [Reason.SHORT_NOT_ALLOWED]
    told = {condition["name"]: condition["detail"] for condition in deep["conditions"]}[Reason.BELOW_THRESHOLD]
    assert told == "m -2.00 % of T 1.00 %, in the wrong direction, T is the floor"


def test_a_time_long_after_the_last_bar_says_so(tmp_path: Path) -> None:
    """The history ended two hours before: the answer is of the last bar, and no bar has closed since."""
    pipeline = Minutes()
    closed = pipeline.minutes("50000", "50000", "50250")

    assert not ask(pipeline, tmp_path, closed + MINUTE_US)["summary"].startswith("No bar had closed")
    late = ask(pipeline, tmp_path, closed + 125 * MINUTE_US)["summary"]

    assert late.startswith("No bar had closed for 2 h 5 min by then; of the last one: No signal: m +0.50 %")


def test_the_bar_at_or_before_the_time_is_looked_at(tmp_path: Path) -> None:
    """Half a minute later it is still the bar that closed then, also when the history goes on."""
    pipeline = Minutes()
    closed = pipeline.minutes("50000", "50000", "50250")
    pipeline.minutes("50260", "50270")

    found = ask(pipeline, tmp_path, closed + MINUTE_US // 2)

    assert found["bar"]["close_time"] == format_timestamp(closed)


def test_warming_up_says_how_many_bars_are_missing(tmp_path: Path) -> None:
    """Momentum over two minutes needs three closes."""
    pipeline = Minutes()

    found = ask(pipeline, tmp_path, pipeline.minute("50000"))

    assert Reason.WARMING_UP in missing(found)
    assert "2 bars more needed" in found["summary"]


def test_too_little_volume(tmp_path: Path) -> None:
    """Far enough, but nobody traded."""
    pipeline = Minutes()

    found = ask(pipeline, tmp_path, pipeline.minutes("50000", "50000", "51000", volume="0.001"))

    assert missing(found) == [Reason.VOLUME]
    assert "needed 1,000.00 USDT" in found["summary"]


def test_falling_momentum_is_not_sold_short_on_spot(tmp_path: Path) -> None:
    """|m| over T downwards is no entry."""
    pipeline = Minutes()

    found = ask(pipeline, tmp_path, pipeline.minutes("50000", "50000", "49000"))

    assert missing(found) == [Reason.SHORT_NOT_ALLOWED]


def test_a_gap_waits_for_clean_minutes(tmp_path: Path) -> None:
    """The feed lost messages in the last minute."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000")

    found = ask(pipeline, tmp_path, pipeline.minute("51000", gap=True))

    assert missing(found) == [Reason.GAP]
    assert "2 clean minutes of" in found["summary"]


def test_holding_its_position_the_strategy_enters_only_when_flat(tmp_path: Path) -> None:
    """And what became of the signal that opened it is told beside."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000", "51000")

    found = ask(pipeline, tmp_path, pipeline.minutes("51000"))

    assert missing(found) == [Reason.IN_POSITION]
    assert found["earlier"]["verdict"] == "filled"


def test_cooldown_and_arming_after_an_exit(tmp_path: Path) -> None:
    """Out by fading momentum, then up again at once: too soon, and not re-armed."""
    pipeline = Minutes(core={"SIGNAL_EXIT_PCT": "0.009", "SIGNAL_REARM_FRACTION": "0.1"})
    pipeline.minutes("50000", "50000", "51000", "51200", "51450")

    found = ask(pipeline, tmp_path, pipeline.minutes("52000"))

    assert found["bar"]["action"] == "none"
    assert missing(found) == [Reason.NOT_ARMED]
    assert "not re-armed since the last entry" in found["summary"]

    cooling = Minutes(core={"SIGNAL_EXIT_PCT": "0.009", "SIGNAL_REARM_FRACTION": "1", "SIGNAL_COOLDOWN_MIN": "9"})
    cooling.minutes("50000", "50000", "51000", "51200", "51450")
    found = ask(cooling, tmp_path, cooling.minutes("52000"))
    assert missing(found) == [Reason.COOLDOWN]
    assert "cooling down for 6 more min" in found["summary"]


def test_an_exit_at_this_bar_is_said(tmp_path: Path) -> None:
    """The bar that ends a position cannot begin one."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000", "51000", "50900")

    found = ask(pipeline, tmp_path, pipeline.minutes("50000"))

    assert found["verdict"] == "exit_signal"
    assert run_screen(pipeline, tmp_path, pipeline.now)


def run_screen(pipeline: Minutes, folder: Path, at_us: int) -> str:
    """Return what a person sees on 80 columns."""
    journal = str(write(folder, pipeline.entries))
    code, output = run("explain", "--why-not", "BTCUSDT", format_timestamp(at_us), "--journal", journal, columns=80)
    assert code == 0, output
    assert max(map(len, output.splitlines())) <= 80
    return words(output)


def test_a_refused_signal_names_the_layer(tmp_path: Path) -> None:
    """The signal came, and one symbol may not take more than nothing."""
    pipeline = Minutes(MAX_POSITION_PCT="0")

    closed = pipeline.minutes("50000", "50000", "51000")
    found = ask(pipeline, tmp_path, closed)

    assert found["verdict"] == "refused"
    assert found["summary"] == "A signal was given, and risk refused it."
    assert "position_limits (POSITION_LIMIT)" in found["signal"]["summary"]
    assert "POSITION_LIMIT" in run_screen(pipeline, tmp_path, closed)


def test_an_order_that_was_not_filled_names_the_rule(tmp_path: Path) -> None:
    """The signal became an order, and no quote came after it."""
    pipeline = Minutes()
    closed = pipeline.minutes("50000", "50000", "51000")
    pipeline.seconds(12)

    found = ask(pipeline, tmp_path, closed)

    assert found["verdict"] == "expired"
    assert "NO_QUOTE" in found["signal"]["summary"]


def test_a_signal_by_hand_counts_too(tmp_path: Path) -> None:
    """What a trader published within the minute is explained like the strategy's own."""
    pipeline = Minutes(MAX_POSITION_PCT="0")
    pipeline.minutes("50000", "50000")
    pipeline.buy("50000")

    found = ask(pipeline, tmp_path, pipeline.now)

    assert found["verdict"] == "refused"


def test_the_shape_of_the_json_is_stable(tmp_path: Path) -> None:
    """Scripts rely on these keys."""
    pipeline = Minutes()

    found = ask(pipeline, tmp_path, pipeline.minutes("50000", "50000", "50250"))

    assert set(found) == {
        "kind", "instrument", "asked", "verdict", "summary", "bar", "conditions", "signal", "earlier",
    }  # fmt: skip
    assert set(found["conditions"][0]) == {"name", "met", "detail"}


def test_before_the_first_bar_and_without_market_data(tmp_path: Path) -> None:
    """No bar had closed; an instrument that is not in the history is refused with those that are."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000")

    assert ask(pipeline, tmp_path, START_US + 15_000_000)["verdict"] == "no_bar"
    journal = str(write(tmp_path, pipeline.entries))
    code, output = run("explain", "--why-not", "ETHUSDT", "2021-05-19T12:01", "--journal", journal)
    assert code == 1
    assert "there are BTCUSDT" in words(output)


def test_if_a_lower_threshold_had_been_in_force(tmp_path: Path) -> None:
    """At 0.4 % instead of 1 % the bar would have given a signal; at 0.8 % not."""
    pipeline = Minutes()
    closed = pipeline.minutes("50000", "50000", "50250")

    for value, given in (("0.004", True), ("0.008", False)):
        for more in ((), ("--from-start",)):
            found = ask(pipeline, tmp_path, closed, "--if", f"SIGNAL_THRESHOLD_PCT={value}", *more)
            assert found["if"]["signal_given"] is given
    journal = str(write(tmp_path, pipeline.entries))
    _, output = run(
        "explain", "--why-not", "BTCUSDT", format_timestamp(closed), "--if", "SIGNAL_THRESHOLD_PCT=0.004",
        "--journal", journal,
    )  # fmt: skip
    assert "an entry signal would be given" in words(output)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--why-not", "XX", "2021-05-19"], "an instrument is meant"),
        (["--why-not", "BTCUSDT", "noon"], "a day or a time in UTC is meant"),
        ([], "give an ID"),
        (["abcd", "--why-not", "BTCUSDT", "2021-05-19"], "give an ID"),
        (["abcd", "--from-start"], "belongs to --if"),
        (["--why-not", "BTCUSDT", "2021-05-19T12:02", "--if", "STOP_LOSS_PCT=0.1"], "the strategy does not read"),
        (["--why-not", "BTCUSDT", "2021-05-19T12:02", "--if", "SIGNAL_TRESHOLD_PCT=0.1"], "SIGNAL_THRESHOLD_PCT"),
        (["--why-not", "BTCUSDT", "2021-05-19T12:02", "--if", "SIGNAL_THRESHOLD_PCT=5"], "SIGNAL_THRESHOLD_PCT"),
        (["--why-not", "BTCUSDT", "2021-05-19T12:02", "--if", "SIGNAL_THRESHOLD_PCT"], "NAME=VALUE is meant"),
    ],
)
def test_wrong_use_is_refused_with_the_fix(arguments: Iterable[str], text: str, tmp_path: Path) -> None:
    """Exit code 2."""
    pipeline = Minutes()
    pipeline.minutes("50000", "50000")
    journal = str(write(tmp_path, pipeline.entries))

    code, output = run("explain", *arguments, "--journal", journal)

    assert code == 2
    assert text in words(output)


def test_the_core_of_these_tests_is_configured() -> None:
    """The test's own settings are in force."""
    assert channels.CORE in {entry.producer for entry in Minutes().entries}
