"""Looks at Redis: is it new enough, does it keep what it is given, has it room, and do its users exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from claire.address import COMPOSE_REDIS
from claire.doctor.finding import Finding, Level
from services.common.journal.link import Link
from services.common.settings import Infrastructure

__all__ = ["look_at_redis", "look_at_users"]

TOPIC: Final = "Redis"
OLDEST: Final = 7
MEMORY_WARN: Final = 0.5
MEMORY_PROBLEM: Final = 0.7
"""The journal refuses market data from here on."""
SMALLEST: Final = 64_000_000
"""Bytes: the last 10,000 entries and as many refused messages, which stay there in any case, need half of it."""


def look_at_redis(link: Link, infra: Infrastructure, mode: str) -> Iterator[Finding]:
    """Say how the server is.

    Args:
        link: to it.
        infra: where it is.
        mode: TRADING_MODE.

    Raises:
        redis.RedisError, OSError: it does not answer.
    """
    info = _info(link)
    remedy = Remedy.of(infra)
    yield from _version(info, remedy)
    yield from _durability(info, _setting(link, "appendfsync"), mode, remedy)
    yield from _memory(info, remedy)
    if not infra.REDIS_SOCKET and not infra.REDIS_PASSWORD.get_secret_value():
        yield Finding(
            TOPIC,
            Level.warning,
            f"{infra.REDIS_HOST}:{infra.REDIS_PORT} asks for no password: any program here may write into it",
            "leave --redis-port out (a UNIX socket then), or set REDIS_USERNAME and REDIS_PASSWORD_FILE",
        )


@dataclass(frozen=True)
class Remedy:
    """How a setting of this server is put right: it depends on who started it.

    Attributes:
        kind: `docker` (the stack's own), `folder` (of `claire up`) or `own` (somebody else's).
        client: how its settings are changed while it runs; only where it is somebody else's.
    """

    kind: str
    client: str = ""

    @classmethod
    def of(cls, infra: Infrastructure) -> Remedy:
        """Return it for the server that is looked at."""
        if infra.REDIS_SOCKET:
            return cls("folder")
        if infra.REDIS_HOST == COMPOSE_REDIS:
            return cls("docker")
        return cls("own", f"redis-cli -h {infra.REDIS_HOST} -p {infra.REDIS_PORT}")

    def setting(self, name: str, value: str, variable: str = "") -> str:
        """Return the command that makes `name` be `value` (`variable`: what Docker's start script reads)."""
        if self.kind == "docker":
            before = f"{variable}={value} " if variable else ""
            return f"{before}docker compose up -d --force-recreate cdb_redis"
        if self.kind == "folder":
            return "stop claire up and start it again: it starts Redis with what is right"
        return f"{self.client} CONFIG SET {name} {value}  # and in its redis.conf, for the next start"


def _info(link: Link) -> dict[str, str]:
    lines = [line for part in ("server", "persistence", "memory") for line in _lines(link.call("INFO", part))]
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _lines(raw: bytes) -> list[str]:
    return raw.decode(errors="replace").splitlines()


def _setting(link: Link, name: str) -> str | None:
    try:
        pair = link.call("CONFIG", "GET", name)
    except ResponseError:
        return None  # this user may not ask
    return pair[1].decode() if len(pair) == 2 else None


def _version(info: Mapping[str, str], remedy: Remedy) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if int(version.partition(".")[0]) < OLDEST:
        words = f"{name} {version}; {OLDEST} or newer is needed (ids like <epoch>-*, scripts with flags)"
        mend = "docker compose pull cdb_redis && docker compose up -d"
        if remedy.kind != "docker":
            mend = "install Redis 7 or newer there, or leave --redis-port out: claire up brings its own"
        yield Finding(TOPIC, Level.problem, words, mend)
    else:
        yield Finding(TOPIC, Level.ok, f"{name} {version} answers")


def _durability(info: Mapping[str, str], appendfsync: str | None, mode: str, remedy: Remedy) -> Iterator[Finding]:
    if info.get("aof_enabled") != "1":
        words = "the append-only file is off: a restart loses the journal"
        yield Finding(TOPIC, Level.problem, words, remedy.setting("appendonly", "yes"))
        return
    if info.get("aof_last_write_status", "ok") != "ok":
        words = "the append-only file cannot be written: nothing is taken any more (is the disk full?)"
        logs = "; docker compose logs --tail 20 cdb_redis" if remedy.kind == "docker" else ""
        yield Finding(TOPIC, Level.problem, words, f"df -h{logs}")
    needed = "always" if mode == "live" else "everysec"
    if appendfsync is None:
        yield Finding(TOPIC, Level.not_checked, "appendfsync: this Redis user may not ask; run it in cdb_writer")
    elif appendfsync == "no" or (mode == "live" and appendfsync != "always"):
        words = f"appendfsync is {appendfsync}; {mode} needs {needed}, or a power cut loses orders"
        mend = remedy.setting("appendfsync", needed, "REDIS_APPENDFSYNC")
        if remedy.kind == "folder" and mode == "live":
            mend = "stop claire up and start it again with TRADING_MODE=live: it starts Redis with what is right"
        yield Finding(TOPIC, Level.problem, words, mend)
    else:
        yield Finding(TOPIC, Level.ok, f"append-only file on, appendfsync {appendfsync} ({mode})")


def _memory(info: Mapping[str, str], remedy: Remedy) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", "")
    if policy != "noeviction":
        words = f"maxmemory-policy is {policy}: a full Redis would throw events away"
        yield Finding(TOPIC, Level.problem, words, remedy.setting("maxmemory-policy", "noeviction"))
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        words = f"no memory limit, {used // 1_000_000:,} MB are used: the machine ends before the journal says no"
        yield Finding(TOPIC, Level.warning, words, remedy.setting("maxmemory", "512mb", "REDIS_MAXMEMORY"))
        return
    share = used / limit
    words = f"{used // 1_000_000:,} of {limit // 1_000_000:,} MB are used ({share:.0%})"
    mend = "see under journal who is behind: nothing it needs can be trimmed (runbook speicher.md); more room: "
    mend += remedy.setting("maxmemory", "1gb", "REDIS_MAXMEMORY")
    if share >= MEMORY_PROBLEM:
        yield Finding(TOPIC, Level.problem, f"{words}: market data are refused from 70 %, entries from 80 %", mend)
    elif share >= MEMORY_WARN:
        yield Finding(TOPIC, Level.warning, words, mend)
    elif limit < SMALLEST:
        words += f": too little for what stays there in any case; {SMALLEST // 1_000_000} MB or more are meant"
        yield Finding(TOPIC, Level.warning, words, remedy.setting("maxmemory", "512mb", "REDIS_MAXMEMORY"))
    else:
        yield Finding(TOPIC, Level.ok, words)


def look_at_users(infra: Infrastructure, passwords: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether each of the three users can log in.

    Args:
        infra: where Redis is.
        passwords: by user; one that is not known here is not tried.
    """
    if infra.REDIS_SOCKET:
        yield Finding(
            TOPIC, Level.ok, "reached over a socket in a folder that only its owner may enter; it needs no users"
        )
        return
    for user in ("service", "operator", "readonly"):
        password = passwords.get(user)
        if not password:
            yield Finding(TOPIC, Level.not_checked, f"user {user}: its password is not known here")
            continue
        link = Link(
            infra.model_copy(update={"REDIS_USERNAME": user, "REDIS_PASSWORD": _secret(password)}), name="doctor"
        )
        try:
            link.call("PING")
            yield Finding(TOPIC, Level.ok, f"user {user} can log in")
        except AuthenticationError:
            words = f"user {user} cannot log in: it is missing, or has another password"
            yield Finding(TOPIC, Level.problem, words, "docker compose up -d --force-recreate cdb_secrets cdb_redis")
        except (RedisError, OSError) as error:
            yield Finding(TOPIC, Level.not_checked, f"user {user}: {type(error).__name__}")
        finally:
            link.close()


def _secret(value: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(value)
