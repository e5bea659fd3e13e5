"""What all tests of execution have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture(autouse=True)
def retries_without_waiting() -> Iterator[None]:
    """Retry as often as meant, without the time between."""
    with stamina.set_testing(True, attempts=3):
        yield
