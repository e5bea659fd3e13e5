"""The pages and how they are served: read-only, nothing from elsewhere, no script but our own, one look at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from threading import Lock
from typing import Any, Final

import flask

from claire.page.render import render
from services.common.version import VERSION

__all__ = ["create_page"]

FRESH_SEC: Final = 1.0
"""Services are asked at most once in this time, however many look."""
HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1", "cdb_page"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_page(look: Callable[[], Mapping[str, Any]]) -> flask.Flask:
    """Return the application; `look` asks the services and puts the screen together."""
    app = flask.Flask("cdb_page", static_folder=None)
    lock = Lock()
    seen: dict[str, Any] = {"at": -FRESH_SEC, "status": None}

    def status() -> Mapping[str, Any]:
        with lock:
            if seen["status"] is None or time.monotonic() - seen["at"] >= FRESH_SEC:
                seen["status"], seen["at"] = look(), time.monotonic()
            found: Mapping[str, Any] = seen["status"]
            return found

    def asset(name: str, kind: str) -> flask.Response:
        text = files("claire.page").joinpath(name).read_text(encoding="utf-8")
        return flask.Response(text, mimetype=kind)

    @app.before_request
    def only_this_machine() -> None:
        """Refuse other names for this address: a page elsewhere could have one that points here."""
        host = flask.request.host
        name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
        if name not in HOSTS:
            flask.abort(421)

    @app.after_request
    def harden(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    @app.get("/")
    def page() -> str:
        return render(status())

    @app.get("/style.css")
    def style() -> flask.Response:
        return asset("style.css", "text/css")

    @app.get("/script.js")
    def script() -> flask.Response:
        return asset("script.js", "text/javascript")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "service": "cdb_page", "version": VERSION}

    return app
