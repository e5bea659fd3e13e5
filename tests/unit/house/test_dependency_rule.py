"""The dependency rule is asked of every service that there is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICES = {
    f"services.{folder.name}" for folder in (ROOT / "services").glob("cdb_*") if (folder / "__init__.py").exists()
}
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
pytestmark = pytest.mark.unit


def _contract(name: str) -> dict[str, Any]:
    return next(contract for contract in CONTRACTS if contract["name"] == name)


def test_the_ground_floor_is_kept_from_every_service() -> None:
    """Common may import no service at all, the sandbox neither, and not claire."""
    contract = _contract("services.common imports no service and not claire")

    assert set(contract["forbidden_modules"]) == SERVICES | {"claire"}


def test_every_service_is_independent_of_every_other() -> None:
    """A new service that nobody wrote into the contract would be free to import its siblings."""
    assert set(_contract("a service never imports a sibling")["modules"]) == SERVICES


def test_no_service_may_import_the_tools() -> None:
    """Claire imports services, never the other way round."""
    assert set(_contract("no service imports claire")["source_modules"]) == SERVICES
