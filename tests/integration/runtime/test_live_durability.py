"""Live trading's demand on Redis against a real one: what was confirmed is on the disk, or no order leaves."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from claire.embedded import EmbeddedRedis
from services.common.journal.client import JournalClient
from services.common.journal.opening import open_bus
from services.common.runtime.lifecycle import ExitCode
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
LIVE = {
    "TRADING_MODE": "live",
    "CONFIRM_LIVE_TRADING": "yes",
    "MEXC_API_KEY": "sandbox-key",
    "MEXC_API_SECRET": "sandbox-secret",
    "MEXC_REST_URL": "http://127.0.0.1:9",
    "MEXC_WS_URL": "ws://127.0.0.1:9/ws",
}


def test_what_redis_does_with_its_log_is_what_it_says(
    embedded_redis: EmbeddedRedis, infrastructure: Infrastructure
) -> None:
    """Also when it is changed while everything runs."""
    open_bus(infrastructure)
    said = {}
    with embedded_redis.client() as server:
        for appendonly, policy in (("yes", "always"), ("yes", "everysec"), ("yes", "no"), ("no", "always")):
            server.config_set("appendonly", appendonly)
            server.config_set("appendfsync", policy)
            client = JournalClient(infrastructure, name="test")
            said[appendonly, policy] = client.append_fsync()
            client.close()
        server.config_set("appendonly", "yes")
        server.config_set("appendfsync", "everysec")

    assert list(said.values()) == ["always", "everysec", "no", "off"]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["everysec", "no"])
def test_live_execution_does_not_start_on_a_redis_that_may_forget(
    embedded_redis: EmbeddedRedis, infrastructure: Infrastructure, environment: dict[str, str], policy: str
) -> None:
    """The process ends with the exit code of wrong settings and says the fix; nothing is asked of the exchange."""
    open_bus(infrastructure)
    with embedded_redis.client() as server:
        server.config_set("appendfsync", policy)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        live = {**environment, **LIVE, "HTTP_PORT": str(probe.getsockname()[1])}

    done = subprocess.run(
        [sys.executable, "-m", "services.cdb_execution.service"],
        env=live, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    with embedded_redis.client() as server:
        server.config_set("appendfsync", "everysec")
    assert done.returncode == ExitCode.SETTINGS, done.stdout + done.stderr
    assert "appendfsync always" in done.stdout + done.stderr
    assert "sandbox-secret" not in done.stdout + done.stderr
