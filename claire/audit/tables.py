"""The five tables of a database compared with the fold of its events, row by row and column by column."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from psycopg2.extensions import connection

from claire.audit.difference import Difference, shown
from services.cdb_writer.envelope import Envelope
from services.cdb_writer.projection import Projection
from services.cdb_writer.rows import TABLES, Row
from services.common.journal.entry import Entry

__all__ = ["Tables"]

ROWS_A_PAGE: Final = 2_000
_JSON: Final = frozenset({"metadata"})
_ID: Final = {"signals": "signal_id", "orders": "order_id", "trades": "trade_id"}

Value = tuple[str | None, ...]


class Tables:
    """Folds entries into rows; at the end these are what stands in the database.

    Attributes:
        compared: rows that were equal, by table.
    """

    def __init__(self, database: connection) -> None:
        """Compare with what this connection sees."""
        self._database = database
        self._projection = Projection()
        self._rows: dict[str, dict[Value, Value]] = {table.table: {} for table in TABLES}
        self._folded = 0
        self.compared: Counter[str] = Counter()

    def fold(self, entry: Entry, envelope: Envelope | None = None) -> None:
        """Take one entry."""
        self._projection.fold(entry, envelope)
        self._folded += 1
        if self._folded % ROWS_A_PAGE == 0:
            self._take()

    def _take(self) -> None:
        for row in self._projection.take_rows():
            table = self._rows[row.table]
            columns = row.columns()
            values = tuple(_normal(name, value) for name, value in zip(columns, row.values(), strict=True))
            key = tuple(values[columns.index(name)] for name in row.key)
            if row.replaces or key not in table:
                table[key] = values

    def compare(self, n: int) -> Difference | None:
        """Return the first row that is not as the events say; `n` is the last event's number."""
        self._take()
        for table in TABLES:
            expected = self._rows[table.table]
            for values in self._stored(table):
                key = tuple(values[table.columns().index(name)] for name in table.key)
                derived = expected.pop(key, None)
                if derived is None:
                    return _difference(n, table, key, "row", "a row", "nothing", "added: no event says this")
                for name, ours, theirs in zip(table.columns(), values, derived, strict=True):
                    if ours != theirs:
                        return _difference(n, table, key, name, ours, theirs, "the row is not what its events say")
                self.compared[table.table] += 1
            for key in expected:
                return _difference(n, table, key, "row", "nothing", "a row", "missing: events say that it is there")
        return None

    def _stored(self, table: type[Row]) -> Iterator[Value]:
        columns = table.columns()
        chosen = ", ".join(f"{name}::text" if name in _JSON else name for name in columns)
        with self._database.cursor(name=f"claire_{table.table}") as cur:
            cur.itersize = ROWS_A_PAGE
            cur.execute(f"SELECT {chosen} FROM {table.table}")  # noqa: S608 -- our own names
            for row in cur:
                yield tuple(_normal(name, value) for name, value in zip(columns, row, strict=True))


def _difference(n: int, table: type[Row], key: Value, *what: Any) -> Difference:
    name, recorded, derived, meaning = what
    place = ", ".join(str(part) for part in key)
    event_id = key[0] if table.table in {"signals", "trades"} else None
    return Difference(
        "tables", n, event_id, f"{table.table} ({place}): {name}", shown(recorded), shown(derived), meaning
    )


def _normal(name: str, value: Any) -> str | None:
    """Return a column's value in one form, whether it comes from the database or from the fold."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    if name in _JSON:
        return json.dumps(_plain(json.loads(value, parse_float=Decimal)), sort_keys=True)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _normal("", value) if isinstance(value, Decimal) else value
