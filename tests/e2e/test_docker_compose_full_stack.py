"""The stack on real containers: everything is up, healthy, locked down, watched, and can be stopped and started."""

from __future__ import annotations

import re
import socket

import psycopg2
import pytest
import redis
import requests

from tests.e2e.stack import (
    PORTS,
    POSTGRES_PORT,
    PROJECT,
    PROMETHEUS_PORT,
    REDIS_PORT,
    SERVICES,
    Stack,
    eventually,
)

CONTAINERS = ("cdb_redis", "cdb_postgres", *SERVICES, "cdb_prometheus", "cdb_alertmanager")
PROMETHEUS = f"http://127.0.0.1:{PROMETHEUS_PORT}"


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_is_healthy(stack: Stack, name: str) -> None:
    """Docker's own health check of each container says healthy, and it came up without a restart."""
    container = stack.container(name)

    assert container.name == name
    eventually(lambda: stack.health(name) == "healthy", f"{name} healthy", 30)
    assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"


@pytest.mark.security
@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_is_locked_down(stack: Stack, name: str) -> None:
    """Docker runs it without root, capabilities and new privileges, read-only, within limits."""
    container = stack.container(name)
    host = container.attrs["HostConfig"]

    assert container.attrs["Config"]["User"].split(":")[0] not in {"", "0", "root"}
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["PidsLimit"] > 0


@pytest.mark.security
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_inside_its_container(stack: Stack, name: str) -> None:
    """The process itself has no effective capability, cannot write its code, and has no compiler and no pip."""
    status = stack.execute(name, "cat", "/proc/self/status")
    writable = stack.container(name).exec_run(["sh", "-c", "touch /app/x || touch /usr/x || touch /opt/claire/x"])
    tools = stack.container(name).exec_run(["sh", "-c", "command -v gcc cc make g++ || ls /opt/claire/bin/pip"])

    assert re.search(r"CapEff:\s+0000000000000000", status)
    assert re.search(r"NoNewPrivs:\s+1", status)
    assert writable.exit_code != 0
    assert tools.exit_code != 0


@pytest.mark.security
@pytest.mark.parametrize("name", CONTAINERS)
def test_published_ports_are_on_this_machine_alone(stack: Stack, name: str) -> None:
    """Every published port is bound to 127.0.0.1, and the plain stack publishes neither Redis nor PostgreSQL."""
    bindings = stack.container(name).attrs["NetworkSettings"]["Ports"] or {}
    hosts = {binding["HostIp"] for published in bindings.values() for binding in published or ()}

    assert hosts <= {"127.0.0.1"}
    assert hosts, f"{name} publishes no port"


