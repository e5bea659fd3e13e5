"""A recorded afternoon, one journal entry at a time, gives the same five tables in Docker and in `claire up`.

The recording is the crash of 2021-05-19 from 12:00 to 18:00 UTC, with a strategy that looks back one minute, so that
there is much to decide. In Docker it is played twice: undisturbed, and with every service and Redis killed on the way.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from claire.data_folder import DataFolder
from tests.e2e.stack import OFFSET, ROOT, Profile, Stack, eventually

CRASH_DAY = ROOT / "backoffice" / "data" / "crash-2021-05-19_xbtusd_1m.csv.gz"
FROM_MS, TO_MS = 1_621_425_600_000, 1_621_447_200_000
RUN_ID = "e2e-same-tables"
PROFILE = {
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_WINDOW_MIN": "2",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_MIN_VOLUME": "1000",
    "SIGNAL_COOLDOWN_MIN": "1",
    "SIGNAL_STOP_COOLDOWN_MIN": "1",
}
ORDER_BY = {
    "signals": "signal_id",
    "orders": "order_id",
    "trades": "trade_id",
    "positions": "run_id, venue, symbol",
    "portfolio_snapshots": "run_id, timestamp",
}
KILLED = ("cdb_core", "cdb_writer", "cdb_redis", "cdb_risk", "cdb_ws", "cdb_execution")
Tables = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def recording() -> Iterator[Path]:
    """The afternoon as a file that containers can read (and PostgreSQL's own user can pass by)."""
    folder = Path(tempfile.mkdtemp(prefix="claire-e2e-"))
    folder.chmod(0o755)
    path = folder / "afternoon.csv.gz"
    with gzip.open(CRASH_DAY, "rt", encoding="ascii") as whole, gzip.open(path, "wt", encoding="ascii") as part:
        part.write(next(whole))
        part.writelines(row for row in whole if FROM_MS <= int(row.partition(",")[0]) < TO_MS)
    path.chmod(0o644)
    yield path
    shutil.rmtree(folder, ignore_errors=True)


def _tables(query: Any) -> Tables:
    return {table: query(f"SELECT * FROM {table} ORDER BY {order}") for table, order in ORDER_BY.items()}


@pytest.fixture(scope="module")
def embedded(stack_manager: Stack, recording: Path) -> Tables:
    """What `claire up` makes of the recording."""
    stack_manager.down()  # two cores play one of them at a time
    folder = recording.parent / "data"
    command = [sys.executable, "-m", "claire", "up", "--feed", "recorded", "--file", str(recording)]
    command += ["--symbol-map", "XBTUSD=BTCUSDT", "--speed", "max", "--turnstile", "--exit-when-done", "--quiet"]
    command += ["--data-dir", str(folder), "--run-id", RUN_ID, "--first-port", str(OFFSET + 8000)]
    for name, value in PROFILE.items():
        command += ["--set", f"{name}={value}"]

    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    with DataFolder(folder).postgres() as server, server.connect() as connection, connection.cursor() as cursor:

        def query(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(statement)
            return [tuple(row) for row in cursor.fetchall()]

        return _tables(query)


def _profile(name: str, recording: Path, speed: str = "max") -> Profile:
    environ = {
        "E2E_FEED": "recorded",
        "E2E_FEED_FILES": f"/recordings/{recording.name}",
        "E2E_PLAYBACK_SPEED": speed,
        "RECORDINGS_DIR": str(recording.parent),
        "TURNSTILE": "true",
        "SNAPSHOT_EVERY": "500",
        "RUN_ID": RUN_ID,
    }
    return Profile(name, environ)


def _finished(stack: Stack) -> bool:
    """Whether the feed has ended and the writer has stored everything that followed from it."""
    if not stack.events("control", action="finished"):
        return False
    with stack.redis("readonly") as client:
        head, cursors = client.hget("bus", "head"), client.hgetall("cursor")
    stored = stack.rows("SELECT seq FROM event_store.cursor")[0]["seq"]
    deciding = (b"cdb_core", b"cdb_risk", b"cdb_execution")
    return head is not None and all(int(cursors.get(name, 0)) == int(head) == stored for name in deciding)


def _in_docker(stack: Stack) -> Tables:
    return _tables(lambda statement: [tuple(row.values()) for row in stack.rows(statement)])


def _assert_same(found: Mapping[str, list[tuple[Any, ...]]], expected: Mapping[str, list[tuple[Any, ...]]]) -> None:
    for table, rows in expected.items():
        assert len(rows) > 0, f"{table} is empty: the comparison would prove nothing"
        assert found[table] == rows, f"{table} differs"


def test_the_same_tables_in_docker(stack_manager: Stack, embedded: Tables, recording: Path) -> None:
    """Containers and local processes make the same rows of the same recording, to the last digit."""
    stack_manager.ensure(_profile("recorded", recording))

    eventually(lambda: _finished(stack_manager), "the recording is played and stored", 240)

    _assert_same(_in_docker(stack_manager), embedded)


@pytest.mark.chaos
def test_the_same_tables_with_kills_on_the_way(stack_manager: Stack, embedded: Tables, recording: Path) -> None:
    """SIGKILL to each service and to Redis in the middle of the run changes no row of any table."""
    stack = stack_manager
    # Slow enough for every kill to hit: the feed waits while somebody is away, so only the work between counts.
    stack.ensure(_profile("recorded, to be disturbed", recording, speed="400"))

    for service in KILLED:
        assert not stack.events("control", action="finished"), f"the run was over before {service} was killed"
        before = _stored(stack)
        stack.kill(service)
        eventually(lambda before=before: _stored(stack) > before + 40, f"the run goes on after {service}", 120)

    eventually(lambda: _finished(stack), "the recording is played and stored", 240)
    _assert_same(_in_docker(stack), embedded)


def _stored(stack: Stack) -> int:
    return int(stack.rows("SELECT seq FROM event_store.cursor")[0]["seq"])
