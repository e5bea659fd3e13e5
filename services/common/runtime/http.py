"""`/health`, `/status` and `/metrics` of a service, behind a production WSGI server in a thread of its own."""

from __future__ import annotations

import json
import select
import socket
import sys
from collections.abc import Callable
from decimal import Decimal
from threading import Event, Thread
from typing import Any, Self

import flask
import waitress  # type: ignore[import-untyped]
from prometheus_client import CONTENT_TYPE_LATEST
from waitress import wasyncore

from services.common.channels import WS
from services.common.errors import ClaireError
from services.common.runtime.health import Health, StatusBoard
from services.common.runtime.metrics import Metrics
from services.common.version import VERSION

__all__ = ["HttpServer", "PortInUse", "create_app"]


class PortInUse(ClaireError):
    """The HTTP port cannot be bound; the text names it and the fix."""


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 1_000_000 else str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)


def create_app(
    service: str, health: Health, status: StatusBoard, metrics: Metrics, before_scrape: Callable[[], None]
) -> flask.Flask:
    """Return the WSGI application of a service.

    Args:
        service: its name.
        health: 200 while nothing fails, else 503 with what fails and why.
        status: what the service tells about itself.
        metrics: what it counts.
        before_scrape: sets gauges that are functions of the moment.
    """
    app = flask.Flask(service)

    def answer(value: dict[str, Any], code: int = 200) -> flask.Response:
        text = json.dumps(value, default=_plain, ensure_ascii=False) + "\n"
        return flask.Response(text, status=code, mimetype="application/json")

    @app.get("/health")
    def read_health() -> flask.Response:
        failing = health.failing()
        if not failing:
            return answer({"status": "ok", "service": service, "version": VERSION})
        return answer({"status": "degraded", "service": service, "version": VERSION, "failing": failing}, 503)

    @app.get("/status")
    def read_status() -> flask.Response:
        return answer({"service": service, "version": VERSION, **status.read()})

    if service == WS:

        @app.get("/top")
        def read_top() -> flask.Response:
            return answer(status.read().get("top") or {"chosen": [], "ranking": []})

    @app.get("/metrics")
    def read_metrics() -> flask.Response:
        before_scrape()
        return flask.Response(metrics.render(), content_type=CONTENT_TYPE_LATEST)

    return app


class HttpServer:
    """Waitress in a thread."""

    def __init__(self, app: flask.Flask, host: str, port: int) -> None:
        """Bind the port.

        Raises:
            PortInUse: another process listens there.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":  # there it would let two processes share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise PortInUse(
                f"{app.name} cannot listen on {host}:{port} ({error.strerror}); "
                f"is it already running? Otherwise choose another HTTP_PORT"
            ) from error
        self.port: int = listener.getsockname()[1]
        self._channels: dict[int, Any] = {}
        self._server = waitress.create_server(
            app, sockets=[listener], map=self._channels, threads=2, ident=None, clear_untrusted_proxy_headers=True
        )
        self._stopping, self._woken = Event(), Event()
        self._thread = Thread(target=self._run, name="http", daemon=True)

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Finish the answers in hand, then free the port."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if not self._thread.is_alive():
            self._close()
            return
        self._server.pull_trigger()
        self._woken.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        # Waitress's own run() can only be ended by an exception in its thread.
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, use_poll=hasattr(select, "poll"), map=self._channels, count=1)
        self._woken.wait(5.0)  # the trigger writes to a descriptor that must not be closed, or somebody else's, by then
        self._close()

    def _close(self) -> None:
        self._server.task_dispatcher.shutdown(timeout=2.0)
        self._server.close()
        wasyncore.close_all(self._channels)
