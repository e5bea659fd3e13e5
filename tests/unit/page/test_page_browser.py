"""The status page in a real browser: drawn, renewed in place, dark and light, on a phone, and honest when it is old."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backoffice.scripts.chromium import BROWSER, Chromium
from claire.page.app import create_page
from claire.page.look import View
from claire.page.story import Told
from services.common.runtime.http import HttpServer
from tests.unit.page.page_desk import a_view, curve, decisions, screen
from tests.unit.page.test_page_views import HOSTILE, POSITION

pytestmark = [
    pytest.mark.slow,
    pytest.mark.security,
    pytest.mark.skipif(
        BROWSER is None and not os.environ.get("CI"), reason="needs Chromium (Debian: apt-get install chromium)"
    ),
]

MONEY: dict[str, Any] = {
    "equity": "100123.45", "cash": "90000", "daily_pnl": "23.4", "start_of_day_equity": "100100",
    "peak_equity": "100200", "drawdown": "0.0008", "exposure": "10123.45", "fees": "1.5",
    "decisions": {"approved": 2, "refused": {}},
    "headroom": {"daily_drawdown": "0.04", "circuit_breaker": "0.09", "total_exposure": "0.2"},
}  # fmt: skip
ORDER = {
    "order_id": "ord-0466683641ee117efbc5ac410336", "instrument": "mexc_spot:BTCUSDT", "side": "SELL",
    "status": "UNKNOWN", "purpose": "stop_loss", "quantity": "0.1", "filled": "0", "since": "2021-05-19T13:04:00Z",
}  # fmt: skip
CONTRAST = """(() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => {
    const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const back = (e) => {
    while (e && /, 0\\)$/.test(getComputedStyle(e).backgroundColor)) e = e.parentElement;
    return e ? getComputedStyle(e).backgroundColor : "rgb(255,255,255)";
  };
  const unseen = "svg, .unseen, [hidden], noscript";
  let worst = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest(unseen)) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
})()"""


class Desk:
    """A page that is served, and what it shows next."""

    def __init__(self) -> None:
        self.view: View = self.showing()
        self.server = self.serve(0)
        self.port = self.server.port

    def showing(self, **changed: Any) -> View:
        """Return a look with everything in it; parts of what risk says may be said otherwise."""
        status = screen(**(MONEY | {"positions": [POSITION], "working_orders": [ORDER]} | changed))
        return a_view(status, shown=decisions(), points=curve(*range(100_000, 100_060)))

    def serve(self, port: int) -> HttpServer:
        """Serve at a port."""
        return HttpServer(create_page(lambda _: self.view, lambda _: Told("<h2>Risk</h2>")), "127.0.0.1", port).start()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """The page, served."""
    desk = Desk()
    yield desk
    desk.server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """One browser for all tests here."""
    with Chromium() as browser:
        browser.wear(1280, 900, "light")
        yield browser


def faults(browser: Chromium) -> list[str]:
    """Return what the console complained of since it was last asked: refused by the policy, not found, an exception."""
    bad = {"Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"}
    return [str(told) for method, told in browser.events if method in bad]


def test_everything_is_drawn_and_nothing_comes_from_elsewhere(browser: Chromium, desk: Desk) -> None:
    """Curve, limits, strips of seven, symbols; the policy refuses nothing of ours; only this server is asked."""
    browser.events.clear()
    browser.open(desk.address)

    assert browser.ask("document.querySelectorAll('section').length") >= 10
    assert browser.ask("[...document.querySelectorAll('.strip')].every((s) => s.children.length === 7)") is True
    height = "document.querySelector('#c-equity .line').getBoundingClientRect().height"
    assert browser.ask(height) > 100
    widths = "[...document.querySelectorAll('.limits .bar rect')].map((r) => r.getBoundingClientRect().width)"
    assert max(browser.ask(widths)) > 20
    assert browser.ask("getComputedStyle(document.querySelector('.badge.mode')).borderRadius") != "0px"
    assert faults(browser) == []
    asked = [told["request"]["url"] for method, told in browser.events if method == "Network.requestWillBeSent"]
    assert asked
    assert all(url.startswith(desk.address) for url in asked)


def test_it_renews_itself_and_keeps_the_place(browser: Chromium, desk: Desk) -> None:
    """New numbers and a new decision appear; scrolling, an opened decision, focus and marked text stay."""
    first, *others = decisions()
    desk.view = replace(desk.view, past=replace(desk.view.past, decisions=others))
    browser.open(desk.address)
    opened = f"document.querySelector('li[data-key=\\'{others[-1].decision.event_id}\\'] details')"
    browser.ask(f"{opened}.open = true; {opened}.querySelector('summary').focus(); window.mark = {opened}; true")
    browser.ask("getSelection().selectAllChildren(document.querySelector('#h-limits')); true")
    browser.ask(f"{opened}.scrollIntoView(); scrollBy(0, -60); true")
    before = browser.ask(f"{opened}.getBoundingClientRect().top")

    status = screen(**(MONEY | {"equity": "123456.78", "positions": [POSITION], "working_orders": [ORDER]}))
    desk.view = replace(a_view(status, shown=[first, *others]), points=desk.view.points)
    browser.wait("document.querySelector('#money').textContent.includes('123,456.78')")

    assert browser.ask("document.querySelectorAll('.decisions > li').length") == len(others) + 1
    assert browser.ask(f"window.mark === {opened} && {opened}.open") is True
    assert browser.ask(f"document.activeElement === {opened}.querySelector('summary')") is True
    assert browser.ask("getSelection().toString()") == "Limits"
    assert browser.ask("scrollY") > 300
    assert abs(browser.ask(f"{opened}.getBoundingClientRect().top") - before) < 5, "the reader's line has not moved"
    assert browser.ask("document.title").startswith("+0.02 % ACTIVE")


def test_rows_that_change_places_are_moved_not_made_anew(browser: Chromium, desk: Desk) -> None:
    """An order that becomes UNKNOWN goes to the top as the same row; what ended goes, what is new comes."""
    orders = [{**ORDER, "order_id": f"ord-{n}", "status": "NEW"} for n in range(3)]
    desk.view = desk.showing(working_orders=orders)
    browser.open(desk.address)
    keys = "[...document.querySelectorAll('#orders tbody tr')].map((row) => row.dataset.key).join()"
    assert browser.ask(keys) == "ord-0,ord-1,ord-2"
    browser.ask("window.rows = [...document.querySelectorAll('#orders tbody tr')]; true")

    desk.view = desk.showing(
        working_orders=[orders[0], {**ORDER, "order_id": "ord-2"}, {**ORDER, "order_id": "ord-9", "status": "NEW"}]
    )
    browser.wait(f"{keys} === 'ord-2,ord-0,ord-9'")

    same = "[...document.querySelectorAll('#orders tbody tr')].map((row) => window.rows.indexOf(row)).join()"
    assert browser.ask(same) == "2,0,-1"


def test_it_says_since_when_it_is_old(browser: Chromium, desk: Desk) -> None:
    """Without its server the page turns grey and says so; when the server is back it goes on by itself."""
    browser.open(desk.address)
    assert browser.ask("document.getElementById('lost').hidden") is True

    desk.server.stop()
    browser.wait("!document.getElementById('lost').hidden")
    said = browser.ask("document.getElementById('lost').textContent")
    assert said.startswith("Stale since ")
    assert "UTC: the page's server does not answer" in said
    assert browser.ask("getComputedStyle(document.querySelector('#money')).opacity * 1 < 1 || "
                       "document.body.classList.contains('lost')") is True  # fmt: skip

    desk.server = desk.serve(desk.port)
    browser.wait("document.getElementById('lost').hidden")
    assert browser.ask("document.body.classList.contains('lost')") is False


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_dark_and_light_can_be_read(browser: Chromium, desk: Desk, scheme: str) -> None:
    """The page follows the system; every text stands out from what is behind it (WCAG AA: 4.5 to 1)."""
    halted = desk.showing(trading_state="HALTED", stale_marks=["mexc_spot:SOLUSDT"])
    desk.view = replace(halted, stale=["Stale since x."])
    browser.wear(1280, 900, scheme)
    browser.open(desk.address)
    browser.ask("document.querySelectorAll('details').forEach((d) => { d.open = true; }); true")
    bright = browser.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] * 1")

    assert (bright > 128) is (scheme == "light")
    ratio, where = browser.ask(CONTRAST)
    assert ratio >= 4.5, where


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_nothing_runs_over_the_edge(browser: Chromium, desk: Desk, width: int) -> None:
    """From a small phone to a wide screen, everything unfolded; the story's page, too."""
    browser.wear(width, 800, "light")
    desk.view = replace(desk.view, stale=["a_very_long_word_that_nobody_can_break_" * 5])
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    browser.open(desk.address)
    browser.ask("document.querySelectorAll('details').forEach((d) => { d.open = true; }); true")

    assert browser.ask(over) == 0
    assert browser.ask(
        "[...document.querySelectorAll('section, td, .tiles b')].filter((e) => e.scrollWidth > e.clientWidth + 1 && "
        "getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML.slice(0, 90))"
    ) == []  # fmt: skip
    browser.open(f"{desk.address}explain/{'0123456789abcdef' * 4}")
    assert browser.ask(over) == 0


