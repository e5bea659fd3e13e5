"""What every service process has in its hands: settings, lock, lease, journal, HTTP and the word that it shall end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, TypeVar

import flask
import structlog
from pydantic import BaseModel, SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.errors import FenceLost, JournalClosed, SettingsInvalid
from services.common.journal.client import JournalClient
from services.common.journal.lease import Lease
from services.common.runtime.archive_reader import ArchiveReader
from services.common.runtime.backoff import Backoff
from services.common.runtime.build import code_version
from services.common.runtime.health import Check, Health, StatusBoard
from services.common.runtime.http import HttpServer, create_app
from services.common.runtime.metrics import Metrics
from services.common.runtime.run_clock import RunClock
from services.common.runtime.state_folder import StateFolder
from services.common.settings import Infrastructure, canonical_settings, load_settings, read_environment

__all__ = ["CONNECTION_LOST", "DEFAULT_PORTS", "ExitCode", "Lifecycle"]

SettingsT = TypeVar("SettingsT", bound=BaseModel)

DEFAULT_PORTS = {
    channels.WS: 8000,
    channels.CORE: 8001,
    channels.RISK: 8002,
    channels.EXECUTION: 8003,
    channels.WRITER: 8004,
    channels.NOTIFIER: 8005,
}

CONNECTION_LOST = (RedisConnectionError, RedisTimeoutError, OSError)
"""What Redis calls raise when the server is away: wait and try again."""

RENEW_SEC = 1.0
LAST_WORDS_SEC = 10.0


class ExitCode(IntEnum):
    """How a service process ended."""

    OK = 0
    SETTINGS = 2
    FAULT = 3
    NOT_ALONE = 4


class Lifecycle:
    """What a running service has in its hands.

    Attributes:
        service: its name.
        infra: where servers and files are.
        client: the journal, for the work loop's thread only.
        fence: the right to publish; every publication carries it.
        archive: the event store, read when the stream no longer has what is asked for; for the same thread.
        stop: set when the process shall end; every wait of the service waits on it.
        health, status, metrics: what HTTP shows.
        clock: what is known of the run (the service folds the entries that it reads into it).
        folder: the service's own folder (snapshots).
        redis_losses: how often Redis went away since the start.
        log: the logger.
    """

    def __init__(self, service: str, environ: Mapping[str, str], settings: tuple[type[BaseModel], ...] = ()) -> None:
        """Read all settings.

        Raises:
            SettingsInvalid: every mistake of every model at once.
        """
        self.service = service
        self.environ = dict(environ)
        self._settings = _load_all((Infrastructure, *settings), self.environ)
        self.infra: Infrastructure = self.settings_of(Infrastructure)
        self.stop = threading.Event()
        self.archive = ArchiveReader(self.infra)
        self.health = Health()
        self.status = StatusBoard()
        self.metrics = Metrics(service, code_version().partition("+")[0], code_version())
        self.clock = RunClock()
        self.folder = StateFolder(self.infra.STATE_DIR, service)
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger(service)
        self.redis_losses = 0
        self.failure: BaseException | None = None
        self._client: JournalClient | None = None
        self._lease: Lease | None = None
        self._fence: int | None = None
        self._http: HttpServer | None = None
        self._renewal: threading.Thread | None = None
        self._redis_failure: str | None = "not connected yet"
        self._lease_failure: str | None = "not acquired yet"
        self._working = True

    # what services use

    def settings_of(self, model: type[SettingsT]) -> SettingsT:
        """Return the settings of a model that the service named at the start."""
        found = self._settings[model]
        assert isinstance(found, model)
        return found

    @property
    def client(self) -> JournalClient:
        """The journal, for the work loop's thread only."""
        assert self._client is not None, "the client exists from open() on"
        return self._client

    def new_client(self) -> None:
        """Begin anew with the journal: the old client remembers what Redis has lost and rightly refuses to go on."""
        if self._client is not None:
            self._client.close()
        self._client = JournalClient(self.infra, name=self.service, archive=self.archive)

    @property
    def fence(self) -> int:
        """The right to publish."""
        assert self._fence is not None, "the fence exists from open() on"
        return self._fence

    @property
    def http_port(self) -> int:
        """The port that HTTP answers on."""
        return self._http.port if self._http is not None else self.infra.HTTP_PORT

    def check(self, name: str, callable_: Check) -> None:
        """Add a health check: None when all is well, else the reason. It must not block."""
        self.health.check(name, callable_)

    def beat(self) -> None:
        """Say that the work loop has come round (at least every second) and answer a waiting `/status`."""
        self.health.beat()
        self.status.refresh()

    def redis_lost(self, error: BaseException | str) -> None:
        """Say that Redis is away; `/health` says so until `redis_back`."""
        if self._redis_failure is None:
            self.redis_losses += 1
            self.metrics.reconnects.inc()
            self.log.warning("redis_lost", error=str(error))
        self._redis_failure = str(error)

    def redis_back(self) -> None:
        """Say that Redis answers."""
        if self._redis_failure is not None:
            self.log.info("redis_connected")
            self._redis_failure = None

    def fail(self, error: BaseException) -> None:
        """End the process because of something that happened in another thread than the work loop's."""
        if self.failure is None:
            self.failure = error
        self.stop.set()

    def retry_redis(self, action: Callable[[], Any]) -> Any:
        """Do something that needs Redis, waiting while it is away; None when the process shall stop instead."""
        backoff = Backoff(self.stop)
        while not self.stop.is_set():
            try:
                result = action()
            except (*CONNECTION_LOST, JournalClosed) as error:
                self.redis_lost(error)
                self.beat()
                backoff.wait()
            else:
                self.redis_back()
                return result
        return None

    # the frame

    def open(
        self,
        before_lease: Callable[[Lifecycle], None] | None = None,
        routes: Callable[[Lifecycle, flask.Flask], None] | None = None,
    ) -> None:
        """Lock the folder, begin to answer HTTP, reach Redis and take the lease.

        Args:
            before_lease: done before each attempt to take the lease; the writer opens the bus here.
            routes: adds what the service answers over HTTP besides health, status and metrics.

        Raises:
            LeaseHeld: another instance of this service is alive.
            PortInUse: the HTTP port is taken.
        """
        use_fixed_context()
        if self.environ.get("SUPERVISOR_PID"):
            threading.Thread(target=self._watch_supervisor, name="supervisor", daemon=True).start()
        self.folder.lock(self.stop)
        self._open_http(routes)
        self.check("redis", lambda: self._redis_failure)
        self.check("lease", lambda: self._lease_failure)
        self.status.add("code_version", code_version)
        self.status.add("infrastructure", lambda: _shown(self.infra))
        self.new_client()
        self._lease = Lease(self.infra)
        lease = self._lease

        def acquire() -> int:
            if before_lease is not None:
                before_lease(self)
            return lease.acquire(self.service, self.folder.holder)

        self._fence = self.retry_redis(acquire)
        if self._fence is None:
            return
        self._lease_failure = None
        self.log.info("lease_acquired", fence=self._fence, holder=self.folder.holder)
        self._renewal = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewal.start()

    def _open_http(self, routes: Callable[[Lifecycle, flask.Flask], None] | None) -> None:
        def before_scrape() -> None:
            self.metrics.look(self.clock, self.health, self.folder.path)

        app = create_app(self.service, self.health, self.status, self.metrics, before_scrape)
        if routes is not None:
            routes(self, app)
        port = self.infra.HTTP_PORT or DEFAULT_PORTS[self.service]
        self._http = HttpServer(app, self.infra.HTTP_HOST, port).start()

    def _renew(self) -> None:
        """Renew the lease each second; a lost one ends the process, by force when the work loop does not obey."""
        assert self._lease is not None
        while not self.stop.wait(RENEW_SEC):
            try:
                self._lease.renew()
            except CONNECTION_LOST as error:
                self._lease_failure = f"cannot be renewed: {error}"
            except JournalClosed:
                self._lease_failure = "the journal is not open"
            except FenceLost as lost:
                self._lease_failure = str(lost)
                self.log.critical("fence_lost", reason=str(lost))
                self.fail(lost)
            except Exception as error:  # the edge of this thread: without it the lease would run out in silence
                self._lease_failure = f"cannot be renewed: {type(error).__name__}: {error}"
                self.log.critical("lease_not_renewed", reason=self._lease_failure)
                self.fail(error)
            else:
                self._lease_failure = None
        if isinstance(self.failure, FenceLost):
            threading.Event().wait(LAST_WORDS_SEC)
            if self._working:
                os._exit(ExitCode.NOT_ALONE)

    def _watch_supervisor(self) -> None:
        """Stop when `claire up` is gone, also while waiting for a server that nobody will start again."""
        while not self.stop.wait(RENEW_SEC):
            if self._orphaned():
                self.log.warning("stopping", reason="the process that started this one is gone")
                self.stop.set()

    def _orphaned(self) -> bool:
        """Whether `claire up`, which started this process, has died without stopping it."""
        supervisor = self.environ.get("SUPERVISOR_PID", "")
        return supervisor.isdigit() and hasattr(os, "getppid") and os.getppid() != int(supervisor)

    def close(self) -> None:
        """Give everything back in the opposite order; never raises for a server that is away."""
        self._working = False
        self.stop.set()
        if self._renewal is not None and not isinstance(self.failure, FenceLost):
            self._renewal.join(5.0)
        try:
            if self._lease is not None and self._fence is not None and not isinstance(self.failure, FenceLost):
                self._lease.release()
        except (RedisError, *CONNECTION_LOST, FenceLost) as error:
            self.log.warning("lease_not_released", error=str(error))
        for part in (self._client, self._lease):
            if part is not None:
                part.close()
        self.archive.close()
        if self._http is not None:
            self._http.stop()
        self.folder.release()


def _load_all(models: tuple[type[BaseModel], ...], environ: Mapping[str, str]) -> dict[type[BaseModel], BaseModel]:
    loaded: dict[type[BaseModel], BaseModel] = {}
    mistakes: list[str] = []
    try:
        values = read_environment(environ)
    except SettingsInvalid as invalid:
        mistakes, values = str(invalid).splitlines(), dict(environ)
    for model in models:
        try:
            loaded[model] = load_settings(model, values)
        except SettingsInvalid as invalid:
            mistakes.extend(line for line in str(invalid).splitlines() if line not in mistakes)
    if mistakes:
        raise SettingsInvalid("\n".join(mistakes))
    return loaded


def _shown(settings: BaseModel) -> dict[str, Any]:
    return {
        name: "********" if isinstance(value, SecretStr) and value.get_secret_value() else str(value)
        for name, value in canonical_settings(settings).items()
    }
