"""The pages and how they are served: read-only, nothing from elsewhere, no script but our own, one look at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

import flask

from claire.page.archive import ArchiveAway, ArchiveBusy
from claire.page.html import text
from claire.page.look import View
from claire.page.past import RUN, SPANS
from claire.page.render import render
from claire.page.story import Told, is_id, story_page
from services.common.version import VERSION

__all__ = ["create_page"]

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
METHODS: Final = frozenset({"GET", "HEAD"})
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
ASSETS: Final = {
    "style.css": "text/css",
    "script.js": "text/javascript",
    "copy.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def create_page(
    look: Callable[[str], View],
    tell: Callable[[str], Told],
    commands: Sequence[str] = ("claire explain {id}",),
) -> flask.Flask:
    """Return the application.

    Args:
        look: puts together what the page shows, with the curve of a span.
        tell: tells the story of an id.
        commands: for the terminal, with `{id}` where the id belongs.
    """
    app = flask.Flask("cdb_page", static_folder=None)
    assets = {name: files("claire.page").joinpath(name).read_text(encoding="utf-8") for name in ASSETS}

    app.before_request(_refuse_strangers)
    app.after_request(_harden)

    @app.get("/", provide_automatic_options=False)
    def page() -> str:
        span = flask.request.args.get("span", RUN)
        if span not in SPANS:
            flask.abort(404)
        return render(look(span))

    @app.get("/explain/<id_>", provide_automatic_options=False)
    def explain(id_: str) -> tuple[str, int]:
        if not is_id(id_):
            flask.abort(404)
        try:
            told = tell(id_)
        except (ArchiveAway, ArchiveBusy) as away:
            told = Told(f'<p class="lead">The story cannot be told now: {text(away)}</p>', 503)
        return story_page(id_, told, tuple(command.replace("{id}", id_) for command in commands)), told.code

    @app.get("/<name>", provide_automatic_options=False)
    def asset(name: str) -> flask.Response:
        if name not in assets:
            flask.abort(404)
        return flask.Response(assets[name], mimetype=ASSETS[name])

    @app.get("/health", provide_automatic_options=False)
    def health() -> dict[str, str]:
        return {"status": "ok", "service": "cdb_page", "version": VERSION}

    return app


def _refuse_strangers() -> None:
    """Refuse other names for this address (a page elsewhere could have one that points here), and what would change."""
    if flask.request.method not in METHODS:
        flask.abort(405)
    host = flask.request.host
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name not in HOSTS:
        flask.abort(421)


def _harden(response: flask.Response) -> flask.Response:
    response.headers.update(HEADERS)
    return response
