"""Market data are minted without validation from recordings only, and look exactly like validated ones."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from claire.paper.scenarios import SCENARIOS
from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.mint import Mint, Pressure
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import RecordedFeed
from services.common.channels import WS
from services.common.decimals import wire_form
from services.common.errors import ClaireError
from services.common.events import Control, MarketData, parse_event
from services.common.identity import derive_id

pytestmark = pytest.mark.unit

ROW = Observation(
    1_621_382_400_000_000,
    "BTCUSDT",
    Decimal(39095),
    Decimal("39095.50"),
    Decimal(39000),
    Decimal("1.50"),
    Decimal("39094.0"),
    Decimal(39096),
    Decimal(0),
    None,
)


def digits(event: MarketData) -> dict[str, str]:
    """Return every field with its digits, not only its value."""
    return {name: repr(value) for name, value in event.__dict__.items() if name != "data"}


def test_numbers_are_minted_as_they_come_back_from_the_wire() -> None:
    """An event and what its bytes decode to have the same digits, so that a text that shows them is the same."""
    (event,) = Mint("r", "mexc_spot").market_data([ROW], 1)
    assert isinstance(event, MarketData)
    decoded = parse_event(event.channel, event.data)
    assert isinstance(decoded, MarketData)
    assert digits(event) == digits(decoded)
    assert event == decoded
    assert set(event.__dict__) - {"data"} == set(MarketData.model_fields)


@pytest.mark.parametrize("pressure", ["none", "market_data", "entries"])
def test_a_tick_is_what_its_contract_makes_of_it(pressure: Pressure) -> None:
    """Ticks are minted without validation, too: field by field what validation gives, and their bytes say the same."""
    tick = Mint("r", "mexc_spot").tick(ROW.timestamp_us, pressure)
    made = Control.make(
        event_id=derive_id("r", WS, "tick", ROW.timestamp_us),
        timestamp=ROW.timestamp_us,
        producer=WS,
        action="tick",
        service=WS,
        details={"pressure": pressure},
    )
    assert list(tick.__dict__.items()) == list(made.__dict__.items())
    assert parse_event(tick.channel, tick.data) == tick == made


@pytest.mark.slow
@pytest.mark.parametrize("file", [*SCENARIOS["crash-2021-05-19"].inputs, SCENARIOS["ticks-2024-08-08"].inputs[1]])
def test_what_a_reader_gives_needs_no_looking_at(file: Path) -> None:
    """Minted with and without looking, the events of the bundled recordings are the same to the digit."""
    reader = Reader(("BTCUSDT", "ETHUSDT"), {"XBTUSD": "BTCUSDT"})
    feed = RecordedFeed(reader.sources([RecordedFile.inspect(file)]), max_hz=1, tick_us=60_000_000)
    exact, checked = Mint("r", "mexc_spot", exact=True), Mint("r", "mexc_spot")
    seen = 0
    for batch in feed:
        for fast, slow in zip(exact.events(batch), checked.events(batch), strict=True):
            if isinstance(fast, MarketData) and isinstance(slow, MarketData):
                assert digits(fast) == digits(slow)
                seen += 1
    assert seen > 300


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": Decimal(-1)},
        {"bid": Decimal(0)},
        {"volume": Decimal("-0.5")},
        {"ask_size": Decimal("NaN")},
        {"high": Decimal("1E+30")},
    ],
)
def test_numbers_that_no_market_has_are_refused(wrong: dict[str, Decimal]) -> None:
    """Whatever does not come from a reader of recordings is looked at."""
    with pytest.raises((ClaireError, ValueError)):
        Mint("r", "mexc_spot").market_data([replace(ROW, **wrong)], 1)


@pytest.mark.parametrize(
    ("given", "shown"),
    [("39095", "39095.0"), ("1.50", "1.5"), ("0", "0.0"), ("-0.0", "0.0"), ("0.1", "0.1"), ("1E+3", "1000.0")],
)
def test_the_wire_form_of_a_number(given: str, shown: str) -> None:
    """Always with a point, without needless zeros and without an exponent."""
    assert str(wire_form(Decimal(given))) == shown
