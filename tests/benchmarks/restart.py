"""Restart after kill -9: from the start of the new process until it has caught up with the head."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from services.common import channels
from services.common.journal.opening import open_bus
from services.common.settings import Infrastructure, load_settings
from tests.benchmarks.pipeline_chain import STRATEGY, Feed, await_services, config_of_feed, running_services

__all__ = ["measure_restart"]


def measure_restart(environment: Mapping[str, str], *, history: int, missed: int) -> dict[str, float]:
    """Kill cdb_risk after `history` events, publish `missed` more, start it again; seconds until it has done the head.

    The yardstick beside it is a bare interpreter that imports the same packages and ends.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "services.log"
        infra = load_settings(Infrastructure, environment)
        open_bus(infra)
        feed = Feed(infra)
        feed.publish(config_of_feed())
        with running_services({**environment, **STRATEGY}, log=log) as processes:
            await_services(feed.client, log)
            for number in range(history):
                feed.send(feed.event(number))
            _await_cursor(feed)
            risk = processes[1]
            command, settings = risk.args, dict(risk.claire_environment)  # type: ignore[attr-defined]
            risk.kill()
            risk.wait()
            for number in range(history, history + missed):
                feed.send(feed.event(number))
            started = time.perf_counter()
            with log.open("ab") as output:
                processes[1] = subprocess.Popen(command, env=settings, stdout=output, stderr=output)
            _await_cursor(feed)
            caught_up = time.perf_counter() - started
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "import services.cdb_risk.machine, redis, flask, waitress"],
            check=True,
            env=os.environ,
        )
        return {"restart_to_caught_up_sec": caught_up, "bare_import_sec": time.perf_counter() - begun}


def _await_cursor(feed: Feed, timeout_sec: float = 60) -> None:
    deadline = time.monotonic() + timeout_sec
    while time.monotonic() < deadline:
        head = feed.client.head()
        assert head is not None
        if feed.client.cursors().get(channels.RISK, 0) >= head.n:
            return
        time.sleep(0.005)
    raise TimeoutError(f"cdb_risk has not caught up within {timeout_sec} s")
