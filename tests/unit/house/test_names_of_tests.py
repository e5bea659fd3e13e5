"""Two test files of one name cannot be collected together: pytest imports each by its name alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[2]


def test_no_two_test_files_have_one_name() -> None:
    """Else the second one is an import error, and all of its tests are missing from `make test`."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))

    assert [name for name, times in names.items() if times > 1] == []
