"""The event store as a reader sees it: for the rare moment in which the stream no longer has what a fold needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg2.extensions import connection

from services.common.errors import JournalClosed, StoreError
from services.common.journal.archive import NO_STORE_YET, PostgresArchive

__all__ = ["ArchiveReader"]


class ArchiveReader(PostgresArchive):
    """Reads `event_store` and changes nothing there.

    An archive that cannot be reached, or has no tables yet, raises JournalClosed: the caller waits and tries again, as
    it does while Redis is away. Only an archive that answers, and does not have the events, is a hole.
    """

    def record_epoch(self, epoch: int, first_n: int) -> None:
        """Refuse: only the writer opens epochs.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"epoch {epoch} from {first_n}: only cdb_writer begins epochs")

    def _query(self, statement: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            return self._rows(statement, values)
        except ConnectionError as error:
            raise JournalClosed(f"the event store cannot be reached: {error}") from error
        except NO_STORE_YET as error:
            self.close()
            raise JournalClosed("the event store has no tables yet: cdb_writer has not run") from error

    def _connect(self) -> connection:
        opened = super()._connect()
        opened.set_session(readonly=True)
        return opened
