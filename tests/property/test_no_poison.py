"""No market data that the contract admits can stop a machine: what cannot be true is refused, not choked on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claire.kernel import Kernel
from services.cdb_core.machine import CoreMachine
from services.cdb_core.settings import CoreSettings
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.machine import RiskMachine
from services.cdb_risk.settings import RiskSettings
from services.cdb_writer.recorder import ChainHead, Recorder
from services.common.channels import CORE, EXECUTION, RISK, WS
from services.common.events import Control, Event, MarketData
from services.common.journal.entry import Cause
from services.common.runtime.announcement import announcement
from services.common.settings import load_settings
from tests.property.effort import examples

pytestmark = pytest.mark.unit

START = 1_700_000_000_000_000 // 60_000_000 * 60_000_000
STRATEGY = {
    "SYMBOLS": "BTCUSDT,ETHUSDT",
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_COOLDOWN_MIN": "0",
    "SIGNAL_STOP_COOLDOWN_MIN": "0",
    "SIGNAL_MIN_VOLUME": "0",
}
BEGINNING: list[Event] = [
    Control(event_id="started", timestamp=START, producer=WS, action="started", service=WS, run_id="run"),
    *(
        event
        for service, model in ((CORE, CoreSettings), (RISK, RiskSettings), (EXECUTION, ExecutionSettings))
        for event in announcement(
            service,
            load_settings(model, STRATEGY),
            run_id="run",
            now=START,
            number=1,
            in_force=None,
            code_version="test",
        )
    ),
]

ordinary = st.integers(min_value=40_000, max_value=41_000).map(Decimal)
extreme = st.sampled_from(
    [Decimal(f"1e{exponent}") for exponent in (-18, -12, -9, -6, 0, 6, 9, 12, 15, 18, 24, 27)]
    + [Decimal(9999999999999999999999999999), Decimal("0.000000000000000001"), Decimal("1234567890.123456789012345678")]
)
number = st.one_of(ordinary, ordinary, extreme)


@st.composite
def recordings(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a short series of market data, ordinary and absurd, and now and then a tick."""
    rows = []
    for _ in range(draw(st.integers(min_value=1, max_value=12))):
        price, other = draw(number), draw(number)
        rows.append(
            {
                "after_sec": draw(st.sampled_from([0, 1, 30, 60, 61, 4_000])),
                "symbol": draw(st.sampled_from(["BTCUSDT", "BTCUSDT", "ETHUSDT", "PEPEUSDT"])),
                "price": price,
                "high": max(price, other),
                "low": min(price, other),
                "volume": draw(number),
                "bid": draw(st.none() | number),
                "ask": draw(st.none() | number),
                "bid_size": draw(st.none() | number),
                "ask_size": draw(st.none() | number),
            }
        )
    return rows


@given(rows=recordings())
@settings(max_examples=examples(30), deadline=None)
def test_absurd_market_data_stop_no_machine(rows: list[dict[str, Any]]) -> None:
    """Core, risk, execution and the writer's projection fold every admitted event without a fault."""
    events: list[Event] = list(BEGINNING)
    now = START
    for sequence, row in enumerate(rows):
        now += row["after_sec"] * 1_000_000
        fields = {name: value for name, value in row.items() if name != "after_sec"}
        try:
            events.append(
                MarketData(
                    event_id=f"m{sequence}", timestamp=now, producer=WS, venue="mexc_spot", sequence=sequence, **fields
                )
            )
        except ValueError:
            continue  # the contract refuses it: it goes to the dead letters and reaches no machine
    kernel = Kernel([CoreMachine(), RiskMachine(), ExecutionMachine()])

    entries = [
        entry
        for number, event in enumerate(events, 1)
        for entry in kernel.step(event.producer, Cause("feed", number), [event])
    ]
    batch = Recorder(ChainHead(), None).fold(entries)

    assert len(batch.events) == len(entries) >= len(events)
