"""Write the handbook's table of metrics to `backoffice/docs/metriken.md`, from the catalogue that services register.

Usage: `python backoffice/scripts/make_metrics.py [--check]`; with `--check` nothing is written and the exit code is 1
when the page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.common.runtime.catalogue.definition import ALL, Definition  # noqa: E402 - runs without an installation
from services.common.runtime.catalogue.whole import GROUPS  # noqa: E402

__all__ = ["PAGE", "main", "page"]

PAGE: Final = ROOT / "backoffice" / "docs" / "metriken.md"

_INTRODUCTION: Final = """# Metriken

Erzeugt aus `services/common/runtime/catalogue/` (`make schemas`), nicht von Hand ändern. Jeder Dienst zeigt sie unter
`/metrics`, Prometheus fügt `service` hinzu. Einheiten stehen im Namen (`_ratio`: Anteil, 0,05 sind 5 %; `_usdt`;
`_seconds`; `_bytes`), die Bedeutung auf Englisch, wie im Code. Ein Histogramm hat die Reihen `_bucket`, `_sum` und
`_count`. Wie man sie liest: [monitoring.md](monitoring.md).
"""

_TITLES: Final = {
    "process": "Jeder Dienst",
    "feed": "Marktdaten (cdb_ws)",
    "trading": "Handel (cdb_core, cdb_risk, cdb_execution)",
    "storage": "Speicher (cdb_writer)",
    "messages": "Nachrichten (cdb_notifier)",
}


def page() -> str:
    """Return the text of the page."""
    return _INTRODUCTION + "".join(_table(_TITLES[group], rows) for group, rows in GROUPS.items())


def _table(title: str, definitions: tuple[Definition, ...]) -> str:
    head = ["", f"## {title}", "", "| Metrik | Art | Labels | Dienst | Bedeutung |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(_row(definition) for definition in definitions), ""])


def _row(definition: Definition) -> str:
    name = definition.series[0].removesuffix("_bucket")
    labels = ", ".join(f"`{label}`" for label in definition.labels) or "-"
    producers = "alle" if definition.producers == ALL else ", ".join(definition.producers)
    return f"| `{name}` | {definition.kind} | {labels} | {producers} | {definition.help} |"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` tell whether it is up to date."""
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    elif current != page():
        sys.stdout.write("backoffice/docs/metriken.md: out of date; run `make schemas`\n")
        return 1
    sys.stdout.write("metrics: up to date\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