@pytest.mark.parametrize("name", SERVICES)
def test_health_answers_ok_on_its_port(stack: Stack, name: str) -> None:
    """GET /health on 8000 to 8004 is 200 with status ok, the service's name and a version."""
    answer = stack.get(name, "/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["service"] == name
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", answer.json()["version"])


@pytest.mark.security
@pytest.mark.parametrize("name", SERVICES)
def test_status_and_metrics_tell_the_work_and_no_secret(stack: Stack, name: str) -> None:
    """/status is JSON, /metrics is Prometheus text with cdb_ names; no generated password is in them or in a log."""
    secrets = [
        stack.secret(f"{folder}_password")
        for folder in ("redis/service", "redis/operator", "redis/readonly", "postgres/superuser", "postgres/reader")
    ] + [stack.secret("postgres/password")]

    status, metrics, logs = stack.get(name, "/status"), stack.get(name, "/metrics"), stack.logs(name, 5_000)

    assert status.json()["service"] == name
    assert re.search(r"^cdb_build_info\{.*\} 1\.0$", metrics.text, re.MULTILINE)
    assert all(len(secret) >= 32 for secret in secrets)
    for secret in secrets:
        assert secret not in status.text + metrics.text + logs


@pytest.mark.security
@pytest.mark.parametrize("name", CONTAINERS)
def test_no_password_is_in_a_container_s_environment(stack: Stack, name: str) -> None:
    """`docker inspect` shows where passwords lie, never what they are."""
    for entry in stack.container(name).attrs["Config"]["Env"]:
        key, _, value = entry.partition("=")
        if "PASSWORD" in key:
            assert value == "" or value.startswith("/run/claire/"), key


@pytest.mark.security
def test_the_servers_know_no_default_password(stack: Stack) -> None:
    """Redis refuses who has none, PostgreSQL refuses `postgres`, `claire` and `admin` with names as passwords."""
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(host="127.0.0.1", port=REDIS_PORT).ping()
    for user in ("postgres", "claire", "claire_reader", "admin"):
        for password in ("", user, "postgres", "password", "claire_de_binare"):
            with pytest.raises(psycopg2.OperationalError):
                psycopg2.connect(
                    host="127.0.0.1", port=POSTGRES_PORT, user=user, password=password, dbname="claire_de_binare"
                ).close()


def test_one_image_serves_all_five(stack: Stack) -> None:
    """The five services run the same image, built once; each has its own command."""
    containers = [stack.container(name) for name in SERVICES]

    assert len({container.image.id for container in containers if container.image is not None}) == 1
    assert len({tuple(container.attrs["Config"]["Cmd"]) for container in containers}) == len(SERVICES)


def test_data_lie_in_named_volumes(stack: Stack) -> None:
    """Every volume of the stack has a name of the project; no container has an anonymous one."""
    for name in CONTAINERS:
        volumes = [mount["Name"] for mount in stack.container(name).attrs["Mounts"] if mount["Type"] == "volume"]

        assert volumes
        assert all(volume.startswith(f"{PROJECT}_") for volume in volumes), volumes


@pytest.mark.security
def test_nothing_gets_out_to_the_internet(stack: Stack) -> None:
    """A service reaches its servers by name, and no address outside of the compose networks."""
    attempt = (
        "import socket\n"
        "socket.create_connection(('cdb_redis', 6379), 3).close()\n"
        "try:\n"
        "    socket.create_connection(('192.0.2.1', 443), 3).close()\n"
        "    print('out')\n"
        "except OSError:\n"
        "    print('kept in')\n"
    )

    for name in ("cdb_core", "cdb_risk", "cdb_writer"):
        assert stack.execute(name, "python", "-c", attempt).strip() == "kept in"


@pytest.mark.security
def test_no_service_listens_on_other_addresses_of_this_machine(stack: Stack) -> None:
    """From another address of this machine the ports 8000 to 8004 are closed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address this machine would use
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no other address than its own loop")

    for port in (*PORTS.values(), PROMETHEUS_PORT, REDIS_PORT, POSTGRES_PORT):
        with socket.socket() as knock:
            knock.settimeout(2)
            assert knock.connect_ex((address, port)) != 0, f"{address}:{port} is open"


def test_prometheus_scrapes_all_services(stack: Stack) -> None:
    """Prometheus has every service as an active target that is up."""

    def up() -> bool:
        answer = requests.get(f"{PROMETHEUS}/api/v1/targets?state=active", timeout=5).json()
        targets = {
            target["labels"]["service"]: target["health"]
            for target in answer["data"]["activeTargets"]
            if target["labels"]["job"] == "claire"
        }
        return targets == dict.fromkeys((*SERVICES, "cdb_notifier"), "up")

    eventually(up, "six targets up", 60)


def test_the_dashboards_reader_writes_nothing(stack: Stack) -> None:
    """The dashboards' user can look (test_monitoring_live asks every panel), and is refused a change."""
    connection = stack.postgres("claire_reader")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("DELETE FROM trades")
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["cdb_core", "cdb_writer"])
def test_a_service_stops_in_good_order_and_comes_back(stack: Stack, name: str) -> None:
    """SIGTERM ends a service within its grace period with exit code 0; started again it is healthy."""
    container = stack.container(name)

    container.stop(timeout=20)
    container.reload()
    code = container.attrs["State"]["ExitCode"]
    container.start()
    stack.await_healthy()

    assert code == 0
