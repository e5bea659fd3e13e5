"""The page of one decision: the story of `claire explain`, and the command that tells it in a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg2

from claire.explain.lookup import DECISIVE, AmbiguousId, DatabaseLookup, IdTooShort, UnknownId
from claire.explain.screen import render_story
from claire.explain.story import story_of
from claire.history.source import DatabaseHistory
from claire.page.archive import Archive
from claire.page.from_rich import as_html
from claire.page.html import document, text
from services.common.decimals import use_fixed_context

__all__ = ["Told", "is_id", "story_page", "teller"]

WIDE: Final = 200
"""Columns: wide enough for what each layer looked at to be told."""
MOST_ROWS: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True)
class Told:
    """A story as HTML, or in a sentence why there is none (and the HTTP status that says so)."""

    body: str
    code: int = 200


class BoundedLookup(DatabaseLookup):
    """Finds what was decided by its id or the beginning of one; of an id that is unknown it does not look for the like.

    That would read all there is of years into this process.
    """

    def _search(self, text: str, search: Any, near: Any) -> None:  # noqa: ARG002 -- nothing is looked for near it
        self._look(self._select("event_id = %s", text), search)
        if search.exact is None:
            condition = "channel = ANY(%s) AND position(%s IN data) > 0"
            self._look(self._select(condition, list(DECISIVE), text.encode(), limit=MOST_ROWS), search)


def is_id(given: str) -> bool:
    """Whether it can be the id of an event, an order or a fill, or enough of its beginning."""
    return _ID.fullmatch(given) is not None


def teller(archive: Archive) -> Callable[[str], Told]:
    """Return what tells the story of an id.

    Its questions raise ArchiveAway or ArchiveBusy when the database does not answer in time.
    """

    def tell(id_: str) -> Told:
        def question(connection: psycopg2.extensions.connection) -> Any:
            use_fixed_context()
            lookup = BoundedLookup(DatabaseHistory(connection, "the database"), lambda _: None)
            return story_of(lookup, lookup.find(id_))

        try:
            story = archive.ask(question)
        except UnknownId:
            return Told(f'<p class="lead">Nothing in the database has an id that begins with {text(id_)}.</p>', 404)
        except IdTooShort as short:
            return Told(f'<p class="lead">{text(str(short))}</p>', 404)
        except AmbiguousId as several:
            links = "".join(f'<li><a href="/explain/{text(one)}">{text(one)}</a></li>' for one in several.candidates)
            return Told(f'<p class="lead">Several ids begin with {text(id_)}:</p><ul>{links}</ul>', 300)
        return Told(as_html(render_story(story, WIDE)))

    return tell


def story_page(id_: str, told: Told, commands: tuple[str, ...]) -> str:
    """Return the page of a story with the commands that go further."""
    shown = "".join(f'<p class="command"><code class="copy">{text(command)}</code></p>' for command in commands)
    body = (
        '<header><h1>Claire de Binare</h1><a href="/">back to the page</a></header>'
        f'<main><section class="story">{told.body}</section>'
        f'<section aria-label="Commands"><h2>In a terminal</h2>{shown}</section></main>'
    )
    return document(f"explain {id_[:12]} · Claire de Binare", body, classes="told")
