"""Alembic's entry: runs the migrations on the connection that `adapters.schema` hands in."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table="schema_version",
    version_table_schema="event_store",
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
