"""An event does not change after it was made: not by its maker, not by a reader, not by a copy."""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from services.common.codec import encode
from services.common.events import Control, OrderResult, Signal, parse_event
from services.common.frozen import FrozenList, FrozenObject, freeze

pytestmark = pytest.mark.unit

COMMON: dict[str, Any] = {"event_id": "e", "timestamp": 1_700_000_000_000_000, "producer": "cdb_core"}


def control(details: dict[str, Any]) -> Control:
    """Return a control event with these details."""
    return Control(action="started", details=details, **COMMON)


def test_what_its_maker_goes_on_changing_does_not_change_an_event() -> None:
    """A machine that emits a part of its state and then counts on in it has emitted what it was at that moment."""
    counts: dict[str, Any] = {"inner": {"n": 1}, "list": [1], "queue": deque([Decimal("1.5")])}
    event = control(counts)

    counts["inner"]["n"] = 2
    counts["list"].append(2)
    counts["more"] = {}

    assert event.details == {"inner": {"n": 1}, "list": [1], "queue": [Decimal("1.5")]}
    assert event.data.endswith(b'"details":{"inner":{"n":1},"list":[1],"queue":[1.5]}}')


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("inner"),
        lambda d: d.update(a=1),
        lambda d: d.pop("inner"),
        lambda d: d.popitem(),
        lambda d: d.setdefault("a", 1),
        lambda d: d.clear(),
        lambda d: d.__ior__({"a": 1}),
        lambda d: d["inner"].__setitem__("n", 2),
        lambda d: d["list"].append(2),
        lambda d: d["list"].__setitem__(0, 2),
        lambda d: d["list"].__iadd__([2]),
        lambda d: d["list"].sort(),
        lambda d: d["list"][0].update(a=1),
    ],
)
@pytest.mark.parametrize("read", [False, True], ids=["made", "read"])
def test_a_reader_cannot_change_an_event(change: Callable[[Any], Any], read: bool) -> None:
    """Each way of changing a free-form object is refused, also deep inside, in made events and in read ones."""
    event = control({"inner": {"n": 1}, "list": [{"b": 1}]})
    if read:
        event = parse_event("control", event.data)  # type: ignore[assignment]
    before = copy.deepcopy(event.data)

    with pytest.raises(TypeError, match="does not change"):
        change(event.details)

    assert event.model_copy().data == before


def test_every_free_form_field_is_frozen_also_when_it_was_not_given() -> None:
    """Defaults and nullable free-form fields are no way around."""
    signal = Signal(
        venue="mexc_spot", symbol="BTCUSDT", signal_type="buy", intent="entry", price=Decimal(1), confidence=1, **COMMON
    )
    result = OrderResult(
        order_id="o", client_order_id="c", status="NEW", venue="mexc_spot", symbol="BTCUSDT", side="BUY",
        quantity=Decimal(1), filled_quantity=Decimal(0), fill={"rule": "touch"}, **COMMON,
    )  # fmt: skip

    assert isinstance(signal.inputs, FrozenObject)
    assert isinstance(result.fill, FrozenObject)
    assert isinstance(parse_event("signals", signal.data).inputs, FrozenObject)  # type: ignore[attr-defined]


def test_frozen_values_are_read_copied_and_written_like_plain_ones() -> None:
    """They equal plain containers, give the same bytes, survive pickle, and their plain copies can be changed."""

    @dataclass
    class Counter:
        n: int = 1

    plain: dict[str, Any] = {"b": [1, {"c": Decimal("0.10")}], "a": (1, [2]), "d": Counter()}
    frozen = freeze(plain)

    assert encode(frozen) == encode(plain) == b'{"a":[1,[2]],"b":[1,{"c":0.1}],"d":{"n":1}}'
    assert frozen["b"] == plain["b"]
    assert isinstance(frozen["b"], FrozenList)
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert isinstance(pickle.loads(pickle.dumps(frozen["b"])), FrozenList)
    assert copy.copy(frozen) is copy.deepcopy(frozen) is frozen
    changed = dict(frozen)
    changed["a"] = 0
    assert frozen["a"] == (1, [2])
