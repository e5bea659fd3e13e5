"""The compose stack as the tests drive it: up, down, look inside, kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import docker
import docker.errors
import psycopg2
import psycopg2.extras
import redis
import requests
from docker.models.containers import Container

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = "claire_de_binare_e2e"
DAILY_PROJECT: Final = "claire_de_binare"
FILES: Final = (ROOT / "docker-compose.yml", ROOT / "tests" / "e2e" / "compose.override.yml")
SERVICES: Final = ("cdb_ws", "cdb_core", "cdb_risk", "cdb_execution", "cdb_writer")
OFFSET: Final = int(os.environ.get("CLAIRE_E2E_PORT_OFFSET", "0"))
"""For a machine whose ports 8000 to 8004 are taken, by `claire up` for example."""
PORTS: Final = {service: OFFSET + 8000 + place for place, service in enumerate(SERVICES)}
PROMETHEUS_PORT: Final = OFFSET + 19090
ALERTMANAGER_PORT: Final = OFFSET + 19093
REDIS_PORT: Final = OFFSET + 16379
POSTGRES_PORT: Final = OFFSET + 15432
NOTIFIER_PORT: Final = OFFSET + 8005
PAGE_PORT: Final = OFFSET + 8006
RECEIVER_PORT: Final = OFFSET + 18099
PUBLISHED: Final = {
    **{f"{service.upper()}_PORT": str(port) for service, port in PORTS.items()},
    "CDB_NOTIFIER_PORT": str(NOTIFIER_PORT),
    "CDB_PAGE_PORT": str(PAGE_PORT),
    "PROMETHEUS_PORT": str(PROMETHEUS_PORT),
    "ALERTMANAGER_PORT": str(ALERTMANAGER_PORT),
    "GRAFANA_PORT": str(OFFSET + 3000),
    "E2E_REDIS_PORT": str(REDIS_PORT),
    "E2E_POSTGRES_PORT": str(POSTGRES_PORT),
    "E2E_RECEIVER_PORT": str(RECEIVER_PORT),
}
HEALTHY_SEC: Final = 240.0

T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """How the stack is configured for a group of tests."""

    name: str
    environ: Mapping[str, str] = field(default_factory=dict)


EXTERNAL: Final = Profile("external")


class NotSeen(AssertionError):
    """What a test waited for did not come in time."""


def eventually(look: Callable[[], T | None], what: str, timeout_sec: float = 60.0, every_sec: float = 0.2) -> T:
    """Look again and again until there is something, at most `timeout_sec` seconds.

    Raises:
        NotSeen: naming what was waited for, and the last error of the look, if any.
    """
    deadline = time.monotonic() + timeout_sec
    error: Exception | None = None
    while True:
        try:
            found = look()
            error = None
        except (
            OSError,
            psycopg2.Error,
            redis.RedisError,
            docker.errors.APIError,
            requests.RequestException,
        ) as failure:
            found, error = None, failure
        if found:
            return found
        if time.monotonic() > deadline:
            raise NotSeen(f"not seen within {timeout_sec:.0f} s: {what}" + (f" (last: {error})" if error else ""))
        time.sleep(every_sec)


def docker_is_missing() -> str | None:
    """Return why no container can be run here, None when they can.

    Raises:
        RuntimeError: containers are required (CLAIRE_E2E_REQUIRED=1) and cannot be run.
    """
    try:
        docker.from_env().ping()
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
        reason = None if done.returncode == 0 else "Docker Compose v2 is missing"
    except (docker.errors.DockerException, OSError) as error:
        reason = f"no Docker engine answers: {error}"
    if reason is not None and os.environ.get("CLAIRE_E2E_REQUIRED") == "1":
        raise RuntimeError(f"CLAIRE_E2E_REQUIRED=1, but {reason}")
    return reason


class Stack:
    """One compose project for the whole session."""

    def __init__(self) -> None:
        self.docker = docker.from_env()
        self.profile: Profile | None = None
        self.services: list[str] = []
        self._daily: list[str] = []

    def __enter__(self) -> Self:
        self._daily = self._running(DAILY_PROJECT)
        if self._daily:
            self._say(f"the stack {DAILY_PROJECT} is stopped for the tests and started again afterwards")
            self.compose("down", project=DAILY_PROJECT)
        self.services = self._services_that_can_be_had()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.environ.get("CLAIRE_E2E_KEEP") == "1":
            return
        self.down()
        if self._daily:
            self.compose("up", "-d", *self._daily, project=DAILY_PROJECT)

    # up and down

    def ensure(self, profile: Profile) -> None:
        """Bring up a fresh stack with this profile, unless it is the one that runs; every container healthy."""
        if self.profile == profile:
            self.await_healthy()
            return
        self.down()
        self.compose("up", "-d", "--build", *self.services, environ=profile.environ)
        self.profile = profile
        self.await_healthy()

    def down(self) -> None:
        """Remove containers, networks and volumes of the test project (of no other).

        What is thrown away with its data need not stop in good order.
        """
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "0")
        self.profile = None

    def compose(self, *arguments: str, environ: Mapping[str, str] | None = None, project: str = PROJECT) -> str:
        """Run docker compose on the files of this repository.

        Raises:
            AssertionError: it failed; the text is what it said.
        """
        files = FILES if project == PROJECT else FILES[:1]
        command = ["docker", "compose", "--ansi", "never", "-p", project]
        for path in files:
            command += ["-f", str(path)]
        if project == PROJECT:  # a developer's .env configures the daily stack, not the tests
            command += ["--env-file", os.devnull]
        current = self.profile.environ if self.profile is not None else {}
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, **(PUBLISHED if project == PROJECT else {}), **current, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _running(self, project: str) -> list[str]:
        found = self.docker.containers.list(filters={"label": f"com.docker.compose.project={project}"})
        return sorted(container.labels["com.docker.compose.service"] for container in found)

    def _services_that_can_be_had(self) -> list[str]:
        config = json.loads(self.compose("config", "--format", "json"))
        names = []
        for name, service in config["services"].items():
            if (
                "build" in service
                or service["image"].startswith("claire_de_binare")
                or self._has_image(service["image"])
            ):
                names.append(name)
            else:
                self._say(f"{name} is left out: no image {service['image']} can be had here")
        assert {"cdb_redis", "cdb_postgres", *SERVICES} <= set(names), f"the stack cannot run with {names} alone"
        return names

    def _has_image(self, tag: str) -> bool:
        try:
            self.docker.images.get(tag)
        except docker.errors.ImageNotFound:
            command = ["docker", "pull", "--quiet", tag]
            try:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=180, check=False)
            except subprocess.TimeoutExpired:
                return False
            return done.returncode == 0
        return True

    @staticmethod
    def _say(text: str) -> None:
        sys.stderr.write(f"\n[e2e] {text}\n")

    # containers

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        found = self.docker.containers.list(
            all=True,
            filters={
                "label": [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={service}"],
            },
        )
        assert len(found) == 1, f"{service}: {len(found)} containers"
        return found[0]

    def health(self, service: str) -> str:
        """Return what Docker says of a container: healthy, unhealthy, starting."""
        state = self.container(service).attrs["State"]
        return str(state["Health"]["Status"]) if state["Running"] else str(state["Status"])

    def is_well(self, service: str) -> bool:
        """Whether a container's own health check passes: Docker's last word when that is good, else asked here and now.

        Docker asks every few seconds only, and nothing but waiting would come of its next time.
        """
        container = self.container(service)
        state = container.attrs["State"]
        if not state["Running"] or state["Health"]["Status"] == "healthy":
            return bool(state["Running"])
        kind, *check = container.attrs["Config"]["Healthcheck"]["Test"]
        code, _ = container.exec_run(check if kind == "CMD" else ["sh", "-c", *check])
        return bool(code == 0)

    def await_healthy(self, *services: str, timeout_sec: float = HEALTHY_SEC) -> None:
        """Wait until every container (or the named ones) is well; on failure show what they logged."""
        wanted = services or tuple(name for name in self.services if name != "cdb_secrets")
        try:
            eventually(lambda: all(self.is_well(service) for service in wanted), f"{wanted} healthy", timeout_sec)
        except NotSeen as unseen:
            ill = [service for service in wanted if self.health(service) != "healthy"]
            logs = "\n".join(f"--- {name}\n{self.logs(name, 40)}" for name in ill)
            raise NotSeen(f"{unseen}\n{logs}") from None

    def logs(self, service: str, tail: int = 200) -> str:
        """Return the last lines that a container wrote."""
        return self.container(service).logs(tail=tail).decode(errors="replace")

    def execute(self, service: str, *command: str) -> str:
        """Run a program in a container; an exit code other than 0 is an AssertionError with its output."""
        code, output = self.container(service).exec_run(list(command))
        text = output.decode(errors="replace")
        assert code == 0, f"{service}: {command}: exit {code}: {text}"
        return text

    def kill(self, service: str) -> None:
        """Kill the service's process with SIGKILL from inside, as the kernel would; Docker's restart policy acts.

        (`docker kill` would count as a wish of the operator, and the restart policy would not act.)
        """
        before = self.restarts(service)
        self.container(service).exec_run(["sh", "-c", _KILL])
        eventually(lambda: self.restarts(service) > before, f"Docker restarts {service}", 60)

    def restarts(self, service: str) -> int:
        """Return how often Docker's restart policy has started the container again."""
        container = self.container(service)
        container.reload()
        return int(container.attrs["RestartCount"])

    # HTTP

    def get(self, service: str, path: str) -> requests.Response:
        """Ask a service over its published port."""
        return requests.get(f"http://127.0.0.1:{PORTS[service]}{path}", timeout=5)

    # Redis and PostgreSQL

    def secret(self, name: str) -> str:
        """Return a generated password (`redis/operator_password`) as the containers have it."""
        folder = name.partition("/")[0]
        return self.execute({"redis": "cdb_redis", "postgres": "cdb_postgres"}[folder], "cat", f"/run/claire/{name}")

    def redis(self, user: str = "operator") -> redis.Redis:
        """Return a plain Redis client; `operator` may PUBLISH where an operator should, `readonly` looks."""
        return redis.Redis(
            host="127.0.0.1",
            port=REDIS_PORT,
            username=user,
            password=self.secret(f"redis/{user}_password"),
            socket_timeout=5,
            socket_connect_timeout=5,
        )

    def postgres(self, user: str = "claire_reader") -> psycopg2.extensions.connection:
        """Return a new connection as a reader (dashboards', services'), the owner `claire` or the superuser."""
        secret = {
            "claire_reader": "reader_password",
            "claire_service": "service_password",
            "claire": "password",
            "postgres": "superuser_password",
        }[user]
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=POSTGRES_PORT,
            user=user,
            password=self.secret(f"postgres/{secret}"),
            dbname="claire_de_binare",
            connect_timeout=5,
        )
        connection.autocommit = True
        return connection

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Return what PostgreSQL answers, one dict a row; money stays Decimal."""
        with self.one_moment() as rows:
            return rows(query, *parameters)

    @contextmanager
    def one_moment(self) -> Iterator[Callable[..., list[dict[str, Any]]]]:
        """Give a `rows` whose queries all see the database as it was at the first of them.

        The writer goes on meanwhile; without this, a second query sees fills that the first did not.
        """
        connection = self.postgres()
        try:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:

                def rows(query: str, *parameters: Any) -> list[dict[str, Any]]:
                    cursor.execute(query, parameters or None)
                    return [dict(row) for row in cursor.fetchall()]

                yield rows
        finally:
            connection.close()

    def events(self, channel: str, **fields: str) -> list[dict[str, Any]]:
        """Return the events of a channel in their order, decoded from their exact bytes."""
        rows = self.rows("SELECT seq, data FROM event_store.events WHERE channel = %s ORDER BY seq", channel)
        events = [{"seq": row["seq"], **json.loads(bytes(row["data"]), parse_float=Decimal)} for row in rows]
        return [event for event in events if all(event.get(name) == value for name, value in fields.items())]


_KILL: Final = (
    "for process in /proc/[0-9]*; do while read -r key value; do "
    'if [ "$key $value" = "PPid: 1" ]; then kill -9 "${process#/proc/}"; fi; '
    'done < "$process/status"; done 2>/dev/null; true'
)
"""SIGKILL to the children of the container's init: the service's process (a server's own children follow it)."""
