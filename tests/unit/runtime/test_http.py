"""HTTP of a service: health codes, status with exact numbers, metrics, and a port that is freed."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from urllib.error import HTTPError

import pytest

from services.common.runtime.health import Health, StatusBoard
from services.common.runtime.http import HttpServer, PortInUse, create_app
from services.common.runtime.metrics import Metrics

pytestmark = pytest.mark.unit


class Service:
    """A served application and its parts."""

    def __init__(self) -> None:
        self.health, self.status = Health(), StatusBoard()
        self.metrics = Metrics("cdb_core", "0.1.0", "0.1.0+abcdef")
        self.scraped = 0
        app = create_app("cdb_core", self.health, self.status, self.metrics, self._scrape)
        self.server = HttpServer(app, "127.0.0.1", 0).start()

    def _scrape(self) -> None:
        self.scraped += 1

    def get(self, path: str) -> tuple[int, str]:
        """Return status code and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def service() -> Iterator[Service]:
    """A running server."""
    service = Service()
    yield service
    service.server.stop()


def test_health_is_200_only_while_nothing_fails(service: Service) -> None:
    """503 and the reasons first, 200 with service and version once the loop runs."""
    code, body = service.get("/health")
    assert code == 503
    assert json.loads(body)["failing"] == {"loop": "starting"}
    assert json.loads(body)["status"] == "degraded"
    service.health.beat()
    code, body = service.get("/health")
    assert code == 200
    assert json.loads(body) == {"status": "ok", "service": "cdb_core", "version": "0.1.0"}


def test_status_shows_numbers_without_float_noise(service: Service) -> None:
    """Decimals come as text with their digits, small whole ones as integers, sets sorted."""
    service.status.add("money", lambda: Decimal("0.1"))
    service.status.add("count", lambda: Decimal(3))
    service.status.add("names", lambda: {"b", "a"})
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.001):
            service.status.refresh()

    thread = threading.Thread(target=loop)
    thread.start()
    code, body = service.get("/status")
    stop.set()
    thread.join()
    assert code == 200
    assert json.loads(body) == {
        "service": "cdb_core",
        "version": "0.1.0",
        "money": "0.1",
        "count": 3,
        "names": ["a", "b"],
    }


def test_metrics_have_the_names_that_dashboards_use(service: Service) -> None:
    """Every shared metric is exposed, what was handled until then is counted, gauges of the moment are set before."""
    service.metrics.handled("market_data", 0.25)
    code, body = service.get("/metrics")
    assert code == 200
    assert service.scraped == 1
    assert 'cdb_build_info{code_version="0.1.0+abcdef",service="cdb_core",version="0.1.0"} 1.0' in body
    assert 'cdb_entries_handled_total{channel="market_data"} 1.0' in body
    assert "cdb_handle_seconds_sum 0.25" in body
    for name in (
        "cdb_journal_lag_entries",
        "cdb_journal_position",
        "cdb_last_tick_age_seconds",
        "cdb_reconnects_total",
        "cdb_handle_seconds_bucket",
        "cdb_outputs_repeated_total",
        "cdb_snapshots_total",
        "process_resident_memory_bytes",
    ):
        assert name in body


def test_an_unknown_path_is_404(service: Service) -> None:
    """Nothing else is served."""
    assert service.get("/admin")[0] == 404


def test_a_taken_port_is_named(service: Service) -> None:
    """The error names service, port and the fix."""
    app = create_app("cdb_core", Health(), StatusBoard(), service.metrics, lambda: None)
    with pytest.raises(PortInUse, match=f"127.0.0.1:{service.server.port}"):
        HttpServer(app, "127.0.0.1", service.server.port)


def test_stopping_frees_the_port_and_ends_the_threads() -> None:
    """After stop another server can have the port; a second stop, or one before start, does no harm."""
    service = Service()
    service.get("/health")
    port = service.server.port
    service.server.stop()
    service.server.stop()
    app = create_app("cdb_core", Health(), StatusBoard(), service.metrics, lambda: None)
    successor = HttpServer(app, "127.0.0.1", port)
    successor.stop()
    assert not [thread for thread in threading.enumerate() if thread.name in {"http", "waitress-0"}]


def test_a_stop_that_is_noticed_early_closes_nothing_too_early(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop comes round between the wish to stop and the wake-up: the wake-up still finds its descriptor."""
    pull = service.server._server.pull_trigger

    def late() -> None:
        socket.create_connection(("127.0.0.1", service.server.port)).close()
        service.server._thread.join(0.2)
        pull()

    monkeypatch.setattr(service.server._server, "pull_trigger", late)

    service.server.stop()

    assert not service.server._thread.is_alive()


def test_a_busy_loop_counts_for_itself() -> None:
    """Where nobody asks for long, what was handled is counted in portions, and each entry once."""
    metrics = Metrics("cdb_core", "0.1.0", "0.1.0+abcdef")

    for _ in range(300):
        metrics.handled("signals", 0.001)

    assert len(metrics._timed) < 256
    assert metrics.registry.get_sample_value("cdb_entries_handled_total", {"channel": "signals"}) == 300
