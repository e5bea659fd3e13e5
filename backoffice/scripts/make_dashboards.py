"""Write Grafana's dashboards to `backoffice/monitoring/grafana/dashboards/`, from `backoffice/scripts/dashboards/`.

Usage: `python backoffice/scripts/make_dashboards.py [--check]`; with `--check` nothing is written and the exit code is
1 when a file is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backoffice.scripts.dashboards.funnel import FUNNEL  # noqa: E402 - runs without an installation
from backoffice.scripts.dashboards.overview import OVERVIEW  # noqa: E402
from backoffice.scripts.dashboards.panel import as_json  # noqa: E402
from backoffice.scripts.dashboards.system import SYSTEM  # noqa: E402
from backoffice.scripts.dashboards.trading import TRADING  # noqa: E402

__all__ = ["DASHBOARDS", "FOLDER", "files", "main"]

FOLDER: Final = ROOT / "backoffice" / "monitoring" / "grafana" / "dashboards"
DASHBOARDS: Final = (OVERVIEW, FUNNEL, TRADING, SYSTEM)


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        f"{dashboard.name}.json": json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` tell whether they are up to date."""
    wanted = files()
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.json"))}
    if "--check" not in arguments:
        for name in found.keys() - wanted.keys():
            (FOLDER / name).unlink()
        for name, text in wanted.items():
            (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
    elif found != wanted:
        names = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
        sys.stdout.write(f"dashboards out of date: {', '.join(names)}; run `make schemas`\n")
        return 1
    sys.stdout.write("dashboards: up to date\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
