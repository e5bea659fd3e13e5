"""The alert rules as Prometheus itself understands them: valid, loaded, and each firing when it must."""

from __future__ import annotations

from typing import Any

import requests
import yaml

from tests.e2e.stack import ALERTMANAGER_PORT, PROMETHEUS_PORT, ROOT, Stack, eventually

RULES = ROOT / "backoffice" / "monitoring" / "prometheus" / "rules"


def _names() -> set[str]:
    return {
        rule["alert"]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }


def test_promtool_finds_each_rule_firing_and_keeping_quiet(stack: Stack) -> None:
    """`promtool test rules` of the Prometheus that runs here passes on every case."""
    said = stack.execute("cdb_prometheus", "sh", "-c", "cd /etc/prometheus/tests && promtool test rules *.yml")

    assert "FAILED" not in said
    assert said.count("SUCCESS") == len(list((RULES.parent / "tests").glob("*.yml")))


def test_every_rule_is_loaded(stack: Stack) -> None:
    """Prometheus has loaded every rule of the repository, and none of them has an error."""
    answer: dict[str, Any] = requests.get(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/rules", timeout=5).json()

    loaded = [rule for group in answer["data"]["groups"] for rule in group["rules"]]

    assert {rule["name"] for rule in loaded} == _names()
    assert all(rule["health"] in {"ok", "unknown"} for rule in loaded), loaded


def test_what_fires_reaches_alertmanager(stack: Stack) -> None:
    """Prometheus has found its Alertmanager, and that is ready to take what fires."""
    answer = requests.get(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/alertmanagers", timeout=5).json()
    ready = eventually(
        lambda: requests.get(f"http://127.0.0.1:{ALERTMANAGER_PORT}/-/ready", timeout=5).ok, "Alertmanager ready", 30
    )

    assert [manager["url"] for manager in answer["data"]["activeAlertmanagers"]] == [
        "http://cdb_alertmanager:9093/api/v2/alerts"
    ]
    assert ready
