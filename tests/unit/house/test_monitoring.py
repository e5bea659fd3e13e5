"""Dashboards and alert rules ask only for what exists: every metric is registered, every column is in a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.channels import SERVICES
from services.common.runtime.catalogue.whole import CATALOGUE
from services.common.runtime.lifecycle import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "backoffice" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
pytestmark = pytest.mark.unit


def _targets(dashboard: Path) -> Iterator[dict[str, Any]]:
    for panel in json.loads(dashboard.read_text(encoding="utf-8"))["panels"]:
        yield from panel["targets"]


def _rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def _series() -> set[str]:
    """Names that the services export: what stands in the catalogue, and nothing else is registered."""
    return {name for definition in CATALOGUE for name in definition.series}


def test_every_metric_that_is_asked_for_is_exported() -> None:
    """No panel and no rule names a series that no service has."""
    expressions = [rule["expr"] for rule in _rules()]
    expressions += [target["expr"] for dashboard in DASHBOARDS for target in _targets(dashboard) if "expr" in target]

    asked = {name for expression in expressions for name in re.findall(r"\bcdb_[a-z_]+", expression)}

    assert asked
    assert asked - set(SERVICES) - _series() == set()


def test_each_rule_names_a_runbook_that_exists() -> None:
    """Whoever is woken up finds a page that says what to do."""
    for rule in _rules():
        runbook = ROOT / rule["annotations"]["runbook"]

        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert runbook.is_file(), f"{rule['alert']}: {runbook} is missing"


def test_all_five_services_are_scraped() -> None:
    """Prometheus asks each service at its own port."""
    config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))

    claire = next(job for job in config["scrape_configs"] if job["job_name"] == "claire")
    targets = {entry["labels"]["service"]: entry["targets"] for entry in claire["static_configs"]}

    assert targets == {service: [f"{service}:{DEFAULT_PORTS[service]}"] for service in SERVICES}


def test_dashboards_use_the_provisioned_sources() -> None:
    """Each panel asks a data source that Grafana is given, by its fixed uid."""
    provisioned = yaml.safe_load(
        (MONITORING / "grafana" / "provisioning" / "datasources" / "claire.yml").read_text(encoding="utf-8")
    )
    uids = {source["uid"] for source in provisioned["datasources"]}

    asked = {target["datasource"]["uid"] for dashboard in DASHBOARDS for target in _targets(dashboard)}

    assert asked == uids
