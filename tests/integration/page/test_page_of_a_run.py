"""The page of a real run: `claire up` serves it, a browser follows it, and it survives the death of the database."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil
import pytest

from backoffice.scripts.chromium import BROWSER, Chromium
from claire.database import open_database
from claire.page import PORT_AFTER_FIRST
from claire.stats import summarise
from tests.integration.runtime.test_up import Up, recording

__all__ = ["recording"]

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class Reader:
    """Somebody who looks at the page."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.port = up.first_port + PORT_AFTER_FIRST

    def get(self, path: str = "/") -> str:
        """Return a page; empty while nobody answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, HTTPException):
            return ""
        finally:
            connection.close()

    def wait(self, seen: Callable[[str], bool], what: str) -> str:
        """Return the page once it shows something."""
        deadline = time.monotonic() + 60
        while not seen(text := self.get()):
            assert self.up.process.poll() is None, self.up.finish()
            assert time.monotonic() < deadline, f"{what}\n{text}"
            time.sleep(0.2)
        return text


@pytest.fixture
def reader(short_folder: Path, recording: Path) -> Iterator[Reader]:
    """A run that has played its recording and stays; it is stopped afterwards."""
    up = Up(short_folder, recording, "--speed", "max", "--turnstile", "--quiet")
    reader = Reader(up)
    reader.wait(lambda text: ", finished" in text, "the recording has been played")
    yield reader
    if up.process.poll() is None:
        up.process.terminate()
    up.finish()


def kill_the_database(reader: Reader, links: list[str]) -> None:
    """What was known stays, whether anybody asks before `claire up` has started it again or not; then it answers anew.

    How an absence is told is shown on containers, where it lasts as long as the test wants.
    """
    (server,) = [child for child in psutil.Process(reader.up.process.pid).children() if child.name() == "postgres"]
    server.kill()
    server.wait(30)

    def told_anew(text: str) -> bool:
        assert not text or len(re.findall(r'href="/explain/', text)) == len(links), "what was known stays"
        return text != "" and "stale since" not in text and "Risk:" in reader.get(links[0])

    reader.wait(told_anew, "the database is back")


def look_with_a_browser(reader: Reader) -> None:
    """The curve is drawn from the snapshots; a link leads to the story and back; when the run stops it says so."""
    with Chromium() as browser:
        browser.wear(390, 844, "dark")
        browser.open(f"http://127.0.0.1:{reader.port}/")
        points = "JSON.parse(document.querySelector('#c-equity').dataset.points).t.length"
        browser.wait("document.querySelector('#c-equity')")
        assert 2 <= browser.ask(points) <= 500
        assert browser.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        browser.ask("document.querySelector('a.explain').click(); true")
        browser.wait("location.pathname.startsWith('/explain/') && document.readyState === 'complete'")
        assert browser.ask("document.querySelectorAll('.story h2').length") >= 2
        browser.ask("document.querySelector('header a').click(); true")
        browser.wait("location.pathname === '/' && document.getElementById('lost')")
        reader.up.process.terminate()
        browser.wait("!document.getElementById('lost').hidden", 40)
        assert "Stale since" in browser.ask("document.getElementById('lost').textContent")


def test_the_page_of_a_run(reader: Reader) -> None:
    """Counts and equity as `claire stats` has them, a story for each decision; then what a death and a browser show."""
    with open_database(reader.up.data, "", {}) as connection:
        summary = summarise(connection)
    decided = sum(row["count"] for row in summary["decisions"])

    text = reader.wait(lambda text: f"<span>decisions</span><b>{decided}</b>" in text, "all decisions are counted")

    assert decided > 3
    assert f"{summary['portfolio']['equity']:,.2f}" in text
    assert f"<span>results</span><b>{summary['events']['order_result']}</b>" in text
    links = re.findall(r'href="(/explain/[0-9a-f]{32})"', text)
    assert len(links) == min(decided, 25)
    for link in links:
        story = reader.get(link)
        assert "Risk:" in story
        assert f"claire explain {link[9:]} --data-dir {reader.up.data.resolve()}" in story
    kill_the_database(reader, links)
    if BROWSER is not None:
        look_with_a_browser(reader)
