"""Transactions end where a publish ends, so that a lost tail of Redis never takes half of one with it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_writer.batching import last_boundary, whole_batches
from services.common.journal.entry import Entry, JournalId

pytestmark = pytest.mark.unit

LENGTHS = st.lists(st.integers(1, 9), max_size=12)


def _entries(lengths: list[int]) -> list[Entry]:
    """Publishes of so many events each, one cause after another."""
    causes = [str(cause) for cause, length in enumerate(lengths, 1) for _ in range(length)]
    return [Entry(JournalId(1, n), "orders", "cdb_risk", cause, b"{}") for n, cause in enumerate(causes, 1)]


def test_what_a_page_cuts_off_waits_for_the_rest() -> None:
    """Of two publishes of 2 and 3 events the second may go on behind the page: only the first is certain."""
    assert last_boundary(_entries([2, 3])) == 2
    assert last_boundary(_entries([3])) == 0
    assert last_boundary([]) == 0


def test_parts_are_cut_where_a_publish_ends() -> None:
    """Parts of about 3: [2] since the next would be cut, [3], and the one of 5 whole although it is longer."""
    parts = whole_batches(_entries([2, 3, 5, 1, 1]), 3)

    assert [[entry.id.n for entry in part] for part in parts] == [[1, 2], [3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]


@given(lengths=LENGTHS, size=st.integers(1, 12))
def test_no_part_splits_a_publish(lengths: list[int], size: int) -> None:
    """Together the parts are everything in order; no cause stands in two; only a single publish makes one longer."""
    entries = _entries(lengths)
    parts = list(whole_batches(entries, size))

    assert [entry for part in parts for entry in part] == entries
    assert all(part for part in parts)
    assert all(before[-1].cause != after[0].cause for before, after in pairwise(parts))
    assert all(len(part) <= size or len({entry.cause for entry in part}) == 1 for part in parts)
