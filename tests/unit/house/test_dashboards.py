"""The provisioned dashboards are those that the code builds, and Grafana can draw them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from backoffice.scripts import make_dashboards
from backoffice.scripts.dashboards.panel import SCHEMA_VERSION, as_json

pytestmark = pytest.mark.unit

UNITS = {"short", "s", "bytes", "percentunit", "suffix:USDT", "cps", "none", "dateTimeAsIso"}
"""Of Grafana's value formats (@grafana/data, valueFormats/categories) those that are used here."""

LETTERS_PER_COLUMN = 8
"""Of a title at Grafana's size, on a screen 1,920 points wide."""

PAGES = {dashboard.name: as_json(dashboard) for dashboard in make_dashboards.DASHBOARDS}


def test_the_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON files equal what the code builds; `make schemas` writes them."""
    assert make_dashboards.main(["--check"]) == 0
    assert capsys.readouterr().out == "dashboards: up to date\n"


def test_outdated_and_foreign_files_are_named_and_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names each file that differs; without it all are written, and one that nobody builds goes."""
    monkeypatch.setattr(make_dashboards, "FOLDER", tmp_path)
    (tmp_path / "old.json").write_text("{}")
    assert make_dashboards.main(["--check"]) == 1
    assert "old.json, overview.json" in capsys.readouterr().out
    assert make_dashboards.main([]) == 0
    assert make_dashboards.main(["--check"]) == 0


def test_each_question_has_its_page() -> None:
    """Overview, funnel, trading and system, each with an address of its own; the overview is Grafana's home."""
    compose = yaml.safe_load((make_dashboards.ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    home = compose["services"]["cdb_grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert [page["uid"] for page in PAGES.values()] == [
        "claire-overview", "claire-funnel", "claire-trading", "claire-system"
    ]  # fmt: skip
    assert home == "/etc/grafana/dashboards/overview.json"
    for page in PAGES.values():
        assert page["schemaVersion"] == SCHEMA_VERSION
        assert page["editable"] is False


@pytest.mark.parametrize("name", PAGES)
def test_no_panel_lies_over_another_or_beyond_the_edge(name: str) -> None:
    """Every two panels are apart, all are within the 24 columns, and their numbers differ."""
    panels: list[dict[str, Any]] = PAGES[name]["panels"]
    places = [panel["gridPos"] for panel in panels]

    assert len({panel["id"] for panel in panels}) == len(panels)
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in itertools.combinations(places, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


@pytest.mark.parametrize("name", PAGES)
def test_every_panel_asks_one_source_and_has_a_title(name: str) -> None:
    """Each target has its own letter and the source of its panel."""
    for panel in PAGES[name]["panels"]:
        assert panel["title"]
        targets = panel["targets"]
        assert bool(targets) is (panel["type"] != "row")
        assert len({target["refId"] for target in targets}) == len(targets)
        for target in targets:
            assert target["datasource"] == panel["datasource"]


@pytest.mark.parametrize("name", PAGES)
def test_a_row_of_panels_leaves_no_hole(name: str) -> None:
    """Side by side the panels fill all 24 columns, so that nothing slides when Grafana closes gaps upwards."""
    panels: list[dict[str, Any]] = PAGES[name]["panels"]
    places = [panel["gridPos"] for panel in panels]

    assert sum(place["w"] * place["h"] for place in places) == 24 * max(place["y"] + place["h"] for place in places)


@pytest.mark.parametrize("name", PAGES)
def test_a_panel_can_be_read(name: str) -> None:
    """Its unit is one that Grafana knows, its limits rise from the base, and its title fits above it."""
    for panel in PAGES[name]["panels"]:
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        limits = [step["value"] for step in defaults["thresholds"]["steps"]]

        assert defaults["unit"] in UNITS, panel["title"]
        assert limits[0] is None
        assert limits[1:] == sorted(set(limits[1:])), panel["title"]
        assert len(panel["title"]) <= LETTERS_PER_COLUMN * panel["gridPos"]["w"], panel["title"]
        if panel["type"] == "table":  # times without their thousandths, and all columns within the panel
            times = [
                one["properties"] for one in panel["fieldConfig"]["overrides"] if one["matcher"]["options"] == "time"
            ]
            assert [{"id": "unit", "value": "dateTimeAsIso"}, {"id": "custom.width", "value": 160}] in times
        if defaults["unit"].startswith("dateTime"):  # a time of 0 would be shown as the year 1970
            assert any("0" in mapping["options"] for mapping in defaults["mappings"]), panel["title"]


def test_variables_are_defined_before_they_are_used() -> None:
    """A statement uses no variable but those of its page and Grafana's own."""
    for page in PAGES.values():
        known = {variable["name"] for variable in page["templating"]["list"]}
        statements = [target.get("rawSql", "") for panel in page["panels"] for target in panel["targets"]]
        used = {part.split(":")[0] for text in statements for part in text.split("${")[1:]}
        assert used <= known
