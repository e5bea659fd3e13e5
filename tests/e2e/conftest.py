"""The stack on real containers, its inspection, and a market that publishes what a trader's own source would.

The suite runs as a compose project of its own (`claire_de_binare_e2e`), so the volumes of a stack in daily use are
never touched; that stack is stopped meanwhile (names and ports are the same) and started again afterwards.

Without Docker every test here is skipped with the reason; with `CLAIRE_E2E_REQUIRED=1` (in CI) that is an error.
`CLAIRE_E2E_KEEP=1` leaves the stack running at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.market import Market
from tests.e2e.stack import EXTERNAL, Stack, docker_is_missing

STACKS_OF_THEIR_OWN = {"test_redis_postgres_integration.py", "test_same_tables_everywhere.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is e2e; what needs a stack of its own comes after all that share one."""
    for item in items:
        if "tests/e2e" in item.path.as_posix():
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.path.name in STACKS_OF_THEIR_OWN)


@pytest.fixture(scope="session")
def stack_manager() -> Iterator[Stack]:
    """The stack of this session; a module asks it for the profile that it needs."""
    reason = docker_is_missing()
    if reason is not None:
        pytest.skip(reason)
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="module")
def stack(stack_manager: Stack) -> Stack:
    """The stack with market data by PUBLISH, every container healthy."""
    stack_manager.ensure(EXTERNAL)
    return stack_manager


@pytest.fixture(scope="module")
def market(stack: Stack) -> Iterator[Market]:
    """Quotes of every symbol ten times a second, by plain PUBLISH."""
    with Market(stack) as market:
        yield market
