"""Frees the stream of what the archive has and no service needs for its restart."""

from __future__ import annotations

from typing import Final

from services.common.channels import TURNSTILE_ORDER
from services.common.journal.client import JournalClient
from services.common.journal.entry import JournalId

__all__ = ["TRIM_MARGIN", "trim"]

TRIM_MARGIN: Final = 10_000


def trim(
    client: JournalClient,
    fence: int,
    writer_cursor: int | JournalId,
    margin: int = TRIM_MARGIN,
    *,
    services: tuple[str, ...] = TURNSTILE_ORDER,
) -> int:
    """Trim the stream up to the least of the writer's cursor and the services' durable snapshots, less a margin.

    A service without a durable snapshot holds everything. One call removes a bounded number of whole stream nodes;
    call it again when it removed any.

    Args:
        client: of the writer.
        fence: of the writer's lease.
        writer_cursor: up to where the archive is durable.
        margin: entries kept besides, so that catch-ups seldom need the archive.
        services: whose snapshots count.

    Returns:
        How many entries were removed.

    Raises:
        FenceLost, JournalClosed: as :meth:`JournalClient.publish`.
    """
    written = writer_cursor.n if isinstance(writer_cursor, JournalId) else writer_cursor
    return client.trim(fence, written, margin, services)
