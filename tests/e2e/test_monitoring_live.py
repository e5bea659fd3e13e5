"""Every panel and every alert rule asks for what is really there: each query is put to Prometheus or PostgreSQL."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import requests
import yaml

from backoffice.scripts import make_dashboards
from backoffice.scripts.dashboards.panel import Query, Sql
from services.common.runtime.catalogue.whole import CATALOGUE
from tests.e2e.market import Market
from tests.e2e.stack import PROMETHEUS_PORT, ROOT, SERVICES, Stack, eventually

PROMETHEUS = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1"
PANELS = [
    (f"{dashboard.name}: {panel.title} {place}", target)
    for dashboard in make_dashboards.DASHBOARDS
    for row in dashboard.rows
    for panel in row.panels
    for place, target in enumerate(panel.targets)
]
RULES = {
    rule["alert"]: rule["expr"]
    for path in (ROOT / "backoffice" / "monitoring" / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
SELECTOR = re.compile(r"\b(?:(?:cdb|process|alertmanager)_\w+|up)\b(?:\{[^}]*\})?")


def _ask(path: str, **parameters: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{PROMETHEUS}/{path}", params=parameters, timeout=10).json()
    assert answer["status"] == "success", (parameters, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _panel(query: Query) -> list[dict[str, Any]]:
    expr = query.expr.replace("$__range", "10m")
    if query.instant:
        return _ask("query", query=expr)
    now = time.time()
    return _ask("query_range", query=expr, start=str(now - 300), end=str(now), step="5")


def _filled_in(statement: str) -> str:
    """Replace Grafana's macros as Grafana does, for the whole of the last run."""
    since, until = "'2000-01-01T00:00:00Z'::timestamptz", "'2100-01-01T00:00:00Z'::timestamptz"
    text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {since} AND {until}", statement)
    text = text.replace("$__timeFrom()", since).replace("$__timeTo()", until).replace("$__interval_ms", "1000")
    run = "(SELECT run_id FROM event_store.runs ORDER BY first_seq DESC LIMIT 1)"
    return text.replace("${run:sqlstring}", run).replace("${symbol:sqlstring}", "'BTCUSDT'")


@pytest.fixture(scope="module")
def traded(stack: Stack, market: Market) -> Stack:
    """A stack that has bought, sold and refused nonsense once, and whose numbers Prometheus has seen several times."""
    market.let_pass(4)
    market.move("BTCUSDT", "0.008")
    eventually(lambda: stack.rows("SELECT 1 FROM trades WHERE side = 'buy'"), "a fill", 60)
    market.move("BTCUSDT", "-0.006")
    with stack.redis("operator") as outside:
        outside.publish("market_data", "nonsense")
    eventually(lambda: stack.rows("SELECT 1 FROM alerts"), "a warning about it", 60)
    eventually(lambda: stack.rows("SELECT 1 FROM trades WHERE side = 'sell'"), "the way out", 60)
    eventually(lambda: _ask("query", query='cdb_fills_total{side="SELL"} > 0'), "Prometheus has seen it", 30)
    return stack


@pytest.mark.parametrize(("name", "target"), PANELS, ids=[name for name, _ in PANELS])
def test_a_panel_has_data(traded: Stack, name: str, target: Query | Sql) -> None:
    """Its query is understood and returns something."""
    if isinstance(target, Query):
        assert eventually(lambda: _panel(target), name, 20)
    else:
        with traded.postgres("claire_reader") as connection, connection.cursor() as cursor:
            cursor.execute(_filled_in(" ".join(target.statement.split())))
            assert cursor.fetchall(), name


@pytest.mark.parametrize("name", [v.name for d in make_dashboards.DASHBOARDS for v in d.variables])
def test_a_choice_has_something_to_choose(traded: Stack, name: str) -> None:
    """Each variable's statement returns at least one value."""
    (statement,) = [v.statement for d in make_dashboards.DASHBOARDS for v in d.variables if v.name == name]

    assert traded.rows(_filled_in(statement))


@pytest.mark.parametrize("alert", sorted(RULES))
def test_an_alert_rule_looks_at_something(traded: Stack, alert: str) -> None:
    """Its expression is understood, and each selector in it has samples now: it can fire."""
    _ask("query", query=RULES[alert])
    selectors = SELECTOR.findall(RULES[alert])

    assert selectors
    for selector in selectors:
        assert eventually(lambda selector=selector: _ask("query", query=selector), selector, 20)  # type: ignore[misc]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_shows_exactly_what_the_catalogue_says(traded: Stack, service: str) -> None:
    """Every metric of its own on /metrics is documented, and every documented one is there."""
    text = traded.get(service, "/metrics").text
    shown = {name for name in re.findall(r"^# TYPE (cdb_\w+) ", text, re.MULTILINE) if not name.endswith("_created")}

    documented = {
        definition.series[0].removesuffix("_bucket") for definition in CATALOGUE if service in definition.producers
    }

    assert shown == documented
