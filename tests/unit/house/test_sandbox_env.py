"""`backoffice/docker/sandbox.env` turns the whole stack towards the sandbox: nothing in it points at the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from claire.sandbox_command import DEFAULT_FILES
from services.cdb_sandbox.core.listing import DEFAULT_LISTINGS
from services.cdb_sandbox.market.derived import DerivedMarket
from services.cdb_sandbox.market.recorded import RecordedMarket, Recording
from services.cdb_ws.settings import FeedSettings

ROOT = Path(__file__).resolve().parents[3]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
LINES = (ROOT / "backoffice" / "docker" / "sandbox.env").read_text(encoding="utf-8").splitlines()
VALUES = dict(line.split("=", 1) for line in LINES if line and not line.startswith("#"))
pytestmark = pytest.mark.unit


def test_the_stack_is_one_of_its_own() -> None:
    """Another project means other volumes: invented prices never reach the journal of the daily stack."""
    assert VALUES["COMPOSE_PROJECT_NAME"] == "claire_sandbox"
    assert VALUES["COMPOSE_PROFILES"] in SERVICES["cdb_sandbox"]["profiles"]


def test_every_address_of_the_exchange_is_the_sandboxs() -> None:
    """All that cdb_ws can be told about where MEXC is, is told, with the port that the sandbox listens on."""
    addresses = {name for name in SERVICES["cdb_ws"]["environment"] if name.startswith("MEXC_") and "_URL" in name}
    port = SERVICES["cdb_sandbox"]["environment"]["HTTP_PORT"]

    assert addresses <= set(VALUES)
    assert all(VALUES[name].split("://")[1].split("/")[0] == f"cdb_sandbox:{port}" for name in addresses)
    assert set(SERVICES["cdb_ws"]["networks"]) & set(SERVICES["cdb_sandbox"]["networks"]), "they share a network"


def test_every_default_symbol_has_a_market() -> None:
    """A symbol without one would stay silent for ever."""
    recordings = [Recording(file) for file in DEFAULT_FILES]
    market = DerivedMarket(RecordedMarket(recordings, DEFAULT_LISTINGS), DEFAULT_LISTINGS)

    assert "SYMBOLS" not in VALUES
    assert {f"mexc_spot:{symbol}" for symbol in FeedSettings.model_fields["SYMBOLS"].default} <= market.keys


def test_each_setting_reaches_a_container() -> None:
    """No line is in vain: a service takes each variable that is not compose's own."""
    taken = {name for service in SERVICES.values() for name in service.get("environment", {})}

    assert {name for name in VALUES if not name.startswith("COMPOSE_")} <= taken