def test_the_curve_is_read_off_by_pointer_and_by_keys(browser: Chromium, desk: Desk) -> None:
    """Under the pointer and at the arrow keys stand time and equity; a renewal does not take them away."""
    browser.wear(1280, 900, "light")
    browser.open(desk.address)
    browser.ask("document.querySelector('#c-equity').focus(); true")
    for key in ("ArrowLeft", "ArrowLeft"):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    reading = "document.querySelector('#c-equity .reading').textContent"

    assert browser.ask(reading) == "2021-05-19 12:58  100,058.00"
    desk.view = replace(desk.view, at=desk.view.at.replace(hour=13))
    browser.wait("document.querySelector('#head').textContent.includes('13:00:00')")
    assert browser.ask(reading) == "2021-05-19 12:58  100,058.00"
    box = browser.ask("(({left, top, width, height}) => [left + width / 2, top + height / 2])"
                      "(document.querySelector('#c-drawdown .area').getBoundingClientRect())")  # fmt: skip
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    browser.wait("document.querySelector('#c-drawdown .reading').textContent.includes('0.00 %')")


def test_hostile_text_stays_text(browser: Chromium, desk: Desk) -> None:
    """A symbol, a reason and a name that are HTML run nothing, not at first and not when the page is renewed."""
    evil = f'{HOSTILE}<script>window.evil = 1</script><img src=x onerror="window.evil = 1">'
    browser.events.clear()
    browser.open(desk.address)
    desk.view = desk.showing(
        causes={evil: {"by": evil, "reason": evil, "since": "2021-05-19T13:00:00Z"}},
        positions=[{**POSITION, "instrument": f"mexc_spot:{evil}"}],
    )
    browser.wait("document.querySelector('#banners').textContent.includes('window.evil')")
    browser.open(desk.address)

    assert browser.ask("window.evil === undefined && document.images.length === 0") is True
    assert browser.ask("document.querySelector('#positions').textContent.includes('window.evil')") is True
    assert faults(browser) == []


def test_the_story_can_be_copied(browser: Chromium, desk: Desk) -> None:
    """Each command on the page of a story has a button."""
    browser.open(f"{desk.address}explain/abcdefgh")

    assert browser.ask("document.querySelector('code.copy').textContent") == "claire explain abcdefgh"
    assert browser.ask("document.querySelectorAll('.command button').length") == 1
