"""The short way of making records: whatever it is given, it ends as pydantic's own way does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from services.common.decimals import format_number
from services.common.errors import ClaireError, NumberOutOfContract
from services.common.events import Control, Event, LayerVerdict, OrderResult
from tests.property.effort import examples

pytestmark = pytest.mark.unit

ODD_NUMBERS = st.sampled_from(
    [Decimal(text) for text in ("NaN", "-Infinity", "-0", "0E-12", "1E-7", "1E+5", "0.1234567890123456789", "1" * 29)]
)
NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12), ODD_NUMBERS
)
ANYTHING = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.integers(-5, 10**17),
    st.floats(allow_nan=True),
    st.text(max_size=70),
    st.sampled_from(["BTC_USDT", "x\n", "", "\ud800", "BUY"]),
    st.dictionaries(st.text(max_size=3), st.one_of(NUMBERS, st.lists(st.integers(), max_size=2)), max_size=2),
)

GOOD: dict[type[BaseModel], dict[str, Any]] = {
    LayerVerdict: {"layer": "data_quality", "code": "OK", "status": "pass", "value": Decimal("1.50")},
    OrderResult: {
        "event_id": "e", "timestamp": 1_700_000_000_000_000, "producer": "cdb_execution", "order_id": "o",
        "client_order_id": "c", "status": "NEW", "venue": "mexc_spot", "symbol": "BTCUSDT", "side": "BUY",
        "quantity": Decimal("0.5"), "filled_quantity": Decimal(0),
    },
    Control: {
        "event_id": "e", "timestamp": 1_700_000_000_000_000, "producer": "cdb_ws", "action": "tick",
        "details": {"pressure": "none"},
    },
}  # fmt: skip


def outcome(make: Any, fields: dict[str, Any]) -> Any:
    """Return the fields of what was made and its text, or that it was refused."""
    try:
        made = make(**fields)
    except (ValidationError, ClaireError, ArithmeticError):
        return "refused"
    values = {name: getattr(made, name) for name in type(made).model_fields}
    try:
        return {name: (type(value), value) for name, value in values.items()}, made.canonical_text()
    except ClaireError as refused:
        return values.keys(), type(refused)


@pytest.mark.parametrize("model", list(GOOD), ids=lambda model: model.__name__)
@settings(derandomize=True, max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_the_short_way_makes_or_refuses_what_pydantic_does(model: Any, data: st.DataObject) -> None:
    """Any field replaced, left out or added: the same record to the last type and byte, or the same refusal."""
    fields = dict(GOOD[model])
    name = data.draw(st.sampled_from([*model.model_fields, "unheard_of"]))
    if data.draw(st.booleans()):
        fields[name] = data.draw(ANYTHING)
    else:
        fields.pop(name, None)

    assert outcome(model.make, fields) == outcome(model, fields)


@pytest.mark.parametrize("model", list(GOOD), ids=lambda model: model.__name__)
def test_what_is_in_contract_takes_the_short_way(model: Any) -> None:
    """The fields that a machine gives are not validated by pydantic a second time, and the record is immutable."""
    assert model._check(GOOD[model]) is not None
    made = model.make(**GOOD[model])
    with pytest.raises(ValidationError):
        made.code = made.event_id = "other"


def test_a_made_event_does_not_change_with_its_maker() -> None:
    """What is in a free-form object when the event is made stays in it."""
    details: dict[str, Any] = {"list": [1]}
    made: Event = Control.make(**GOOD[Control] | {"details": details})
    details["list"].append(2)

    assert b'"list":[1]' in made.data


@settings(derandomize=True, max_examples=examples(300), deadline=None)
@given(NUMBERS)
def test_equal_numbers_have_one_text_on_the_short_way_too(number: Decimal) -> None:
    """The text keeps the value, equal numbers (with more zeros) have the same text, and limits hold."""
    try:
        text = format_number(number)
    except NumberOutOfContract:
        return
    assert Decimal(text) == number
    assert "E" not in text
    assert not text.startswith("-0.0") or number
    assert text.endswith(".0") or not text.endswith("0")
    padded = Decimal(str(number) + ("0" if "." in str(number) else ".0")) if "E" not in str(number) else number
    if len(padded.as_tuple().digits) <= 28:
        assert format_number(padded) == text
