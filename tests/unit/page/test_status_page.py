"""The status page: numbers as the services say them, everything escaped, nothing from elsewhere, read-only."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from claire.cli import app as cli
from claire.page.app import create_page
from claire.page.render import render
from claire.status import Answer, put_together
from services.common import channels

pytestmark = [pytest.mark.unit, pytest.mark.security]
EVERYONE = (*channels.SERVICES, *channels.ONLOOKERS)


def screen(**risk: Any) -> dict[str, Any]:
    """Return what `claire status` knows while risk says this of itself."""
    answers = {service: Answer({"journal": {"lag": 0, "last_id": "1-7"}}, {}) for service in EVERYONE}
    machine = {"now": "2021-05-19T13:05:00.000000Z", "trading_state": "ACTIVE", **risk}
    answers[channels.RISK] = Answer({"machine": machine, "config": {"MAX_TOTAL_EXPOSURE_PCT": "0.30"}}, {})
    return put_together(answers)


def test_numbers_are_those_of_risk() -> None:
    """Equity, PnL, positions with the distance of their stop, orders, decisions: to the last shown digit."""
    position = {
        "instrument": "mexc_spot:BTCUSDT", "quantity": "2", "entry_price": "100", "value": "220", "stop_price": "99",
    }  # fmt: skip
    order = {"order_id": "o-1", "instrument": "mexc_spot:BTCUSDT", "side": "SELL", "status": "UNKNOWN"}
    html = render(
        screen(
            equity="100123.45", daily_pnl="-23.4", start_of_day_equity="100146.85", positions=[position],
            working_orders=[order], decisions={"approved": 3, "refused": {"spread_check": 2}},
            causes={"halt": {"since": "2021-05-19T13:00:00Z", "by": "me", "reason": "lunch"}},
        )
    )  # fmt: skip

    for text in ("100,123.45", "-23.40 (-0.02 %)", "+20.00", "10.00 %", "UNKNOWN", "refused by spread_check", "lunch"):
        assert text in html


def test_what_is_unknown_says_so() -> None:
    """Nobody answers: no number is made up."""
    html = render(put_together({service: Answer() for service in EVERYONE}))

    assert html.count("does not answer") >= len(EVERYONE)
    assert 'class="bad">unknown</b>' in html
    assert "feed unknown: cdb_ws does not answer" in html
    assert "0 events/s" not in html
    assert "age 0 s" not in html


def test_everything_is_escaped() -> None:
    """Text from anywhere is text."""
    html = render(screen(causes={"<b>": {"by": "<script>x</script>", "reason": '"><img>'}}, trading_state="<i>"))

    assert "<script>x" not in html
    assert "<img>" not in html
    assert "<i>" not in html


def test_it_is_served_read_only_and_hardened() -> None:
    """A strict policy, no other host name, no other method; services are asked once for many lookers."""
    asked: list[int] = []

    def look() -> dict[str, Any]:
        asked.append(1)
        return screen()

    client = create_page(look).test_client()
    pages = [client.get("/") for _ in range(3)]

    assert {page.status_code for page in pages} == {200}
    assert len(asked) == 1
    assert "default-src 'none'" in pages[0].headers["Content-Security-Policy"]
    assert client.post("/").status_code == 405
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"Host": "[::1]:8006"}).status_code == 200
    assert [client.get(path).status_code for path in ("/style.css", "/script.js", "/health", "/x")] == [
        200,
        200,
        200,
        404,
    ]
    assert "http" not in pages[0].get_data(as_text=True).replace("http-equiv", "")


def test_the_command_is_there() -> None:
    """`claire page --help`."""
    assert CliRunner().invoke(cli, ["page", "--help"]).exit_code == 0
