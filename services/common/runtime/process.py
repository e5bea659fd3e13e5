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
from types import FrameType

import flask
from pydantic import BaseModel

from services.common.errors import FeedInputInvalid, FenceLost, LeaseHeld, SettingsInvalid
from services.common.log import configure_logging
from services.common.runtime.build import code_version
from services.common.runtime.http import PortInUse
from services.common.runtime.lifecycle import ExitCode, Lifecycle
from services.common.runtime.secrets import secrets_of
from services.common.settings import Infrastructure

__all__ = ["run_service"]

COLLECT_AFTER = (10_000, 20, 50)
"""New containers before a young collection, and how many of those before an older one."""


def run_service(
    service: str,
    body: Callable[[Lifecycle], None],
    *,
    settings: tuple[type[BaseModel], ...] = (),
    environ: Mapping[str, str] | None = None,
    before_lease: Callable[[Lifecycle], None] | None = None,
    routes: Callable[[Lifecycle, flask.Flask], None] | None = None,
) -> int:
    """Run a service from its first line to its exit code.

    Args:
        service: name of the service.
        body: the work; returns when `life.stop` is set (or the work is done), raises what it cannot handle.
        settings: models of the service besides `Infrastructure`; all mistakes are listed at once.
        environ: where settings come from; the process environment by default.
        before_lease: see :meth:`Lifecycle.open`.
        routes: see :meth:`Lifecycle.open`.
    """
    try:
        life = Lifecycle(service, os.environ if environ is None else environ, settings)
    except SettingsInvalid as invalid:
        sys.stderr.write(
            f"{service}: settings are wrong:\n" + "".join(f"  {line}\n" for line in str(invalid).split("\n"))
        )
        return ExitCode.SETTINGS
    models: tuple[type[BaseModel], ...] = (Infrastructure, *settings)
    configure_logging(
        service,
        level=life.infra.LOG_LEVEL,
        style=life.infra.LOG_FORMAT,
        secrets=secrets_of(life.environ, map(life.settings_of, models)),
    )
    _stop_on_signals(life)
    try:
        return _run(life, body, before_lease, routes)
    finally:
        life.close()


def _run(
    life: Lifecycle,
    body: Callable[[Lifecycle], None],
    before_lease: Callable[[Lifecycle], None] | None,
    routes: Callable[[Lifecycle, flask.Flask], None] | None,
) -> int:
    log = life.log
    try:
        log.info("starting", code_version=code_version(), pid=os.getpid())
        life.open(before_lease, routes)
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
