"""The compose file keeps its promises before any container runs: hardened, local, waiting in the right order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from claire.page import PORT_AFTER_FIRST
from services.common.channels import NOTIFIER, ONLOOKERS, SERVICES, WS
from services.common.runtime.lifecycle import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
CONTAINERS = sorted(COMPOSE["services"])
LASTING = [name for name in CONTAINERS if name != "cdb_secrets"]
pytestmark = [pytest.mark.unit, pytest.mark.security]


def test_everything_that_belongs_to_the_stack_is_there() -> None:
    """The services, the two servers, the four observers, the sandbox and the one-shot that makes passwords."""
    assert COMPOSE["name"] == "claire_de_binare"
    assert set(CONTAINERS) == {
        *SERVICES, *ONLOOKERS, "cdb_redis", "cdb_postgres", "cdb_prometheus", "cdb_alertmanager", "cdb_grafana",
        "cdb_secrets", "cdb_sandbox", "cdb_page",
    }  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_is_hardened(name: str) -> None:
    """No root, no capability, no new privileges, nothing writable but volumes and small tmpfs, limited logs."""
    service = COMPOSE["services"][name]

    assert service["container_name"] == name
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", LASTING)
def test_each_lasting_container_restarts_and_is_limited(name: str) -> None:
    """What dies comes back; what goes wild is stopped by its limits; what stops gets time for it."""
    service = COMPOSE["services"][name]

    assert service["restart"] == "unless-stopped"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", LASTING)
def test_ports_are_on_this_machine_alone(name: str) -> None:
    """A published port is bound to 127.0.0.1; Redis and PostgreSQL are not published at all."""
    ports = COMPOSE["services"][name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert bool(ports) is (name not in {"cdb_redis", "cdb_postgres"})


@pytest.mark.parametrize("service", [*SERVICES, *ONLOOKERS])
def test_each_service_answers_at_its_own_port(service: str) -> None:
    """The published port, the port inside and the service's default are one number."""
    port = DEFAULT_PORTS[service]

    variable = f"{service.upper()}_PORT"
    assert COMPOSE["services"][service]["ports"] == [f"127.0.0.1:${{{variable}:-{port}}}:{port}"]
    assert COMPOSE["services"][service]["environment"]["HTTP_PORT"] == str(port)


@pytest.mark.parametrize("service", [*SERVICES, *ONLOOKERS])
def test_services_wait_for_healthy_servers(service: str) -> None:
    """A service starts when both servers are healthy, and these when their passwords are written."""
    waits = COMPOSE["services"][service]["depends_on"]

    assert waits == {name: {"condition": "service_healthy"} for name in ("cdb_redis", "cdb_postgres")}
    for server in waits:
        assert COMPOSE["services"][server]["depends_on"] == {
            "cdb_secrets": {"condition": "service_completed_successfully"}
        }


def test_every_volume_is_named_and_used() -> None:
    """Data lie in named volumes of the project; none is declared in vain, none is anonymous."""
    used = {
        mount.partition(":")[0]
        for name in CONTAINERS
        for mount in COMPOSE["services"][name].get("volumes", [])
        if not mount.startswith((".", "${"))
    }

    assert used == set(COMPOSE["volumes"])


def test_the_data_network_has_no_way_out() -> None:
    """Containers talk on an internal network; the operator's network only carries published ports."""
    assert COMPOSE["networks"]["data"] == {"internal": True}
    options = COMPOSE["networks"]["operator"]["driver_opts"]
    assert options == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    for server in ("cdb_redis", "cdb_postgres"):
        assert COMPOSE["services"][server]["networks"] == ["data"]


def test_only_who_must_reach_the_internet_can() -> None:
    """The notifier sends messages to people; nobody else has the network with a way out for that."""
    outside = [name for name in CONTAINERS if "internet" in COMPOSE["services"][name].get("networks", [])]

    assert outside == [NOTIFIER]


def test_no_password_stands_in_the_file() -> None:
    """Passwords come from files in volumes; only the container that writes them gets variables of `.env`."""
    for name in LASTING:
        environment = COMPOSE["services"][name].get("environment", {})
        secret = {key: value for key, value in environment.items() if "PASSWORD" in key}

        assert all(str(value).startswith("/run/claire/") for value in secret.values()), name
    given = COMPOSE["services"]["cdb_secrets"]["environment"]
    assert set(given.values()) == {None}


def test_each_consumer_sees_only_its_own_secrets() -> None:
    """Grafana cannot read the password of Redis, Redis not that of PostgreSQL, Prometheus none."""
    seen = {
        name: {
            mount.partition(":")[0]
            for mount in COMPOSE["services"][name].get("volumes", [])
            if mount.partition(":")[0].endswith("_secrets")
        }
        for name in LASTING
    }

    assert seen["cdb_redis"] == {"redis_secrets"}
    assert seen["cdb_postgres"] == {"postgres_server_secrets"}
    assert seen["cdb_writer"] == {"redis_secrets", "postgres_writer_secrets"}
    for service in ("cdb_ws", "cdb_core", "cdb_risk", "cdb_execution"):
        assert seen[service] == {"redis_secrets", "postgres_secrets"}, "a reader's password is enough"
        assert COMPOSE["services"][service]["environment"]["POSTGRES_USER"] == "claire_service"
    assert seen["cdb_grafana"] == {"grafana_secrets"}
    assert seen["cdb_page"] == {"page_secrets"}, "no way to Redis, and of the database only the reader's"
    assert COMPOSE["services"]["cdb_page"]["environment"]["POSTGRES_USER"] == "claire_reader"
    assert not [name for name in COMPOSE["services"]["cdb_page"]["environment"] if name.startswith(("MEXC", "REDIS_P"))]
    assert seen["cdb_prometheus"] == set()
    for name in LASTING:
        mounts = [mount for mount in COMPOSE["services"][name].get("volumes", []) if "_secrets" in mount]
        assert all(mount.endswith(":ro") for mount in mounts)


def test_the_page_listens_for_this_machine_alone_and_waits_for_nothing_it_shows() -> None:
    """One number inside and outside; it starts without the servers, since it has to say that they are gone."""
    page = COMPOSE["services"]["cdb_page"]
    port = DEFAULT_PORTS[WS] + PORT_AFTER_FIRST

    assert page["ports"] == [f"127.0.0.1:${{CDB_PAGE_PORT:-{port}}}:{port}"]
    assert page["command"] == ["claire", "page", "--host", "0.0.0.0", "--port", str(port), "--dsn", "env"]
    assert page["environment"]["HTTP_PORT"] == str(port)
    assert set(page["depends_on"]) == {"cdb_secrets"}
    assert page["networks"] == ["data", "operator"]
