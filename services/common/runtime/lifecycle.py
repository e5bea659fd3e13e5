"""The frame of every service process: settings, logging, lock, lease, HTTP, signals, and a meaningful exit code.

`run_service("cdb_x", body)` is a whole `main`: it calls `body(life)` on the main thread once this process is the one
instance of its service, and turns how it ends into an exit code:

0  stopped in good order (SIGTERM, Ctrl-C)
2  settings are wrong, or the HTTP port is taken: everything that is wrong is on stderr
3  a fault: going on could be wrong, so it does not
4  another instance of this service is alive or has taken over
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from enum import IntEnum
from types import FrameType
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.errors import FeedInputInvalid, FenceLost, JournalClosed, LeaseHeld, SettingsInvalid
from services.common.journal.client import JournalClient
from services.common.journal.lease import Lease
from services.common.log import configure_logging
from services.common.runtime.archive_reader import ArchiveReader
from services.common.runtime.backoff import Backoff
from services.common.runtime.build import code_version
from services.common.runtime.health import Check, Health, StatusBoard
from services.common.runtime.http import HttpServer, PortInUse, create_app
from services.common.runtime.metrics import Metrics
from services.common.runtime.run_clock import RunClock
from services.common.runtime.state_folder import StateFolder
from services.common.settings import Infrastructure, canonical_settings, load_settings, read_environment

__all__ = ["CONNECTION_LOST", "DEFAULT_PORTS", "ExitCode", "Lifecycle", "run_service"]

SettingsT = TypeVar("SettingsT", bound=BaseModel)

DEFAULT_PORTS = {
    channels.WS: 8000,
    channels.CORE: 8001,
    channels.RISK: 8002,
    channels.EXECUTION: 8003,
    channels.WRITER: 8004,
}

CONNECTION_LOST = (RedisConnectionError, RedisTimeoutError, OSError)
"""What Redis calls raise when the server is away: wait and try again."""

RENEW_SEC = 1.0
LAST_WORDS_SEC = 10.0
COLLECT_AFTER = (10_000, 20, 50)
"""New containers before a young collection, and how many of those before an older one."""


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

    def open(self, before_lease: Callable[[Lifecycle], None] | None = None) -> None:
        """Lock the folder, begin to answer HTTP, reach Redis and take the lease.

        Args:
            before_lease: done before each attempt to take the lease; the writer opens the bus here.

        Raises:
            LeaseHeld: another instance of this service is alive.
            PortInUse: the HTTP port is taken.
        """
        use_fixed_context()
        if self.environ.get("SUPERVISOR_PID"):
            threading.Thread(target=self._watch_supervisor, name="supervisor", daemon=True).start()
        self.folder.lock(self.stop)
        self._open_http()
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

    def _open_http(self) -> None:
        def before_scrape() -> None:
            self.metrics.last_tick_age.set(self.clock.age_sec())

        app = create_app(self.service, self.health, self.status, self.metrics, before_scrape)
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


def _secrets(settings: BaseModel) -> list[str]:
    return [value.get_secret_value() for value in settings.__dict__.values() if isinstance(value, SecretStr)]


def run_service(
    service: str,
    body: Callable[[Lifecycle], None],
    *,
    settings: tuple[type[BaseModel], ...] = (),
    environ: Mapping[str, str] | None = None,
    before_lease: Callable[[Lifecycle], None] | None = None,
) -> int:
    """Run a service from its first line to its exit code.

    Args:
        service: name of the service.
        body: the work; returns when `life.stop` is set (or the work is done), raises what it cannot handle.
        settings: models of the service besides `Infrastructure`; all mistakes are listed at once.
        environ: where settings come from; the process environment by default.
        before_lease: see :meth:`Lifecycle.open`.
    """
    try:
        life = Lifecycle(service, os.environ if environ is None else environ, settings)
    except SettingsInvalid as invalid:
        sys.stderr.write(
            f"{service}: settings are wrong:\n" + "".join(f"  {line}\n" for line in str(invalid).split("\n"))
        )
        return ExitCode.SETTINGS
    configure_logging(service, level=life.infra.LOG_LEVEL, style=life.infra.LOG_FORMAT, secrets=_secrets(life.infra))
    _stop_on_signals(life)
    try:
        return _run(life, body, before_lease)
    finally:
        life.close()


def _run(life: Lifecycle, body: Callable[[Lifecycle], None], before_lease: Callable[[Lifecycle], None] | None) -> int:
    log = life.log
    try:
        log.info("starting", code_version=code_version(), pid=os.getpid())
        life.open(before_lease)
        if not life.stop.is_set():
            _spare_the_collector()
            body(life)
    except (SettingsInvalid, FeedInputInvalid, PortInUse) as error:
        log.critical("cannot_start", reason=str(error))
        sys.stderr.write(f"{life.service}: {error}\n")
        return ExitCode.SETTINGS
    except (FenceLost, LeaseHeld) as error:
        log.critical("not_alone", reason=str(error))
        return ExitCode.NOT_ALONE
    except Exception as error:  # the edge: whatever it was, going on could be wrong
        log.critical("fault", reason=f"{type(error).__name__}: {error}", exc_info=True)
        return ExitCode.FAULT
    if life.failure is not None:
        log.critical("ended", reason=str(life.failure))
        return ExitCode.NOT_ALONE if isinstance(life.failure, FenceLost) else ExitCode.FAULT
    log.info("stopped")
    return ExitCode.OK


def _spare_the_collector() -> None:
    """Keep what stays for ever (code, contracts) out of every collection, and collect the young less often.

    Events are trees and die by reference counting; a full collection over all modules would stop a decision for tens of
    milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _stop_on_signals(life: Lifecycle) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Event.set() in the main thread could meet its own lock, held by the wait() that the signal interrupts.
        _thread.start_new_thread(life.stop.set, ())

    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
