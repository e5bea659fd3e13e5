"""Puts the page together for a pipeline: where its services answer, and the way to its database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import flask
import psycopg2

from claire.address import DEFAULT_FOLDER, Services
from claire.data_folder import DataFolder
from claire.page.app import create_page
from claire.page.archive import Archive
from claire.page.look import Looker
from claire.page.story import teller
from claire.status import ask

__all__ = ["IN_DOCKER", "page_of", "page_of_folder"]

IN_DOCKER: Final = tuple(
    f"docker compose exec cdb_page claire {word} {{id}} --dsn env" for word in ("explain", "trace")
)
"""Commands that tell more; `{id}` stands for what is looked at."""

STORY_MS: Final = 2_000
"""A story takes four statements; none of them longer than this."""


def page_of(
    services: Services, connect: Callable[[], psycopg2.extensions.connection], commands: Sequence[str]
) -> flask.Flask:
    """Return the application for a pipeline.

    Args:
        services: where they answer.
        connect: opens a connection to its database; the page keeps two of them and only reads.
        commands: that tell more in a terminal.
    """
    looker = Looker(lambda: ask(services), Archive(connect))
    return create_page(looker.look, teller(Archive(connect, timeout_ms=STORY_MS)), commands)


def page_of_folder(folder: DataFolder, services: Services) -> flask.Flask:
    """Return the application for a data folder; its servers are not started when nobody runs them."""
    where = "" if folder.path == DEFAULT_FOLDER.resolve() else f" --data-dir {folder.path}"
    commands = [f"claire {word} {{id}}{where}" for word in ("explain", "trace")]
    return page_of(services, folder.postgres().connect, commands)
