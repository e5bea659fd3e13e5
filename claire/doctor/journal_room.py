"""Looks at the journal: is it open, is it one piece, who is alive, who is behind, and what was refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from claire.doctor.finding import Finding, Level
from claire.statistics.numbers import age, counted
from services.common import channels
from services.common.journal import keys
from services.common.journal.attachment import Attachment, look
from services.common.journal.entry import JournalId
from services.common.journal.link import Link

__all__ = ["look_at_journal"]

TOPIC: Final = "journal"
LAG_WARN: Final = 1_000
LAG_PROBLEM: Final = 50_000
SNAPSHOT_OLD: Final = 100_000
LETTERS_NEW_SEC: Final = 86_400


def look_at_journal(link: Link, logs: Callable[[str], str], wall: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Say how the journal and its readers are.

    Args:
        link: to Redis.
        logs: service to the command that shows what it last said.
        wall: the clock, seconds since the epoch.

    Raises:
        redis.RedisError, OSError: Redis does not answer.
    """
    found = look(link)
    if not found.epoch:
        yield Finding(TOPIC, Level.not_checked, "nothing was ever published: the pipeline has not run on this Redis")
        return
    yield from _opening(found, logs)
    yield from _one_piece(link, found)
    yield from _services(link, found.head, logs)
    yield from _letters(link, wall())


def _entries(count: int) -> str:
    return counted(count, "entry", "entries")


def _opening(found: Attachment, logs: Callable[[str], str]) -> Iterator[Finding]:
    words = f"epoch {found.epoch}, {_entries(found.head)}"
    if found.is_open:
        yield Finding(TOPIC, Level.ok, f"open: {words}")
    else:
        reason = "closed since Redis started: cdb_writer has not compared it with PostgreSQL, so nobody works"
        yield Finding(TOPIC, Level.problem, f"{reason} ({words})", logs(channels.WRITER))


def _one_piece(link: Link, found: Attachment) -> Iterator[Finding]:
    """Compare the stream with what the publish script says of it, and count its entries against its numbers."""
    if not link.call("EXISTS", keys.JOURNAL):
        if found.head:
            words = f"the stream is gone, its head says {found.head}"
            yield Finding(TOPIC, Level.problem, words, "restart Redis: cdb_writer brings it back from PostgreSQL")
        return
    flat = link.call("XINFO", "STREAM", keys.JOURNAL)
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    last = JournalId.parse(facts[b"last-generated-id"])
    if last.n != found.head:
        words = (
            f"the stream ends at {last}, its head says {found.head}: somebody has written into it past the publish "
            "script, and no service goes on"
        )
        mend = "docker compose exec cdb_writer claire mend-journal  # or claire mend-journal --data-dir …"
        yield Finding(TOPIC, Level.problem, words, mend)
        return
    oldest = link.call("XRANGE", keys.JOURNAL, "-", "+", "COUNT", 1)
    if not oldest:
        return
    first, length = JournalId.parse(oldest[0][0]).n, int(facts[b"length"])
    missing = last.n - first + 1 - length
    if missing:
        words = f"missing in the stream between {first} and {last.n}: {_entries(missing)}"
        yield Finding(TOPIC, Level.problem, words, "restart the services: what PostgreSQL has they read from there")
    else:
        yield Finding(TOPIC, Level.ok, f"no hole: {length:,} entries from {first:,} on are in Redis")


def _services(link: Link, head: int, logs: Callable[[str], str]) -> Iterator[Finding]:
    cursors = _numbers(link, keys.CURSOR)
    snapshots = _numbers(link, keys.DURABLE)
    alive = {service: bool(link.call("EXISTS", keys.lease_key(service))) for service in channels.SERVICES}
    if not any(alive.values()):
        yield Finding(
            TOPIC, Level.not_checked, "no service runs: nobody holds a lease", "docker compose up -d  # or claire up"
        )
        return
    for service in channels.SERVICES:
        if not alive[service]:
            yield Finding(TOPIC, Level.problem, f"{service} does not run: it holds no lease", logs(service))
            continue
        behind = head - cursors.get(service, 0) if service != channels.WS else 0
        parts = ["runs"] if service == channels.WS else [f"runs, {_entries(behind)} behind"]
        level = Level.problem if behind >= LAG_PROBLEM else Level.warning if behind >= LAG_WARN else Level.ok
        if service in channels.TURNSTILE_ORDER:
            behind_snapshot = head - snapshots.get(service, 0)
            parts.append(f"last snapshot {_entries(behind_snapshot)} ago")
            if behind_snapshot >= SNAPSHOT_OLD and level is Level.ok:
                level = Level.warning
                parts.append("so a restart takes long and the stream cannot be trimmed")
        yield Finding(TOPIC, level, f"{service} {', '.join(parts)}", "" if level is Level.ok else logs(service))


def _numbers(link: Link, key: str) -> dict[str, int]:
    """Return a hash of services to places; only their numbers."""
    flat = link.call("HGETALL", key)
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode(): int(value.rpartition(b"-")[2]) for name, value in pairs}


def _letters(link: Link, now: float) -> Iterator[Finding]:
    newest = link.call("XREVRANGE", keys.DEAD_LETTER, "+", "-", "COUNT", 1)
    count = link.call("XLEN", keys.DEAD_LETTER)
    if not newest:
        yield Finding(TOPIC, Level.ok, "no dead letters: nothing was refused")
        return
    seconds = now - int(newest[0][0].partition(b"-")[0]) / 1_000
    words = f"{counted(count, 'dead letter')}, the last {age(seconds)} ago"
    level = Level.warning if seconds < LETTERS_NEW_SEC else Level.ok
    mend = "claire dead-letters  # what was refused and why (runbook dead-letters.md)"
    yield Finding(TOPIC, level, words, mend if level is Level.warning else "")
