"""Panels, rows and dashboards as plain values, and the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = ["POSTGRES", "PROMETHEUS", "Dashboard", "Panel", "Query", "Row", "Sql", "Variable", "as_json"]

PROMETHEUS: Final = {"type": "prometheus", "uid": "claire-prometheus"}
POSTGRES: Final = {"type": "grafana-postgresql-datasource", "uid": "claire-postgres"}

WIDTH: Final = 24
SCHEMA_VERSION: Final = 39

Kind = Literal["stat", "timeseries", "bargauge", "table"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A PromQL expression; `legend` names its series, `instant` asks for the value of now alone."""

    expr: str
    legend: str = ""
    instant: bool = False

    def as_json(self, ref: str) -> Json:
        """Return the target."""
        return {
            "refId": ref,
            "datasource": PROMETHEUS,
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "instant": self.instant,
            "range": not self.instant,
        }


@dataclass(frozen=True)
class Sql:
    """A statement; a time series has a column `time`."""

    statement: str
    series: bool = False

    def as_json(self, ref: str) -> Json:
        """Return the target."""
        return {
            "refId": ref,
            "datasource": POSTGRES,
            "rawQuery": True,
            "editorMode": "code",
            "format": "time_series" if self.series else "table",
            "rawSql": " ".join(self.statement.split()),
        }


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: what is seen, German.
        targets: what is asked.
        kind: how it is drawn.
        width: columns of 24.
        height: rows of Grafana's grid.
        unit: Grafana's name of the unit.
        about: a sentence for the tool tip.
        limits: value and colour, from there on; the first value is the base and None.
        texts: what is shown instead of a value, with its colour.
        text_mode: `name` shows the series' name instead of its value.
        points: names of series drawn as points, with their colour.
        colors: colour of the series whose names match, by regular expression.
        decimals: shown after the point.
    """

    title: str
    targets: Sequence[Query | Sql]
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 7
    unit: str = "short"
    about: str = ""
    limits: Sequence[tuple[float | None, str]] = ((None, "blue"),)
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    text_mode: str = "auto"
    points: dict[str, str] = field(default_factory=dict)
    colors: dict[str, str] = field(default_factory=dict)
    decimals: int | None = None

    def as_json(self, number: int, x: int, y: int) -> Json:
        """Return the panel at a place of the grid."""
        defaults: Json = {
            "unit": self.unit,
            "color": {"mode": "palette-classic" if self.kind == "timeseries" else "thresholds"},
            "thresholds": {"mode": "absolute", "steps": [{"value": at, "color": color} for at, color in self.limits]},
            "mappings": [
                {"type": "value", "options": {value: {"text": text, "color": color}}}
                for value, (text, color) in self.texts.items()
            ],
        }
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        if self.kind == "timeseries":
            defaults["custom"] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": True}
        if self.kind == "table":
            defaults["custom"] = {"minWidth": 60}  # all columns within the panel
            if self.unit == "short":
                defaults["unit"] = "none"  # prices with their digits, not 50.1 K
        sources = {target["datasource"]["uid"]: target["datasource"] for target in self._targets()}
        return {
            "id": number,
            "title": self.title,
            "description": self.about,
            "type": self.kind,
            "datasource": next(iter(sources.values())),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": list(self._targets()),
            "fieldConfig": {"defaults": defaults, "overrides": list(self._overrides())},
            "options": self._options(),
        }

    def _targets(self) -> Iterator[Json]:
        for place, target in enumerate(self.targets):
            yield target.as_json(chr(ord("A") + place))

    def _overrides(self) -> Iterator[Json]:
        for name, color in self.points.items():
            yield {
                "matcher": {"id": "byName", "options": name},
                "properties": [
                    {"id": "custom.drawStyle", "value": "points"},
                    {"id": "custom.showPoints", "value": "always"},
                    {"id": "custom.pointSize", "value": 9},
                    {"id": "color", "value": {"mode": "fixed", "fixedColor": color}},
                ],
            }

        for pattern, color in self.colors.items():
            yield {
                "matcher": {"id": "byRegexp", "options": f"/{pattern}/"},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
            }
        if self.kind == "table":
            yield {
                "matcher": {"id": "byType", "options": "time"},
                "properties": [{"id": "unit", "value": "dateTimeAsIso"}, {"id": "custom.width", "value": 160}],
            }

    def _options(self) -> Json:
        calculation = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        if self.kind == "stat":
            return {
                **calculation,
                "colorMode": "background" if len(self.limits) > 1 or self.texts else "value",
                "graphMode": "none",
                "textMode": self.text_mode,
            }
        if self.kind == "bargauge":
            return {**calculation, "orientation": "horizontal", "displayMode": "gradient", "showUnfilled": True}
        if self.kind == "table":
            return {"showHeader": True, "cellHeight": "sm"}
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True)
class Row:
    """A question, and the panels that answer it, from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice above the dashboard, from the first column of a statement."""

    name: str
    label: str
    statement: str


@dataclass(frozen=True)
class Dashboard:
    """A whole page.

    Attributes:
        name: of the file, and part of the uid.
        title: in Grafana.
        rows: from above.
        since, until: the time that it shows when it is opened.
        refresh: how often it asks again; empty: never by itself.
        variables: choices above it, each may use those before it.
        links: names and addresses of further views of it.
    """

    name: str
    title: str
    rows: Sequence[Row]
    since: str = "now-30m"
    until: str = "now"
    refresh: str = "5s"
    variables: Sequence[Variable] = ()
    links: Sequence[tuple[str, str]] = ()


def as_json(dashboard: Dashboard) -> Json:
    """Return what Grafana provisions: panels flow from left to right, so none lies over another."""
    return {
        "uid": f"claire-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["claire"],
        "timezone": "utc",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": dashboard.refresh,
        "time": {"from": dashboard.since, "to": dashboard.until},
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "title": "Claire de Binare", "tags": ["claire"], "asDropdown": True},
            *({"type": "link", "title": title, "url": url, "targetBlank": False} for title, url in dashboard.links),
        ],
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "panels": list(_placed(dashboard.rows)),
    }


def _variable(variable: Variable) -> Json:
    statement = " ".join(variable.statement.split())
    return {
        "type": "query",
        "name": variable.name,
        "label": variable.label,
        "datasource": POSTGRES,
        "query": statement,
        "definition": statement,
        "refresh": 2,
        "sort": 0,
        "multi": False,
        "includeAll": False,
        "hide": 0,
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    number, y = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "title": row.title,
            "type": "row",
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
            "panels": [],
            "targets": [],
        }
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            yield panel.as_json(number, x, y)
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
