"""Virtual round trips: core's intents from entry to exit, net of fees, whatever risk made of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.virtual_trips import VirtualTrips
from services.common.events import Signal

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def give(
    record: VirtualTrips, intent: str, signal_type: str, price: str, *, symbol: str = "BTCUSDT", fee: str = "0.0005"
) -> None:
    """Let a record of at most 40 trips see one signal."""
    given: dict[str, Any] = {
        "event_id": "s", "timestamp": 1_621_425_600_000_000, "producer": "cdb_core", "venue": "mexc_spot",
        "symbol": symbol, "signal_type": signal_type, "intent": intent, "price": Decimal(price), "confidence": 1,
    }  # fmt: skip
    record.add(Signal.model_validate(given), Decimal(fee), 40)


def test_a_long_round_trip_pays_both_fees() -> None:
    """100 to 102: + 2 %, less 5 bp of 1 and 5 bp of 1.02."""
    record = VirtualTrips()
    give(record, "entry", "buy", "100")
    give(record, "exit", "sell", "102")

    assert list(record.nets_e12) == [20_000_000_000 - 500_000_000 - 510_000_000]
    assert record.open == {}


def test_a_short_round_trip_wins_when_the_price_falls() -> None:
    """100 to 98: + 2 %, less 5 bp of 1 and 5 bp of 0.98."""
    record = VirtualTrips()
    give(record, "entry", "sell", "100")
    give(record, "exit", "buy", "98")

    assert list(record.nets_e12) == [20_000_000_000 - 500_000_000 - 490_000_000]


def test_an_exit_without_its_entry_tells_nothing() -> None:
    """Neither does one against the other direction, nor of another symbol."""
    record = VirtualTrips()
    give(record, "exit", "sell", "102")
    give(record, "entry", "buy", "100")
    give(record, "exit", "buy", "102")
    give(record, "exit", "sell", "102", symbol="ETHUSDT")

    assert list(record.nets_e12) == []
    assert record.open["mexc_spot:BTCUSDT"].price == 100


def test_an_implausible_price_ends_the_trip_without_a_result() -> None:
    """What cannot be a price is neither an entry nor an exit."""
    record = VirtualTrips()
    give(record, "entry", "buy", "100")
    give(record, "exit", "sell", "1" + "0" * 12)
    give(record, "exit", "sell", "102")

    assert (list(record.nets_e12), record.open) == ([], {})


def play(record: VirtualTrips, exits: list[str]) -> None:
    """Round trips of longs from 100."""
    for price in exits:
        give(record, "entry", "buy", "100")
        give(record, "exit", "sell", price)


def test_statistics_begin_with_thirty_round_trips() -> None:
    """29 are not enough; 12 wins of + 1.8991 % and 18 losses of - 1.0995 % are a win rate of 0.4."""
    record = VirtualTrips()
    play(record, ["102"] * 12 + ["99"] * 17)
    assert record.statistics().win_rate is None
    assert (record.statistics().seen, record.statistics().needed) == (29, 30)

    play(record, ["99"])
    statistics = record.statistics()

    assert statistics.win_rate == Decimal("0.4")
    assert statistics.avg_win == Decimal("0.01899")
    assert statistics.avg_loss == Decimal("0.010995")
    assert statistics.seen == 30


def test_a_trip_that_only_earns_its_fees_is_no_win() -> None:
    """Net zero or less counts among the losses; without any win there is no mean win."""
    record = VirtualTrips()
    play(record, ["100"] * 30)

    statistics = record.statistics()

    assert (statistics.win_rate, statistics.avg_win, statistics.avg_loss) == (0, None, Decimal("0.001"))


def test_a_trip_that_comes_out_exactly_even_counts_among_the_losses() -> None:
    """Without fees, 100 to 100 is a loss of zero, not a win."""
    record = VirtualTrips()
    for _ in range(30):
        give(record, "entry", "buy", "100", fee="0")
        give(record, "exit", "sell", "100", fee="0")

    statistics = record.statistics()

    assert (statistics.win_rate, statistics.avg_win, statistics.avg_loss) == (0, None, 0)


def test_old_round_trips_are_forgotten() -> None:
    """With room for 40, the 41st lets the first go."""
    record = VirtualTrips()
    play(record, ["99"] + ["102"] * 40)

    assert record.statistics().win_rate == 1
    assert record.statistics().seen == 40
    assert record.statistics().avg_loss is None
