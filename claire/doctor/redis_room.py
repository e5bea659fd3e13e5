"""Looks at Redis: is it new enough, does it keep what it is given, has it room, and do its users exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from claire.doctor.finding import Finding, Level
from services.common.journal.link import Link
from services.common.settings import Infrastructure

__all__ = ["look_at_redis", "look_at_users"]

TOPIC: Final = "Redis"
OLDEST: Final = 7
MEMORY_WARN: Final = 0.5
MEMORY_PROBLEM: Final = 0.7
"""The journal refuses market data from here on."""


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
    yield from _version(info)
    yield from _durability(info, _setting(link, "appendfsync"), mode)
    yield from _memory(info)
    if not infra.REDIS_SOCKET and not infra.REDIS_PASSWORD.get_secret_value():
        yield Finding(
            TOPIC,
            Level.warning,
            f"{infra.REDIS_HOST}:{infra.REDIS_PORT} asks for no password: any program here may write into it",
            "leave --redis-port out (a UNIX socket then), or set REDIS_USERNAME and REDIS_PASSWORD_FILE",
        )


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


def _version(info: Mapping[str, str]) -> Iterator[Finding]:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    if int(version.partition(".")[0]) < OLDEST:
        words = f"{name} {version}; {OLDEST} or newer is needed (ids like <epoch>-*, scripts with flags)"
        yield Finding(TOPIC, Level.problem, words, "docker compose pull cdb_redis && docker compose up -d")
    else:
        yield Finding(TOPIC, Level.ok, f"{name} {version} answers")


def _durability(info: Mapping[str, str], appendfsync: str | None, mode: str) -> Iterator[Finding]:
    if info.get("aof_enabled") != "1":
        words = "the append-only file is off: a restart loses the journal"
        yield Finding(TOPIC, Level.problem, words, "redis-cli CONFIG SET appendonly yes  # and in redis.conf")
        return
    if info.get("aof_last_write_status", "ok") != "ok":
        words = "the append-only file cannot be written: nothing is taken any more (is the disk full?)"
        yield Finding(TOPIC, Level.problem, words, "df -h; docker compose logs --tail 20 cdb_redis")
    needed = "always" if mode == "live" else "everysec"
    if appendfsync is None:
        yield Finding(TOPIC, Level.not_checked, "appendfsync: this Redis user may not ask; run it in cdb_writer")
    elif appendfsync == "no" or (mode == "live" and appendfsync != "always"):
        words = f"appendfsync is {appendfsync}; {mode} needs {needed}, or a power cut loses orders"
        yield Finding(TOPIC, Level.problem, words, f"REDIS_APPENDFSYNC={needed} docker compose up -d cdb_redis")
    else:
        yield Finding(TOPIC, Level.ok, f"append-only file on, appendfsync {appendfsync} ({mode})")


def _memory(info: Mapping[str, str]) -> Iterator[Finding]:
    policy = info.get("maxmemory_policy", "")
    if policy != "noeviction":
        words = f"maxmemory-policy is {policy}: a full Redis would throw events away"
        yield Finding(
            TOPIC, Level.problem, words, "redis-cli CONFIG SET maxmemory-policy noeviction  # and in redis.conf"
        )
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        words = f"no memory limit, {used // 1_000_000:,} MB are used: the machine ends before the journal says no"
        yield Finding(TOPIC, Level.warning, words, "REDIS_MAXMEMORY=512mb docker compose up -d cdb_redis")
        return
    share = used / limit
    words = f"{used // 1_000_000:,} of {limit // 1_000_000:,} MB are used ({share:.0%})"
    mend = "claire doctor shows under journal who holds it; then REDIS_MAXMEMORY=1gb docker compose up -d cdb_redis"
    if share >= MEMORY_PROBLEM:
        yield Finding(TOPIC, Level.problem, f"{words}: market data are refused from 70 %, entries from 80 %", mend)
    elif share >= MEMORY_WARN:
        yield Finding(TOPIC, Level.warning, words, mend)
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
