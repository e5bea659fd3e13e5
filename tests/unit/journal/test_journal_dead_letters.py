"""Dead letters must never take the memory that the journal needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.journal.dead_letters import MAX_DEAD_LETTERS, MAX_RAW_BYTES, MAX_REASON

pytestmark = [pytest.mark.unit, pytest.mark.security]

ROOT = Path(__file__).resolve().parents[3]


def test_a_full_quarantine_leaves_the_journal_its_memory() -> None:
    """However long somebody publishes garbage, it keeps under a fifth of the default memory of Redis.

    At 70 % the journal refuses market data: whoever could fill that much with letters would stop the trading.
    """
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert "${REDIS_MAXMEMORY:-512mb}" in compose

    largest = MAX_DEAD_LETTERS * (MAX_RAW_BYTES + 4 * MAX_REASON)

    assert largest < 512 * 1024 * 1024 / 5
