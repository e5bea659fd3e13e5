"""Dashboards and alert rules ask only for what exists: every metric is registered, every column is in a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.channels import ONLOOKERS, SERVICES
from services.common.runtime.catalogue.whole import CATALOGUE
from services.common.runtime.health import Health
from services.common.runtime.lifecycle import DEFAULT_PORTS

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "backoffice" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "backoffice" / "docs" / "runbooks"
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

    asked = {name for expression in expressions for name in re.findall(r"\bcdb_\w+", expression)}

    assert asked
    assert asked - {*SERVICES, *ONLOOKERS} - _series() == set()


def test_each_rule_says_how_bad_it_is_what_it_is_and_where_to_read_on() -> None:
    """Whoever is woken up reads a German sentence and finds a page that says what to do."""
    names = [rule["alert"] for rule in _rules()]

    assert len(names) == len(set(names))
    for rule in _rules():
        runbook = ROOT / rule["annotations"]["runbook_url"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "runbook_url"}
        assert runbook.is_file(), f"{rule['alert']}: {runbook} is missing"
        assert runbook.parent == RUNBOOKS


def test_each_rule_stands_in_the_index_of_the_runbooks() -> None:
    """The index leads from the alert's name to the page that the alert itself names."""
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    rows = {
        name: page
        for names, page in re.findall(r"^\| (.+) \| \[.+\]\((.+)\) \|$", index, re.MULTILINE)
        for name in names.split(", ")
    }

    for rule in _rules():
        assert rows[rule["alert"]] == Path(rule["annotations"]["runbook_url"]).name


def test_each_check_of_a_service_leads_to_a_page() -> None:
    """Whoever reads a name under `failing` finds it in the table of service-steht.md, and no name there is invented."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "services").rglob("*.py")]
    checks = {name for source in sources for name in re.findall(r"\.check\(\"(\w+)\"", source)} | {*Health().names}
    page = (RUNBOOKS / "service-steht.md").read_text(encoding="utf-8")
    table = page.split("| Prüfung |")[1].split("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))) == checks
    assert len(checks) > 8


def test_each_rule_is_tested_with_a_case_that_fires_and_one_that_does_not() -> None:
    """`promtool test rules` runs them; here it is seen that none is missing."""
    fires, keeps_quiet = set(), set()
    for path in (MONITORING / "prometheus" / "tests").glob("*.yml"):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for expected in case["alert_rule_test"]:
                (fires if expected["exp_alerts"] else keeps_quiet).add(expected["alertname"])

    names = {rule["alert"] for rule in _rules()}

    assert fires == names
    assert keeps_quiet == names


def test_what_fires_reaches_the_notifier() -> None:
    """Prometheus knows Alertmanager, which hands everything to cdb_notifier and repeats it every 15 minutes."""
    prometheus = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    manager = yaml.safe_load((MONITORING / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    names = {rule["alert"] for rule in _rules()}

    (found,) = prometheus["alerting"]["alertmanagers"]
    assert found["static_configs"] == [{"targets": ["cdb_alertmanager:9093"]}]
    assert manager["route"]["receiver"] == "notifier"
    assert manager["route"]["repeat_interval"] == "15m"
    (receiver,) = manager["receivers"]
    (webhook,) = receiver["webhook_configs"]
    assert webhook == {"url": "http://cdb_notifier:8005/alertmanager", "send_resolved": True}
    for rule in manager["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            assert set(re.findall(r"[A-Z]\w+", matcher)) <= names, matcher


def test_the_e2e_suite_delivers_by_the_same_rules() -> None:
    """Its Alertmanager and its Prometheus differ in how long they wait, and in nothing else."""
    waits = {
        "alertmanager/alertmanager.yml": ("route", "group_wait", "group_interval"),
        "prometheus/prometheus.yml": ("global", "evaluation_interval"),
    }
    for path, (section, *waiting) in waits.items():
        ours, tested = (
            yaml.safe_load((folder / path).read_text(encoding="utf-8"))
            for folder in (MONITORING, ROOT / "tests" / "e2e")
        )

        for name in waiting:
            assert ours[section].pop(name) != tested[section].pop(name)
        assert ours == tested


def test_all_services_are_scraped() -> None:
    """Prometheus asks each service at its own port."""
    config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))

    claire = next(job for job in config["scrape_configs"] if job["job_name"] == "claire")
    targets = {entry["labels"]["service"]: entry["targets"] for entry in claire["static_configs"]}

    everyone = (*SERVICES, *ONLOOKERS)
    assert targets == {service: [f"{service}:{DEFAULT_PORTS[service]}"] for service in everyone}


def test_dashboards_use_the_provisioned_sources() -> None:
    """Each panel asks a data source that Grafana is given, by its fixed uid."""
    provisioned = yaml.safe_load(
        (MONITORING / "grafana" / "provisioning" / "datasources" / "claire.yml").read_text(encoding="utf-8")
    )
    uids = {source["uid"] for source in provisioned["datasources"]}

    asked = {target["datasource"]["uid"] for dashboard in DASHBOARDS for target in _targets(dashboard)}

    assert asked == uids
