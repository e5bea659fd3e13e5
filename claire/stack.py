"""The embedded stack: servers and services on one data folder, started, looked after and stopped together."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import redis
from pydantic import BaseModel

from claire.data_folder import DataFolder
from claire.embedded import EmbeddedServerFailed
from claire.probe import read_json
from claire.supervisor import Supervisor
from services.common import channels
from services.common.errors import ClaireError, JournalClosed, SettingsInvalid
from services.common.journal.client import JournalClient
from services.common.runtime.lifecycle import DEFAULT_PORTS
from services.common.settings import Infrastructure, load_settings

__all__ = ["PortTaken", "Stack", "StackOptions", "check_settings", "known_settings"]

SERVER_DELAY_SEC = 0.2
_OURS = ("REDIS_", "POSTGRES_")


class PortTaken(ClaireError):
    """A port of a service is in use by another program."""


@dataclass(frozen=True)
class StackOptions:
    """How to start.

    Attributes:
        settings: environment variables of the services, by name.
        first_port: HTTP port of cdb_ws; the others follow (core + 1, risk + 2, execution + 3, writer + 4,
            notifier + 5).
        redis_port: let Valkey listen on 127.0.0.1 at this port; None: on a UNIX socket only.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    first_port: int = DEFAULT_PORTS[channels.WS]
    redis_port: int | None = None
    maxmemory: str = "512mb"


def settings_models() -> dict[str, tuple[type[BaseModel], ...]]:
    """Return the settings models of each service."""
    from services.cdb_core.settings import CoreSettings
    from services.cdb_execution.adapters.keys import MexcAddresses
    from services.cdb_execution.settings import ExchangeAccess, ExecutionSettings
    from services.cdb_notifier.settings import NotifierSettings
    from services.cdb_risk.settings import RiskSettings
    from services.cdb_writer.settings import WriterSettings, WriterShellSettings
    from services.cdb_ws.live_settings import LiveSettings
    from services.cdb_ws.settings import FeedSettings, PlaybackSettings

    return {
        channels.WS: (FeedSettings, PlaybackSettings, LiveSettings),
        channels.CORE: (CoreSettings,),
        channels.RISK: (RiskSettings,),
        channels.EXECUTION: (ExecutionSettings, ExchangeAccess, MexcAddresses),
        channels.WRITER: (WriterSettings, WriterShellSettings),
        channels.NOTIFIER: (NotifierSettings,),
    }


def known_settings() -> frozenset[str]:
    """Return every setting that some service reads."""
    return frozenset(name for model in _all_models() for name in model.model_fields)


def _all_models() -> list[type[BaseModel]]:
    return [Infrastructure, *(model for models in settings_models().values() for model in models)]


def check_settings(environ: Mapping[str, str]) -> None:
    """Read the settings of all services as they will.

    Raises:
        SettingsInvalid: every mistake of all of them at once.
    """
    mistakes: dict[str, None] = {}
    for model in _all_models():
        try:
            load_settings(model, environ)
        except SettingsInvalid as invalid:
            mistakes.update(dict.fromkeys(str(invalid).splitlines()))
    if mistakes:
        raise SettingsInvalid("\n".join(mistakes))


