"""Which exchange is listened to when compose has started the sandbox: never a mixture within one run."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cdb_ws.adapters.neighbour import is_there
from services.cdb_ws.fold import FeedFold
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.mint import Mint
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Batch
from services.cdb_ws.stand_in import ADDRESSES, choose_exchange, sandbox_settings
from services.common.events import Control
from services.common.journal.entry import Entry, JournalId

pytestmark = pytest.mark.unit

SANDBOX = "http://cdb_sandbox:8100"
MEXC = LiveSettings()
COMPOSE: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[3] / "docker-compose.yml").read_text("utf-8")
)


@pytest.mark.parametrize(
    ("paper", "present", "began_on", "sandbox", "words"),
    [
        (True, True, None, True, "nothing here is MEXC's market"),
        (True, False, None, False, ""),
        (True, True, SANDBOX, True, "nothing here is MEXC's market"),
        (True, False, SANDBOX, True, "start it (docker compose --profile sandbox up)"),
        (True, True, MEXC.MEXC_REST_URL, False, "docker compose -p claire_sandbox --profile sandbox up"),
        (True, False, MEXC.MEXC_REST_URL, False, ""),
        (False, True, None, False, ""),
        (False, True, SANDBOX, False, ""),
    ],
)
def test_a_run_stays_with_the_exchange_that_it_began_on(
    *, paper: bool, present: bool, began_on: str | None, sandbox: bool, words: str
) -> None:
    """A fresh run on paper takes the sandbox that is there; shadow and live never do; a person is told why."""
    chosen = choose_exchange(MEXC, SANDBOX, paper=paper, present=present, began_on=began_on)

    assert (chosen.settings == sandbox_settings(MEXC, SANDBOX)) is sandbox
    assert (chosen.settings == MEXC) is not sandbox
    assert words in chosen.notice
    assert bool(words) is bool(chosen.notice)


@pytest.mark.parametrize("name", ADDRESSES)
def test_addresses_that_somebody_named_are_obeyed(name: str) -> None:
    """Whoever says where the exchange is, is not second-guessed; without a sandbox to look for nothing changes."""
    named = LiveSettings.model_validate({name: "wss://x/ws" if "WS" in name else "https://x"})

    assert choose_exchange(named, SANDBOX, paper=True, present=True, began_on=None) == (named, "")
    assert choose_exchange(MEXC, "", paper=True, present=True, began_on=None) == (MEXC, "")


def test_the_sandbox_is_where_compose_puts_it() -> None:
    """Its name and port, on a network that cdb_ws shares, as what compose tells cdb_ws."""
    feed, sandbox = COMPOSE["services"]["cdb_ws"], COMPOSE["services"]["cdb_sandbox"]

    assert feed["environment"]["MEXC_SANDBOX"] == f"${{MEXC_SANDBOX-{SANDBOX}}}"
    assert f"http://cdb_sandbox:{sandbox['environment']['HTTP_PORT']}" == SANDBOX
    assert set(feed["networks"]) & set(sandbox["networks"])
    assert vars(sandbox_settings(MEXC, SANDBOX)) == vars(MEXC) | {
        "MEXC_REST_URL": SANDBOX,
        "MEXC_WS_URL": "ws://cdb_sandbox:8100/ws",
        "MEXC_PERPETUAL_REST_URL": SANDBOX,
        "MEXC_PERPETUAL_WS_URL": "ws://cdb_sandbox:8100/edge",
    }


def test_a_neighbour_is_there_when_its_name_resolves() -> None:
    """No connection is made: a container that is starting has its name already."""
    assert is_there("http://localhost:1")
    assert not is_there("http://nowhere.invalid:8100")
    assert not is_there("")


def test_the_fold_knows_whose_market_data_the_run_has() -> None:
    """An announcement alone does not bind a run; market data do, also over a change of settings; a new run is free."""

    def control(n: int, **fields: Any) -> Entry:
        event = Control(event_id=f"e{n}", timestamp=1, producer="cdb_ws", service="cdb_ws", **fields)
        return Entry(JournalId(1, n), "control", "cdb_ws", f"announce:{n}", event.data)

    def market_data(n: int) -> Entry:
        seen = Observation(1, "BTCUSDT", Decimal(1), Decimal(1), Decimal(1))
        event = Mint("run", "mexc_spot").events(Batch(n, 1, "market_data", (seen,)))[0]
        return Entry(JournalId(1, n), "market_data", "cdb_ws", f"feed:{n}", event.data)

    fold = FeedFold()
    fold.fold(control(1, action="started", run_id="a"))
    fold.fold(control(2, action="config", details={"play": "p", "live": {"MEXC_REST_URL": SANDBOX}}))
    assert fold.heard is None
    fold.fold(market_data(3))
    fold.fold(control(4, action="config", details={"play": "q", "live": {"MEXC_REST_URL": SANDBOX}}))
    assert FeedFold.restore(fold.dump()).heard == SANDBOX
    fold.fold(control(5, action="started", run_id="b"))
    assert fold.heard is None
    fold.fold(control(6, action="config", details={"play": "r"}))
    fold.fold(market_data(7))
    assert (fold.exchange, fold.heard) == (None, None)
