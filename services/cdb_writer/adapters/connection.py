"""How the writer connects to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
from psycopg2.extensions import connection

from services.common.settings import Infrastructure

__all__ = ["Connect", "connector"]

Connect = Callable[[], connection]
"""Opens a new connection; raises psycopg2.OperationalError while the server is not there."""

OPTIONS = "-c synchronous_commit=on -c timezone=UTC -c client_encoding=UTF8 -c standard_conforming_strings=on"


def connector(infra: Infrastructure, *, name: str = "cdb_writer") -> Connect:
    """Return what opens connections to the configured database; a dead server is noticed within about 15 seconds."""

    def connect() -> connection:
        opened: connection = psycopg2.connect(
            **infra.postgres_address(),
            application_name=name,
            connect_timeout=5,
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=5,
            tcp_user_timeout=15_000,
            options=OPTIONS,
        )
        return opened

    return connect
