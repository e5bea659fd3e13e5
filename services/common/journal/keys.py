"""Names of everything that the journal keeps in Redis."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUS",
    "BUS_OPEN",
    "CURSOR",
    "DEAD_LETTER",
    "DEAD_LETTER_COUNT",
    "DURABLE",
    "EPOCHS",
    "FENCE",
    "HIGH_WATER",
    "JOURNAL",
    "LAST_ID",
    "TURNSTILE",
    "lease_key",
]

JOURNAL: Final = "journal"
"""Stream: every event of every channel in one total order; fields `data`, `channel`, `producer`, `cause`."""

HIGH_WATER: Final = "hw"
"""Hash: `<producer>` (journal causes) or `<producer>/<source>` to the highest cause number published."""

CURSOR: Final = "cursor"
"""Hash: service to the journal number up to which it has handled everything."""

LAST_ID: Final = "last_id"
"""Hash: channel to the id of its last entry."""

FENCE: Final = "fence"
"""Hash: service to the highest fence ever given."""

DURABLE: Final = "durable"
"""Hash: service to the id of its newest snapshot that is safe on disk."""

EPOCHS: Final = "epochs"
"""Hash: epoch to the first journal number that belongs to it."""

BUS: Final = "bus"
"""Hash: `epoch`, `head` (journal number of the last entry), `memory` (level last seen), `run_id` (of the last run),
`seal` (drawn at each opening; see :mod:`services.common.journal.envelope`)."""

BUS_OPEN: Final = "bus:open"
"""String: run_id of the Redis server for which the bus was opened; another one means that Redis has restarted since."""

DEAD_LETTER: Final = "dead_letter"
"""Stream, capped, outside the audit trail: what was invalid or forbidden, and why."""

DEAD_LETTER_COUNT: Final = "dead_letter:count"
"""Hash: channel to the number of dead letters ever."""

TURNSTILE: Final = "turnstile"
"""Channel: `<service> <n>` wakes whoever waits for that service."""


def lease_key(service: str) -> str:
    """Return the key of a service's lease; its value is `<fence>:<holder>`."""
    return f"lease:{service}"
