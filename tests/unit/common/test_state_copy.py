"""A machine's twin: the same fold, and nothing shared that can change."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

from services.cdb_core.machine import CoreMachine
from services.common.frozen import FrozenObject
from services.common.state_copy import copy_state
from tests.unit.common.shared import shared

pytestmark = pytest.mark.unit


class Code(StrEnum):
    """What does not change."""

    GOOD = "good"


@dataclass
class Inner:
    """A part of a state."""

    numbers: list[Decimal]


@dataclass(frozen=True)
class Outer:
    """A state with everything that one may hold."""

    inner: Inner
    by_name: dict[str, Inner]
    last: deque[tuple[int, Decimal]] = field(default_factory=deque)
    told: FrozenObject = field(default_factory=FrozenObject)
    code: Code = Code.GOOD


class Pair(NamedTuple):
    """What a dump would not give back."""

    one: int


def state() -> Outer:
    """Return a state."""
    return Outer(Inner([Decimal("1.50")]), {"a": Inner([])}, deque([(1, Decimal(2))], maxlen=3), FrozenObject({"x": 1}))


def test_a_copy_is_equal_and_shares_nothing_that_can_change() -> None:
    """Containers and records are new ones, also inside of others; numbers, texts and frozen objects are the same."""
    there = state()
    here = copy_state(there)

    assert here == there
    assert here.last.maxlen == 3
    assert shared(here, there) == []
    assert here.told is there.told
    here.inner.numbers.append(Decimal(3))
    here.last.append((2, Decimal(1)))
    assert there == state()


@pytest.mark.parametrize("odd", [{1, 2}, object(), 1.5, Pair(1), bytearray(b"x")])
def test_what_has_no_place_in_a_state_is_refused(odd: Any) -> None:
    """Shared by mistake it could change under the machine: it is named instead."""
    with pytest.raises(TypeError, match=f"{type(odd).__name__} has no place in a state"):
        copy_state(Outer(Inner([odd]), {}))


def test_what_cannot_be_copied_goes_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose state holds something new has a twin all the same, restored from its bytes."""
    machine = CoreMachine()

    def refuse(_: Any) -> None:
        raise TypeError("Code has no place in a state")

    monkeypatch.setattr("services.common.machine.copy_state", refuse)
    assert machine.twin().dump() == machine.dump()


def test_a_machine_that_has_folded_nothing_has_a_twin() -> None:
    """Without settings and clock there are none to share."""
    machine = CoreMachine()
    assert machine.twin().dump() == machine.dump()
