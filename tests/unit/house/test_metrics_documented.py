"""Every metric stands in the catalogue once, each service shows exactly its own, and the handbook's table follows."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from backoffice.scripts import make_metrics
from services.cdb_core.adapters.metrics import CoreMetrics
from services.cdb_execution.adapters.metrics import ExecutionMetrics
from services.cdb_risk.adapters.metrics import RiskMetrics
from services.cdb_writer.adapters.metrics import WriterMetrics
from services.cdb_writer.adapters.storage_watch import StorageWatch
from services.cdb_ws.adapters.feed_metrics import FeedMetrics
from services.common import channels
from services.common.runtime.catalogue.whole import CATALOGUE
from services.common.runtime.metrics import Metrics
from services.common.settings import Infrastructure

pytestmark = pytest.mark.unit


def registry_of(service: str) -> CollectorRegistry:
    """Return the registry as the process of a service fills it."""
    metrics = Metrics(service, "0", "0")
    registry = metrics.registry
    life: Any = SimpleNamespace(metrics=metrics, check=lambda *_: None, status=SimpleNamespace(add=lambda *_: None))
    machines = {channels.CORE: CoreMetrics, channels.RISK: RiskMetrics, channels.EXECUTION: ExecutionMetrics}
    if service in machines:
        machines[service](registry, lambda: None)
    elif service == channels.WS:
        FeedMetrics(life, speed=None, tick_sec=1, expected=[("mexc_spot", "BTCUSDT")])
    else:
        WriterMetrics(registry)
        StorageWatch(Infrastructure(), registry, threading.Event())
    return registry


def own(registry: CollectorRegistry) -> dict[str, str]:
    """Return name and help of what is not a library's."""
    return {family.name: family.documentation for family in registry.collect() if family.name.startswith("cdb_")}


@pytest.mark.parametrize("service", channels.SERVICES)
def test_a_service_shows_what_the_catalogue_says(service: str) -> None:
    """Neither more nor less, under the name and with the help that the handbook prints."""
    documented = {definition.name: definition.help for definition in CATALOGUE if service in definition.producers}

    shown = own(registry_of(service))

    assert shown == documented


def test_names_are_whole_words_with_base_units() -> None:
    """`cdb_` and lower case; no milliseconds, percentages or shortened words; each name once, each help a sentence."""
    names = [definition.name for definition in CATALOGUE]

    assert len(names) == len(set(names))
    for definition in CATALOGUE:
        assert re.fullmatch(r"cdb(_[a-z]{2,})+", definition.name), definition.name
        assert not re.search(r"_(ms|milliseconds|pct|percent|bps|sec|qty|pos|avg|num|total)(_|$)", definition.name)
        assert definition.help.endswith("."), definition.name


def test_what_can_alert_is_there_from_the_start() -> None:
    """A counter by channel, layer or status begins at 0: one that appears with its first event has no increase."""
    risk, execution = registry_of(channels.RISK), registry_of(channels.EXECUTION)

    for channel in channels.CHANNELS:
        assert risk.get_sample_value("cdb_dead_letters_total", {"channel": channel}) == 0
    assert risk.get_sample_value("cdb_layer_verdicts_total", {"layer": "timeout_check", "status": "fail"}) == 0
    assert risk.get_sample_value("cdb_decisions_total", {"purpose": "stop_loss", "verdict": "refused"}) == 0
    assert execution.get_sample_value("cdb_order_results_total", {"status": "UNKNOWN"}) == 0
    assert execution.get_sample_value("cdb_exchange_clock_offset_seconds") == 0


def test_the_table_in_the_handbook_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """The page equals what the catalogue generates; `make schemas` writes it."""
    assert make_metrics.PAGE.read_text(encoding="utf-8") == make_metrics.page()
    assert make_metrics.main(["--check"]) == 0
    assert capsys.readouterr().out == "metrics: up to date\n"


def test_an_outdated_table_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check fails and says what to do; without it the page is written."""
    monkeypatch.setattr(make_metrics, "PAGE", tmp_path / "metriken.md")
    assert make_metrics.main(["--check"]) == 1
    assert "make schemas" in capsys.readouterr().out
    assert make_metrics.main([]) == 0
    assert make_metrics.main(["--check"]) == 0
