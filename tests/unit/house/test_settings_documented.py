"""`.env.example` and the compose file name every setting, with the defaults that the code has."""

from __future__ import annotations

import importlib
import re
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, SecretStr

from services.cdb_execution.adapters.keys import MexcAddresses
from services.common.channels import ONLOOKERS, SERVICES
from services.common.settings import Infrastructure

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
pytestmark = pytest.mark.unit

DOCKER_ONLY = {
    "REDIS_OPERATOR_PASSWORD",
    "REDIS_READONLY_PASSWORD",
    "POSTGRES_SUPERUSER_PASSWORD",
    "POSTGRES_READER_PASSWORD",
    "POSTGRES_SERVICE_PASSWORD",
    "GRAFANA_PASSWORD",
    "RECORDINGS_DIR",
    "PROMETHEUS_PORT",
    "ALERTMANAGER_PORT",
    "CDB_WS_PORT",
    "CDB_CORE_PORT",
    "CDB_RISK_PORT",
    "CDB_EXECUTION_PORT",
    "CDB_WRITER_PORT",
    "CDB_NOTIFIER_PORT",
    "CDB_PAGE_PORT",
    "CDB_SANDBOX_PORT",
    "GRAFANA_PORT",
    "REDIS_APPENDFSYNC",
    "REDIS_MAXMEMORY",
}
NOT_FOR_CONTAINERS = {
    "NEW_RUN",  # the restart policy would begin a new run with every restart
}


def _models(service: str) -> list[type[BaseModel]]:
    module = importlib.import_module(f"services.{service}.settings")
    found = [getattr(module, name) for name in module.__all__]
    return [model for model in found if isinstance(model, type) and issubclass(model, BaseModel)]


def _plain(value: Any) -> str:
    """Write a default as a person writes it into .env."""
    if value is None or isinstance(value, SecretStr) or value == {}:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(value)
    return str(value.value if isinstance(value, Enum) else value)


def _same(written: str, default: str) -> bool:
    if re.fullmatch(r"-?\d+(\.\d+)?", written) and re.fullmatch(r"-?\d+(\.\d+)?", default):
        return Decimal(written) == Decimal(default)
    return written == default


def _documented() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.removeprefix("#").split("=", 1) for line in lines if re.match(r"#?[A-Z][A-Z0-9_]*=", line)]
    assert len({name for name, _ in pairs}) == len(pairs), "a setting stands twice in .env.example"
    return {pair[0]: pair[1] for pair in pairs}


MODELS = [Infrastructure, MexcAddresses, *(model for service in (*SERVICES, *ONLOOKERS) for model in _models(service))]
FIELDS = {(model, name) for model in MODELS for name in model.model_fields}


def test_copying_the_example_changes_nothing() -> None:
    """Every line of .env.example is a comment: a copy of it is the same as no .env."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


@pytest.mark.parametrize(("model", "name"), sorted(FIELDS, key=lambda pair: (pair[0].__name__, pair[1])))
def test_every_setting_is_documented_with_its_default(model: type[BaseModel], name: str) -> None:
    """.env.example shows each setting of each service with the value that the code takes without it."""
    documented = _documented()

    assert name in documented, f"{name} of {model.__name__} is missing in .env.example"
    default = _plain(model.model_fields[name].get_default(call_default_factory=True))
    assert _same(documented[name], default), f"{name}: .env.example says {documented[name]!r}, the code {default!r}"


def test_nothing_is_documented_that_nobody_reads() -> None:
    """Each name in .env.example is a setting of the code or a variable of the compose file."""
    known = {name for _, name in FIELDS} | DOCKER_ONLY

    assert set(_documented()) - known == set()
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert {name for name in DOCKER_ONLY if not re.search(rf"\b{name}\b", text)} == set()


@pytest.mark.parametrize("service", [*SERVICES, *ONLOOKERS])
def test_compose_hands_every_setting_on(service: str) -> None:
    """A setting in .env reaches the container of its service; an unknown variable in compose is a mistake."""
    given = set(COMPOSE["services"][service]["environment"])
    own = {name for model in _models(service) for name in model.model_fields} - NOT_FOR_CONTAINERS
    infrastructure = set(Infrastructure.model_fields) | {
        "REDIS_PASSWORD_FILE",
        "REDIS_OPERATOR_PASSWORD_FILE",
        "POSTGRES_PASSWORD_FILE",
        "NOTIFY_URLS_FILE",
    }

    assert own - given == set()
    assert given - own - infrastructure == (
        {"MAX_DRAWDOWN_PCT", "MAX_EXPOSURE_PCT"} if service == "cdb_risk" else set()
    )


def test_the_overlay_of_live_trading_hands_the_addresses_on() -> None:
    """cdb_execution in Docker asks the exchange at the addresses, and with the patience, that stand in .env."""
    overlay = yaml.safe_load((ROOT / "backoffice" / "docker" / "live.yml").read_text(encoding="utf-8"))

    assert set(overlay["services"]["cdb_execution"]["environment"]) >= set(MexcAddresses.model_fields)
