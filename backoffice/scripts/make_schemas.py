"""Write the JSON Schema of every event to `backoffice/docs/schema/`, from its one definition.

Usage: `python backoffice/scripts/make_schemas.py [--check]`; with `--check` nothing is written and the exit code is 1
when a file is missing, out of date or left over.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.common.canonical import omitted_fields  # noqa: E402 - runs without an installation
from services.common.events import EVENT_BY_CHANNEL, SCHEMA_VERSION, Event  # noqa: E402 - as above

__all__ = ["SCHEMA_FOLDER", "main", "out_of_date", "schema_of", "schema_texts"]

SCHEMA_FOLDER: Final = ROOT / "backoffice" / "docs" / "schema"


def schema_of(channel: str, model: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what stands in the journal on one channel.

    Every field is always written, so every field is required, but for those that are left out while they are unknown;
    unknown keys are tolerated by readers and never written.
    """
    schema = model.model_json_schema(mode="serialization")
    for definition in schema.get("$defs", {}).values():
        definition["required"] = list(definition["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:claire-de-binare:{SCHEMA_VERSION}:{model.model_fields['type'].default}",
        "x-channel": channel,
        **schema,
        "required": [name for name in schema["properties"] if name not in omitted_fields(model)],
    }


def schema_texts() -> dict[str, str]:
    """Return the text of every schema file by its name."""
    return {
        f"{model.model_fields['type'].default}.schema.json": json.dumps(schema_of(channel, model), indent=2) + "\n"
        for channel, model in EVENT_BY_CHANNEL.items()
    }


def out_of_date(folder: Path = SCHEMA_FOLDER) -> list[str]:
    """Return the names of files that are missing, differ, or belong to no event."""
    texts = schema_texts()
    wrong = [name for name, text in texts.items() if _read(folder / name) != text]
    left_over = [path.name for path in sorted(folder.glob("*.schema.json")) if path.name not in texts]
    return wrong + left_over


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: list[str]) -> int:
    """Write the schemas, or with `--check` tell whether they are up to date."""
    wrong = out_of_date()
    if "--check" not in arguments:
        SCHEMA_FOLDER.mkdir(parents=True, exist_ok=True)
        for name in wrong:
            (SCHEMA_FOLDER / name).unlink(missing_ok=True)
        for name, text in schema_texts().items():
            (SCHEMA_FOLDER / name).write_text(text, encoding="utf-8", newline="\n")
        sys.stdout.write(f"schemas: {len(wrong)} files written\n")
        return 0
    for name in wrong:
        sys.stdout.write(f"backoffice/docs/schema/{name}: out of date; run `make schemas`\n")
    sys.stdout.write("schemas: up to date\n" if not wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
