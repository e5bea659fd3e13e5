"""The whole examination, room by room; what cannot be reached is said, not guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import psycopg2
from redis.exceptions import RedisError

from claire.address import LOCAL, Address, AddressUnknown, find_address, find_services
from claire.backup.place import backup_folder
from claire.data_folder import DataFolder
from claire.doctor.exchange_room import look_at_clock, look_at_exchange
from claire.doctor.finding import Finding, Level
from claire.doctor.journal_room import look_at_journal
from claire.doctor.machine_room import look_at_backups, look_at_disks, look_at_ports, look_at_versions
from claire.doctor.postgres_room import look_at_postgres, stored_events, stored_origin
from claire.doctor.redis_room import look_at_redis, look_at_users
from claire.doctor.settings_room import in_force, look_at_settings, look_at_settings_in_force, read_env_file
from claire.page import PORT_AFTER_FIRST
from claire.status import Answer, ask
from services.common import channels
from services.common.errors import ClaireError
from services.common.journal import keys
from services.common.journal.entry import JournalId
from services.common.journal.link import Link
from services.common.runtime.lifecycle import DEFAULT_PORTS
from services.common.settings import Infrastructure, load_settings, read_environment

__all__ = ["Examination", "Patient"]

SECRETS_OF_REDIS: Final = Path("/run/claire/redis")
BESIDE: Final = {"grafana": 3000, "prometheus": 19090}
WARN_FREE, CRITICAL_FREE = Decimal("0.15"), Decimal("0.05")

Connect = Callable[[], psycopg2.extensions.connection]


@dataclass(frozen=True)
class Patient:
    """Which pipeline is examined.

    Attributes:
        folder: data folder of `claire up`; None: not said.
        redis: `host:port` instead; empty: not said.
        password_file: of the Redis user `operator`.
        dsn: of a database instead.
        first_port: HTTP port of cdb_ws, when it cannot be known.
        environ: the environment.
        root: where `requirements.txt`, `.env` and `.env.example` may be.
    """

    folder: Path | None
    redis: str
    password_file: Path | None
    dsn: str
    first_port: int | None
    environ: Mapping[str, str]
    root: Path = field(default_factory=Path.cwd)


class Examination:
    """Looks at everything once."""

    def __init__(self, patient: Patient) -> None:
        """Take who is examined; nothing is looked at yet."""
        self._patient = patient
        self._environ = patient.environ
        self._head: int | None = None
        self._first: int | None = None
        self._stored: int | None = None
        self._origin = ""
        try:
            self._address: Address | None = find_address(
                patient.folder, patient.redis, patient.password_file, patient.environ, patient.first_port
            )
            self._unknown = ""
        except AddressUnknown as unknown:
            self._address, self._unknown = None, str(unknown)
        self._data = None if patient.redis or self._in_container else DataFolder(patient.folder or Path("data/paper"))

    @property
    def _in_container(self) -> bool:
        return self._patient.folder is None and bool(
            self._environ.get("REDIS_HOST") or self._environ.get("REDIS_SOCKET")
        )

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, room by room; a room that breaks is named and the others are still looked at."""
        for topic, look in (
            ("settings", self._settings),
            ("versions", self._versions),
            ("ports", self._ports),
            ("services", self._services),
            ("Redis", self._redis),
            ("PostgreSQL", self._postgres),
            ("disk", self._disks),
            ("backup", self._backups),
            ("clock", look_at_clock),
            ("MEXC", self._exchange),
        ):
            try:
                yield from look()
            except (ClaireError, OSError, RedisError, psycopg2.Error, ValueError, KeyError) as error:
                # the kind alone: the text of an error may hold an address with a password
                yield Finding(topic, Level.not_checked, f"this could not be looked at ({type(error).__name__})")

    def _settings(self) -> Iterator[Finding]:
        root = self._patient.root
        example = root / ".env.example"
        names: frozenset[str] = frozenset()
        if example.is_file():
            lines = example.read_text(encoding="utf-8").splitlines()
            names = frozenset(read_env_file("\n".join(line.removeprefix("#") for line in lines)))
        env_file = root / ".env"
        yield from look_at_settings(self._environ, env_file if env_file.is_file() else None, names)
        yield from look_at_settings_in_force(self._force, self._environ)

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return ask(find_services(self._patient.folder, self._patient.first_port, self._environ))

    @cached_property
    def _force(self) -> dict[str, Any]:
        return in_force(self._answers)

    def _setting(self, name: str) -> str:
        """Return a setting as it is in force, else as the environment has it; empty when neither says it."""
        return str(self._force.get(name) or self._environ.get(name) or "")

    def _versions(self) -> Iterator[Finding]:
        requirements = self._patient.root / "requirements.txt"
        yield from look_at_versions(requirements if requirements.is_file() else None)

    def _ports(self) -> Iterator[Finding]:
        if self._in_container:
            yield Finding("ports", Level.not_checked, "ports of the machine: we are inside a container")
            return
        services = find_services(self._patient.folder, self._patient.first_port, self._environ)
        ports = {**services, "page": (LOCAL, services[channels.WS][1] + PORT_AFTER_FIRST)}
        if services == {name: ("127.0.0.1", port) for name, port in DEFAULT_PORTS.items()}:
            ports = {name: (host, self._chosen(name, port)) for name, (host, port) in ports.items()}
        ports |= {name: ("127.0.0.1", self._chosen(name, port)) for name, port in BESIDE.items()}
        yield from look_at_ports(ports)

    def _chosen(self, name: str, port: int) -> int:
        value = self._environ.get(f"{name.upper()}_PORT", "")
        return int(value) if value.isdecimal() and 0 < int(value) < 65_536 else port

    def _services(self) -> Iterator[Finding]:
        if all(answer.failing is None for answer in self._answers.values()):
            words = "no service answers"
            yield Finding("services", Level.not_checked, words, "docker compose up -d  # or: claire up")
            return
        for service, answer in self._answers.items():
            if answer.failing is None:
                yield Finding("services", Level.problem, f"{service} does not answer", self._logs(service))
            elif answer.failing:
                reasons = "; ".join(f"{name}: {reason}" for name, reason in answer.failing.items())
                yield Finding("services", Level.problem, f"{service} is not well: {reasons}", self._logs(service))
            else:
                yield Finding("services", Level.ok, f"{service} is well")

    def _logs(self, service: str) -> str:
        if self._data is not None and self._data.logs.is_dir():
            return f"tail -n 50 {self._data.logs / service}.log"
        return f"docker compose logs --tail 50 {service}"

    def _redis(self) -> Iterator[Finding]:
        if self._address is None:
            named = self._patient.folder is not None or self._patient.redis or self._patient.password_file is not None
            yield Finding("Redis", Level.problem if named else Level.not_checked, self._unknown)
            return
        if self._data is not None and not self._data.in_use():
            words = f"nothing runs on {self._data.path}: Redis and the journal are at rest"
            yield Finding("Redis", Level.not_checked, words, f"claire up --data-dir {self._data.path}")
            return
        infra = self._address.infra
        mode = self._setting("TRADING_MODE") or "paper"
        with closing(Link(self._plain(infra), name="claire-doctor")) as link:
            try:
                yield from look_at_redis(link, infra, mode)
                yield from look_at_users(infra, self._passwords(infra))
                yield from look_at_journal(link, self._logs)
                self._head = int(link.call("HGET", keys.BUS, "head") or 0)
                oldest = link.call("XRANGE", keys.JOURNAL, "-", "+", "COUNT", 1)
                self._first = JournalId.parse(oldest[0][0]).n if oldest else None
            except (RedisError, OSError) as error:
                where = self._address.name
                words = f"{where} does not answer, or not to this user ({type(error).__name__})"
                yield Finding("Redis", Level.problem, words, self._address.fix)

    def _plain(self, infra: Infrastructure) -> Infrastructure:
        """Return the way in as the services' own user, who may ask more than the operator."""
        if not self._in_container:
            return infra
        values = read_environment(self._environ)
        return load_settings(Infrastructure, {name: values[name] for name in values if name.startswith("REDIS_")})

    def _passwords(self, infra: Infrastructure) -> dict[str, str]:
        known = {infra.REDIS_USERNAME: infra.REDIS_PASSWORD.get_secret_value()}
        for user in ("service", "operator", "readonly"):
            try:
                known[user] = (SECRETS_OF_REDIS / f"{user}_password").read_text(encoding="utf-8").strip()
            except OSError:
                continue
        return known

    def _postgres(self) -> Iterator[Finding]:
        connect = self._connect()
        if connect is None:
            where = "PostgreSQL is not published by Docker" if self._data is None else f"{self._data.path} is at rest"
            mend = "docker compose exec cdb_writer claire doctor" if self._data is None else ""
            yield Finding("PostgreSQL", Level.not_checked, f"{where}, and no --dsn was given", mend)
            return
        try:
            with closing(connect()) as database:
                database.autocommit = True
                yield from look_at_postgres(database, self._head, self._first)
                self._stored = stored_events(database)
                self._origin = stored_origin(database)
        except psycopg2.Error as error:
            words = f"it does not answer, or not to this user ({type(error).__name__})"
            yield Finding("PostgreSQL", Level.problem, words, self._logs("cdb_postgres"))

    def _connect(self) -> Connect | None:
        dsn = self._patient.dsn
        if dsn and dsn != "env":
            return lambda: psycopg2.connect(dsn, connect_timeout=5)
        if dsn == "env" or (self._in_container and self._environ.get("POSTGRES_HOST")):
            address = load_settings(Infrastructure, read_environment(self._environ)).postgres_address()
            return lambda: psycopg2.connect(**address, connect_timeout=5)
        if self._data is not None and self._data.in_use():
            return self._data.postgres().connect
        return None

    def _disks(self) -> Iterator[Finding]:
        folders = {"this folder": Path.cwd()} if self._data is None else {"the data": self._data.path}
        folders |= {
            name: Path(self._environ[name])
            for name in ("STATE_DIR", "EVENT_EXPORT_DIR", "BACKUP_DIR")
            if self._environ.get(name)
        }
        yield from look_at_disks(
            folders,
            self._share("DISK_WARN_FREE_PCT", WARN_FREE),
            self._share("DISK_CRITICAL_FREE_PCT", CRITICAL_FREE),
        )

    def _share(self, name: str, default: Decimal) -> Decimal:
        try:
            return Decimal(self._setting(name) or default)
        except ArithmeticError:
            return default  # the settings room has said so

    def _backups(self) -> Iterator[Finding]:
        recorded = None if self._stored is None else self._stored > 0
        command = "docker compose exec cdb_writer claire backup --dsn env --output /backups --keep 14"
        if self._data is not None:
            command = f"claire backup --data-dir {self._data.path} --keep 14"
            recorded = recorded or self._data.exists
        folder = backup_folder(None, self._environ)
        now = datetime.now(UTC)
        yield from look_at_backups(folder, now, command, anything_recorded=recorded, origin=self._origin)

    def _exchange(self) -> Iterator[Finding]:
        known = {name: self._setting(name) for name in ("TRADING_MODE", "FEED")}
        values = {**self._environ, **{name: value for name, value in known.items() if value}}
        for name in ("MEXC_API_KEY", "MEXC_API_SECRET"):
            path = values.get(f"{name}_FILE", "")
            if path and not values.get(name):
                try:
                    values[name] = Path(path).read_text(encoding="utf-8").strip()
                except OSError as error:
                    words = f"{name}_FILE={path}: cannot be read ({error.strerror})"
                    yield Finding("MEXC", Level.problem, words, f"ls -l {path}")
        if self._in_container and not values.get("FEED") and not values.get("MEXC_API_KEY"):
            words = "cdb_ws listens to it (and cdb_execution has the keys, when live), not this container"
            yield Finding("MEXC", Level.not_checked, words, "docker compose exec cdb_ws claire doctor")
            return
        yield from look_at_exchange(values)
