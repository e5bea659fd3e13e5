"""`backoffice/docker/sandbox.env` turns the whole stack towards the sandbox: nothing in it points at the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from claire.sandbox_command import DEFAULT_FILES

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


def test_the_symbols_are_those_that_are_played() -> None:
    """A symbol without a recording would stay silent for ever."""
    played = {file.name.split("_")[1].upper() for file in DEFAULT_FILES}

    assert set(VALUES["SYMBOLS"].split(",")) == played


def test_each_setting_reaches_a_container() -> None:
    """No line is in vain: a service takes each variable that is not compose's own."""
    taken = {name for service in SERVICES.values() for name in service.get("environment", {})}

    assert {name for name in VALUES if not name.startswith("COMPOSE_")} <= taken
