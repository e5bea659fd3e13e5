"""`claire validate`: what the feed says at once has a number and an order, also under a new chain."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claire.audit.origin import Origins
from services.common import channels
from services.common.events import Control, MarketData
from services.common.identity import derive_id
from services.common.journal.entry import Cause, Entry, JournalId

pytestmark = pytest.mark.unit

T0 = 1_621_382_400_000_000


def said(n: int, number: int, symbol: str, at_us: int, *, sequence: int | None = None, gap: bool = False) -> Entry:
    """Return market data of the feed's batch `number` as journal entry n."""
    event = MarketData(
        event_id=f"{symbol}{at_us}", timestamp=T0 + at_us, producer=channels.WS, venue="mexc_spot", symbol=symbol,
        price=Decimal(40_000), volume=Decimal(1), high=Decimal(40_000), low=Decimal(40_000), bid=Decimal(39_999),
        ask=Decimal(40_001), bid_size=Decimal(1), ask_size=Decimal(1),
        sequence=number if sequence is None else sequence, gap=gap,
    )  # fmt: skip
    return Entry(JournalId(1, n), event.channel, event.producer, f"feed:{number}", event.data)


def ticked(n: int, number: int, pressure: str) -> Entry:
    """Return a tick of the clock as journal entry n."""
    event = Control(
        event_id=f"tick{n}", timestamp=T0 + n, producer=channels.WS, action="tick", service=channels.WS,
        details={"pressure": pressure},
    )  # fmt: skip
    return Entry(JournalId(1, n), event.channel, event.producer, f"feed:{number}", event.data)


def started(n: int, number: int, **fields: Any) -> Entry:
    """Return a start of cdb_ws as journal entry n."""
    event = Control(
        event_id=derive_id("run", channels.WS, "announce", number, 0), timestamp=T0 + n, producer=channels.WS,
        action="started", service=channels.WS, run_id="run", **fields,
    )  # fmt: skip
    return Entry(JournalId(1, n), event.channel, event.producer, f"announce:{number}", event.data)


def meanings(*entries: Entry) -> list[str]:
    """Return what is wrong with entries that follow each other."""
    origins = Origins()
    found = [origins.check(entry, Cause.parse(entry.cause)) for entry in entries]
    return [difference.meaning for difference in found if difference is not None]


def test_a_batch_by_time_and_then_by_symbol_is_right() -> None:
    """At equal times the symbol counts; another batch begins anew, as a recording played again does."""
    first = [said(1, 1, "BTCUSDT", 20), said(2, 1, "ETHUSDT", 20), said(3, 1, "ADAUSDT", 30)]
    assert meanings(*first, said(4, 2, "BTCUSDT", 10)) == []


@pytest.mark.parametrize("second", [("ETHUSDT", 10), ("ADAUSDT", 20)])
def test_two_of_one_batch_in_the_other_order_are_named(second: tuple[str, int]) -> None:
    """Earlier than the one before it, or at the same time and of an earlier symbol."""
    (meaning,) = meanings(said(1, 1, "BTCUSDT", 20), said(2, 1, *second))
    assert meaning.startswith("swapped")


def test_market_data_of_another_batch_are_named() -> None:
    """The sequence of the event is the number of its batch."""
    (meaning,) = meanings(said(1, 1, "BTCUSDT", 20, sequence=6))
    assert "number of their batch" in meaning


@pytest.mark.parametrize(("action", "right"), [("account", True), ("funding", True), ("liquidation", False)])
def test_what_execution_states_of_the_exchange_is_named_action_by_action(action: str, *, right: bool) -> None:
    """Snapshots of the account and fundings come from the exchange; whatever else has no cause is named."""
    event = Control(
        event_id=action, timestamp=T0, producer=channels.EXECUTION, action=action, service=channels.EXECUTION
    )
    found = meanings(Entry(JournalId(1, 1), event.channel, event.producer, "exchange:1", event.data))
    assert (found == []) == right


@pytest.mark.parametrize(
    "later", [said(2, 3, "BTCUSDT", 20), ticked(2, 3, "none"), started(2, 3)], ids=["data", "tick", "start"]
)
def test_a_batch_that_is_missing_is_named(later: Entry) -> None:
    """The feed and the starts of a process count without a gap, also under a new chain and new journal numbers."""
    first = started(1, 1) if later.cause.startswith("announce") else said(1, 1, "BTCUSDT", 10)
    (meaning,) = meanings(first, later)
    assert meaning.startswith("missing: cdb_ws says")


def test_what_the_journal_refused_for_want_of_memory_is_not_missing() -> None:
    """It is owed: the next market data are a gap, the next tick tells the pressure, or the process began anew."""
    first = said(1, 1, "BTCUSDT", 10)
    assert meanings(first, said(2, 3, "BTCUSDT", 20, gap=True)) == []
    assert meanings(first, ticked(2, 3, "market_data")) == []
    assert meanings(first, started(2, 1), ticked(3, 3, "none")) == []
    assert len(meanings(first, started(2, 1), ticked(3, 3, "none"), ticked(4, 5, "none"))) == 1


@pytest.mark.parametrize("name", ["correlation_id", "causation_id", "command_id", "by", "reason"])
def test_a_start_that_somebody_is_said_to_have_ordered_is_named(name: str) -> None:
    """An announcement has no cause, no chain and no operator."""
    assert meanings(started(1, 1)) == []
    (meaning,) = meanings(started(1, 1, **{name: "eve"}))
    assert meaning.startswith("nobody has told")
