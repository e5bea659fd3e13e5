"""The JSON Schemas in the documentation are the contracts that the services really keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backoffice.scripts import make_schemas
from services.common.events import EVENT_BY_CHANNEL, Event, MarketData

pytestmark = pytest.mark.unit


def test_the_schemas_in_the_documentation_are_up_to_date() -> None:
    """Each file equals what the event definitions generate; `make schemas` writes them."""
    assert make_schemas.out_of_date() == []


def test_a_changed_a_missing_and_a_left_over_file_are_named(tmp_path: Path) -> None:
    """The check names what differs, what is missing and what belongs to no event."""
    for name, text in make_schemas.schema_texts().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "signal.schema.json").write_text("{}", encoding="utf-8")
    (tmp_path / "order.schema.json").unlink()
    (tmp_path / "portfolio.schema.json").write_text("{}", encoding="utf-8")

    assert make_schemas.out_of_date(tmp_path) == [
        "signal.schema.json",
        "order.schema.json",
        "portfolio.schema.json",
    ]


@pytest.mark.parametrize(("channel", "model"), sorted(EVENT_BY_CHANNEL.items()))
def test_every_field_is_described_and_required(channel: str, model: type[Event]) -> None:
    """A schema names its channel and its type, and requires each field that is always written."""
    schema = make_schemas.schema_of(channel, model)

    assert schema["x-channel"] == channel
    assert schema["properties"]["type"]["const"] == model.model_fields["type"].default
    assert list(schema["properties"]) == list(model.model_fields)
    assert schema["required"] == [name for name in model.model_fields if name not in {"bids", "asks"}]


def test_what_is_written_has_the_keys_of_the_schema_in_their_order() -> None:
    """The canonical bytes of an event carry exactly the schema's properties, in the schema's order."""
    event = MarketData.parse(
        {
            "event_id": "m1",
            "timestamp": "2024-08-08T09:00:00Z",
            "producer": "cdb_ws",
            "venue": "mexc_spot",
            "symbol": "BTCUSDT",
            "price": 50000,
            "high": 50000,
            "low": 50000,
            "sequence": 1,
        }
    )

    written = json.loads(event.data)

    assert list(written) == make_schemas.schema_of("market_data", MarketData)["required"]
    assert isinstance(written["timestamp"], str)
    assert isinstance(written["price"], float)
