"""The status page as its own container: what it shows, what it knows, and what it says when the others are gone."""

from __future__ import annotations

import json
import re

import pytest
import requests

from tests.e2e.market import Market
from tests.e2e.stack import PAGE_PORT, Stack, eventually

pytestmark = pytest.mark.security

PAGE = "cdb_page"


def page(path: str = "/", **headers: str) -> requests.Response:
    """Ask the page over its published port."""
    return requests.get(f"http://127.0.0.1:{PAGE_PORT}{path}", headers=headers, timeout=10)


def test_it_shows_the_run_and_tells_the_story_of_a_decision(stack: Stack, market: Market) -> None:
    """Every service is well, the curve comes from the database, a signal's verdict has its page; names are checked."""
    signal = {"type": "signal", "symbol": "BTCUSDT", "signal_type": "buy", "price": 50_000.0}
    with stack.redis("operator") as operator:
        operator.publish("signals", json.dumps(signal))
    found = eventually(lambda: re.search(r'href="(/explain/[0-9a-f]{32})"', page().text), "the decision on it", 90)
    eventually(lambda: 'id="c-equity"' in page().text, "a curve", 90)
    text, story = page().text, page(found[1])

    assert "✕" not in text.partition('id="h-services"')[2].partition("</table>")[0]
    assert "stale since" not in text.lower()
    assert story.status_code == 200
    assert "published by hand" in story.text
    assert f"docker compose exec cdb_page claire explain {found[1][9:]} --dsn env" in story.text
    stack.execute(PAGE, "claire", "explain", found[1][9:], "--dsn", "env")
    assert page(Host="evil.example").status_code == 421
    assert requests.post(f"http://127.0.0.1:{PAGE_PORT}/", timeout=10).status_code == 405
    for name in ("redis/service_password", "redis/operator_password", "postgres/reader_password"):
        assert stack.secret(name) not in text


def test_it_knows_one_password_and_can_only_read(stack: Stack) -> None:
    """The reader's password is all that the container has; the role cannot write; Redis refuses it."""
    assert stack.execute(PAGE, "find", "/run/claire", "-type", "f").split() == ["/run/claire/page/reader_password"]
    code, output = stack.container(PAGE).exec_run(["claire", "halt", "--by", "page", "--reason", "try"])
    assert code != 0, output
    code, output = stack.container(PAGE).exec_run(["sh", "-c", "touch /app/x"])
    assert code != 0, output


def test_it_says_what_is_gone(stack: Stack, market: Market) -> None:
    """A service that is killed is named; the page itself stays well."""
    stack.container("cdb_core").pause()
    try:
        eventually(lambda: "<b>cdb_core</b> does not answer" in page().text, "the page names cdb_core")
        assert page("/health").json()["status"] == "ok"
    finally:
        stack.container("cdb_core").unpause()
    eventually(lambda: "<b>cdb_core</b> does not answer" not in page().text, "cdb_core is back")
