"""How the page is served: read-only, hardened, to this machine alone; and the story behind each decision."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from claire.cli import app as cli
from claire.data_folder import DataFolder
from claire.explain.lookup import AmbiguousId, IdTooShort, UnknownId, lookup_of
from claire.explain.screen import render_story
from claire.explain.story import story_of
from claire.history.source import FileHistory
from claire.page import story as story_module
from claire.page.app import create_page
from claire.page.archive import Archive, ArchiveAway
from claire.page.from_rich import as_html
from claire.page.look import View
from claire.page.serve import IN_DOCKER, page_of_folder
from claire.page.story import Told, is_id, teller
from services.common.events import RiskDecision
from tests.unit.explain.recorded import RecordedPipeline, write
from tests.unit.page.page_desk import a_view, no_story

pytestmark = [pytest.mark.unit, pytest.mark.security]


def test_it_is_hardened() -> None:
    """A strict policy on every answer, errors too; no script or style but its own files."""
    client = create_page(lambda _: a_view(), no_story).test_client()

    for path in (
        "/",
        "/style.css",
        "/script.js",
        "/copy.js",
        "/icon.svg",
        "/health",
        "/explain/abcdefgh",
        "/x",
        "/a/b",
    ):
        answer = client.get(path)
        assert answer.status_code == (404 if path in {"/x", "/a/b"} else 200), path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(method: str) -> None:
    """GET and HEAD are all there is."""
    client = create_page(lambda _: a_view(), no_story).test_client()

    for path in ("/", "/explain/abcdefgh", "/style.css", "/health"):
        assert client.open(path, method=method).status_code == 405
    assert client.head("/").status_code == 200


def test_the_span_of_the_curve_is_one_of_three() -> None:
    """Run, seven days, today; the chosen one is marked; nothing else is asked of the database."""
    asked: list[str] = []

    def look(span: str) -> View:
        asked.append(span)
        return a_view(span=span, curve_fault="too <slow>")

    client = create_page(look, no_story).test_client()
    week = client.get("/?span=week").get_data(as_text=True)

    assert '<a href="/?span=week" aria-current=page>7 days</a>' in week
    assert '<a href="/">run</a>' in week
    assert "not renewed: too &lt;slow&gt;" in week
    assert client.get("/?span=%27%3B--").status_code == 404
    assert client.get("/?span=day").status_code == 200
    assert asked == ["week", "day"]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1:8006", 200), ("localhost", 200), ("[::1]:8006", 200), ("cdb_page:8006", 421),
        ("evil.example", 421), ("127.0.0.1.evil.example:8006", 421), ("[::1", 421), ("", 421),
    ],
)  # fmt: skip
def test_it_answers_under_the_names_of_this_machine_alone(host: str, code: int) -> None:
    """A page elsewhere whose name was made to point here gets nothing."""
    assert create_page(lambda _: a_view(), no_story).test_client().get("/", headers={"Host": host}).status_code == code


@pytest.mark.parametrize("id_", ["short", "a" * 65, "drop table;--", "../../etc/passwd", "%3Cscript%3E", "a'b'c'd'e'"])
def test_an_id_that_cannot_be_one_is_not_looked_for(id_: str) -> None:
    """What does not look like an id never reaches the database."""

    def must_not(_: str) -> Told:
        raise AssertionError("it was asked")

    assert create_page(lambda _: a_view(), must_not).test_client().get(f"/explain/{id_}").status_code == 404
    assert not is_id(id_)


def test_the_story_names_the_commands_that_go_on() -> None:
    """The id stands in each command; the database away is a 503 with the reason, escaped."""
    page = (
        create_page(lambda _: a_view(), no_story, ("claire explain {id} --data-dir <x>",))
        .test_client()
        .get("/explain/ord-12345")
    )
    text = page.get_data(as_text=True)

    def away(_: str) -> Told:
        raise ArchiveAway("<b>gone</b>")

    gone = create_page(lambda _: a_view(), away).test_client().get("/explain/ord-12345")

    assert "claire explain ord-12345 --data-dir &lt;x&gt;" in text
    assert '<script src="/copy.js" defer></script>' in text
    assert gone.status_code == 503
    assert "&lt;b&gt;gone&lt;/b&gt;" in gone.get_data(as_text=True)
    assert all("cdb_page" in command for command in IN_DOCKER)


def test_the_page_tells_what_the_command_tells(tmp_path: Path) -> None:
    """Every word that `claire explain` prints of a decision stands on the page."""
    pipeline = RecordedPipeline()
    for _ in range(3):
        pipeline.quote("50000")
    pipeline.buy("50000")
    lookup = lookup_of(FileHistory(write(tmp_path, pipeline.entries)))
    drawn = render_story(story_of(lookup, lookup.find(pipeline.the(RiskDecision).event_id)), 200)
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(drawn)
    printed = {word for word in console.export_text().split() if word.isalnum()}

    html = as_html(drawn)

    assert len(printed) > 60
    assert not {word for word in printed if word not in html}
    assert "<h2>" in html
    assert "<dt>momentum</dt>" in html or "<dt>size</dt>" in html
    assert html.count("<tr>") == 8


def test_what_was_drawn_is_escaped_and_what_cannot_be_shown_is_refused() -> None:
    """Styled stretches stay text; spans that overlap are shown once; an unknown drawing is a mistake."""
    line = Text("<b>x</b> red", style="bold")
    line.stylize("red", 8, 12)
    line.stylize("dim", 9, 11)

    assert as_html(line) == '<p class="lead">&lt;b&gt;x&lt;/b&gt;<span class="bad"> red</span></p>'
    assert as_html(Text("  ")) == ""
    assert as_html(Text("x", style="yellow")) == '<p class="warn">x</p>'
    with pytest.raises(TypeError, match="int cannot be shown"):
        as_html(3)


def test_an_id_that_is_unknown_or_means_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """404 for nothing; for several a choice of links."""

    class Nobody(Archive):
        def ask(self, question: object) -> object:  # type: ignore[override]
            raise error

    tell = teller(Nobody(lambda: pytest.fail("no connection is needed")))
    error: Exception = UnknownId("ord-1234", "the database", [])
    assert tell("ord-1234").code == 404
    error = IdTooShort("ord")
    assert tell("ord").code == 404
    assert "at least 4 characters" in tell("ord").body
    assert "href" not in tell("ord").body
    error = AmbiguousId("ord-1234", ["ord-12345", "ord-12346"])
    several = tell("ord-1234")

    assert several.code == 300
    assert '<a href="/explain/ord-12346">' in several.body
    assert story_module.WIDE > 110


def test_a_page_without_a_database_serves_all_the_same(tmp_path: Path) -> None:
    """Nobody runs the folder: nothing is started, what is missing is named, the story says why it cannot be told."""
    client = page_of_folder(DataFolder(tmp_path), {"cdb_ws": ("127.0.0.1", 1)} | _nowhere()).test_client()
    text = client.get("/").get_data(as_text=True)

    assert "no service answers" in text
    assert "Curve, decisions and alerts are stale since" in text
    assert client.get("/explain/abcdefgh").status_code == 503
    assert f"claire explain abcdefgh --data-dir {tmp_path}" in client.get("/explain/abcdefgh").get_data(as_text=True)
    assert list(tmp_path.iterdir()) == []


def _nowhere() -> dict[str, tuple[str, int]]:
    from services.common.runtime.lifecycle import DEFAULT_PORTS

    return dict.fromkeys(DEFAULT_PORTS, ("127.0.0.1", 1))


def test_the_command_is_there() -> None:
    """`claire page --help`."""
    assert CliRunner().invoke(cli, ["page", "--help"]).exit_code == 0
