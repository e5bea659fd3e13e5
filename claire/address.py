"""Which pipeline an operator's command is for: a running `claire up`, the Docker stack, or a given Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claire.data_folder import DataFolder
from services.common import channels
from services.common.errors import InputUnusable, SettingsInvalid
from services.common.runtime.lifecycle import DEFAULT_PORTS
from services.common.settings import Infrastructure, load_settings, read_environment

__all__ = ["DEFAULT_FOLDER", "LOCAL", "Address", "AddressUnknown", "find_address", "find_services"]

DEFAULT_FOLDER = Path("data/paper")
OPERATOR_PASSWORD = "REDIS_OPERATOR_PASSWORD"  # noqa: S105 - the name of a variable
COMPOSE_REDIS = "cdb_redis"
LOCAL = "127.0.0.1"

Services = Mapping[str, tuple[str, int]]
"""Service to the host and port of its HTTP."""


class AddressUnknown(InputUnusable):
    """It is not said which pipeline is meant, or it cannot be one; the text has the fix."""


@dataclass(frozen=True)
class Address:
    """One pipeline.

    Attributes:
        infra: the way to its Redis.
        services: where its services answer over HTTP.
        name: for people.
        fix: what to do when its journal does not answer.
    """

    infra: Infrastructure
    services: Services
    name: str
    fix: str


def find_address(
    folder: Path | None,
    redis: str,
    password_file: Path | None,
    environ: Mapping[str, str],
    first_port: int | None = None,
) -> Address:
    """Return the pipeline that is meant.

    Args:
        folder: data folder of a running `claire up`; None: not said.
        redis: `host:port` (or `host`, or the path of a UNIX socket) instead of a folder; empty: not said.
        password_file: file with the password of the Redis user `operator`.
        environ: REDIS_* of a container; REDIS_OPERATOR_PASSWORD (or …_FILE).
        first_port: HTTP port of cdb_ws when it cannot be known from the folder.

    Raises:
        AddressUnknown: two pipelines are named, or a file or address cannot be used.
    """
    if folder is not None and redis:
        raise AddressUnknown("--data-dir and --redis name two pipelines; give one of them")
    if redis or password_file is not None:
        return _given(redis or f"{LOCAL}:6379", password_file, environ, first_port)
    if folder is None and (environ.get("REDIS_HOST") or environ.get("REDIS_SOCKET")):
        return _of_environment(environ, first_port)
    return _of_folder(folder or DEFAULT_FOLDER, first_port)


def find_services(folder: Path | None, first_port: int | None, environ: Mapping[str, str]) -> Services:
    """Return where the services answer: of a folder's running `claire up`, of the compose network, or here at 8000."""
    if first_port is not None:
        return _ports(first_port)
    if folder is None and environ.get("REDIS_HOST") == COMPOSE_REDIS:
        return {service: (service, port) for service, port in DEFAULT_PORTS.items()}
    data = DataFolder(folder or DEFAULT_FOLDER)
    noted = data.noted()
    if noted and (folder is not None or data.in_use()):
        return _ports(noted["first_port"])
    return _ports(DEFAULT_PORTS[channels.WS])


def _ports(first: int) -> Services:
    return {service: (LOCAL, first + place) for place, service in enumerate(DEFAULT_PORTS)}


def _of_folder(path: Path, first_port: int | None) -> Address:
    data = DataFolder(path)
    if not data.exists:
        raise AddressUnknown(
            f"{data.path} holds no pipeline. For Docker: docker compose exec cdb_risk claire … ; "
            "for claire up: --data-dir DIR"
        )
    port = data.noted().get("redis_port") or None
    infra = load_settings(Infrastructure, data.redis(port=port).environment)
    return Address(
        infra,
        find_services(path, first_port, {}),
        f"the pipeline in {data.path}",
        f"nothing trades there while Redis is down. Start it with: claire up --data-dir {path}; "
        "is another one meant: --data-dir DIR",
    )


def _of_environment(environ: Mapping[str, str], first_port: int | None) -> Address:
    try:
        values = read_environment(environ)
        password = _operator_password(values)
        if password:
            values |= {"REDIS_USERNAME": channels.OPERATOR, "REDIS_PASSWORD": password}
        infra = load_settings(Infrastructure, {name: values[name] for name in values if name.startswith("REDIS_")})
    except SettingsInvalid as invalid:
        raise AddressUnknown(str(invalid)) from invalid
    where = infra.REDIS_SOCKET or f"{infra.REDIS_HOST}:{infra.REDIS_PORT}"
    fix = "look at it with: docker compose ps cdb_redis cdb_writer; docker compose logs --tail 50 cdb_redis cdb_writer"
    return Address(infra, find_services(None, first_port, environ), f"the pipeline at {where}", fix)


def _given(redis: str, password_file: Path | None, environ: Mapping[str, str], first_port: int | None) -> Address:
    values: dict[str, str] = {}
    if redis.startswith("/"):
        values["REDIS_SOCKET"] = redis
    else:
        host, _, port = redis.rpartition(":") if ":" in redis else (redis, "", "6379")
        values |= {"REDIS_HOST": host, "REDIS_PORT": port}
    try:
        password = _operator_password(
            environ if password_file is None else {f"{OPERATOR_PASSWORD}_FILE": str(password_file)}
        )
        if password:
            values |= {"REDIS_USERNAME": channels.OPERATOR, "REDIS_PASSWORD": password}
        infra = load_settings(Infrastructure, values)
    except SettingsInvalid as invalid:
        raise AddressUnknown(f"--redis {redis}: {invalid}") from invalid
    fix = (
        f"is {redis} the right address, and {OPERATOR_PASSWORD}_FILE (or --password-file) "
        "the password of its user operator?"
    )
    return Address(infra, find_services(None, first_port, environ), f"the pipeline at {redis}", fix)


def _operator_password(environ: Mapping[str, str]) -> str:
    """Return the password of the Redis user `operator`, empty when none is given.

    Raises:
        SettingsInvalid: its file cannot be read.
    """
    path = environ.get(f"{OPERATOR_PASSWORD}_FILE", "")
    if environ.get(OPERATOR_PASSWORD) or not path:
        return environ.get(OPERATOR_PASSWORD, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsInvalid(f"{OPERATOR_PASSWORD}_FILE={path}: cannot be read ({error.strerror})") from error
