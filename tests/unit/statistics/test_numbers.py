"""Numbers of things and ages as a person reads them."""

from __future__ import annotations

import pytest

from claire.statistics.numbers import age, counted


def test_one_thing_is_no_plural() -> None:
    """Also where the plural is more than an s."""
    assert [counted(number, "entry", "entries") for number in (0, 1, 2_000)] == [
        "0 entries",
        "1 entry",
        "2,000 entries",
    ]
    assert [counted(number, "order") for number in (1, 2)] == ["1 order", "2 orders"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (300, "5 minutes"), (5_400, "90 minutes"),
     (30 * 3_600, "30 hours"), (3 * 86_400, "3 days")],
)  # fmt: skip
def test_an_age_is_told_in_a_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    """Five minutes are not 0 hours."""
    assert age(seconds) == said
