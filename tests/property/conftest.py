"""Properties are searched without measuring coverage.

Tracing every line makes a search two and a half times as long and tells nothing: what a property covers depends on what
the search came by, so the lines have to be covered by tests that name them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder for pytest-cov."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.no_cover)