class Stack:
    """One running pipeline."""

    def __init__(self, options: StackOptions) -> None:
        """Prepare: the folder is made, nothing is started.

        Raises:
            EmbeddedServerFailed: there is no embedded stack on this system.
            SettingsInvalid: some setting is wrong.
            DataFolderUnusable: the data folder cannot be made.
        """
        self.folder = DataFolder(options.folder)
        self.redis = self.folder.redis(
            port=options.redis_port,
            maxmemory=options.maxmemory,
            live=options.settings.get("TRADING_MODE") == "live",
        )
        self.postgres = self.folder.postgres()
        self.ports = {service: options.first_port + number for number, service in enumerate(DEFAULT_PORTS)}
        self._settings = dict(options.settings)
        self._server_down_at: dict[str, float] = {}
        self._database: psycopg2.extensions.connection | None = None
        self._journal: JournalClient | None = None
        check_settings(self.environment(channels.WS))
        self.folder.make()
        self.supervisor = Supervisor(self.environment, self.folder.logs)

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of one service."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return {
            **inherited,
            "STATE_DIR": str(self.folder.state),
            **self._settings,
            **self.redis.environment,
            **self.postgres.environment,
            "HTTP_PORT": str(self.ports[service]),
            "SUPERVISOR_PID": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def infrastructure(self) -> Infrastructure:
        """The way to the servers, for reading along."""
        return load_settings(Infrastructure, {**self.redis.environment, **self.postgres.environment})

    def start(self, tell: Callable[[str], None]) -> None:
        """Take the folder, start servers and services.

        Raises:
            DataFolderInUse: another stack runs on the folder.
            PortTaken: a port is in use.
            EmbeddedServerFailed: a server did not start.
        """
        self.folder.acquire()
        self._check_ports()
        self.folder.note(first_port=self.ports[channels.WS], redis_port=self.redis.port)
        tell("starting Valkey and PostgreSQL")
        self.redis.start()
        self.postgres.start()
        tell("starting the services")
        self.supervisor.start()

    def _check_ports(self) -> None:
        for service, port in self.ports.items():
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise PortTaken(
                        f"port {port} of {service} is in use ({error.strerror}); stop what listens there "
                        "(perhaps another claire up or docker compose), or choose others with --first-port"
                    ) from error

    def look_after(self) -> list[str]:
        """Start again whatever has died; returns what happened, in words.

        Raises:
            ServiceFailed: a service cannot go on.
            EmbeddedServerFailed: a server does not start any more.
        """
        happened = []
        for server in (self.redis, self.postgres):
            if server.running:
                continue
            down_at = self._server_down_at.setdefault(server.name, time.monotonic())
            if time.monotonic() - down_at >= SERVER_DELAY_SEC:
                del self._server_down_at[server.name]
                server.start()
                happened.append(f"{server.name} had died and was started again")
        return happened + self.supervisor.look_after()

    # what is going on

    def query(self, work: Callable[[psycopg2.extensions.connection], Any]) -> Any:
        """Ask the database; None while it or its tables are not there."""
        from claire.stats import DatabaseNotReady

        try:
            if self._database is None:
                self._database = self.postgres.connect()
            return work(self._database)
        except (psycopg2.OperationalError, psycopg2.InterfaceError, DatabaseNotReady, psycopg2.errors.UndefinedTable):
            if self._database is not None:
                self._database.close()
                self._database = None
            return None

    def written(self) -> int | None:
        """Return the number of the last journal entry that is in PostgreSQL, None when it cannot be told."""

        def read(connection: psycopg2.extensions.connection) -> int | None:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT seq FROM event_store.cursor")
                row = cursor.fetchone()
                return None if row is None else int(row[0])

        result = self.query(read)
        return None if result is None else int(result)

    def head(self) -> int | None:
        """Return the number of the journal's last entry, None when it cannot be told."""
        if self._journal is None:
            self._journal = JournalClient(self.infrastructure, name="claire")
        try:
            head = self._journal.head()
        except (redis.RedisError, JournalClosed, OSError):
            return None
        return 0 if head is None else head.n

    def done_at(self) -> int | None:
        """Return the journal's head when the feed has ended and everybody has handled all up to it; otherwise None."""
        head = self.head()
        feed = (read_json(self.ports[channels.WS], "/status") or {}).get("feed")
        if head is None or not isinstance(feed, dict) or not feed.get("finished"):
            return None
        for service in channels.TURNSTILE_ORDER:
            status = read_json(self.ports[service], "/status") or {}
            journal = status.get("journal") or {}
            if not status.get("finished") or not journal.get("at_head") or journal.get("lag") != 0:
                return None
        return head if self.written() == head else None

    # the end

    def stop_services(self) -> list[str]:
        """Stop the services; returns those that had to be killed."""
        return self.supervisor.stop()

    def stop(self) -> None:
        """Stop everything and give the folder back; safe at any point."""
        self.stop_services()
        if self._database is not None:
            self._database.close()
            self._database = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        for server in (self.redis, self.postgres):
            try:
                server.stop()
            except (OSError, EmbeddedServerFailed):
                server.kill()
        self.folder.release()
