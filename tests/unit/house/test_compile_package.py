"""What is compiled: modules that exist, and copies that say what native classes forget."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest

from backoffice.scripts.compile_package import ROOT, modules, prepared

pytestmark = pytest.mark.unit


def test_every_module_named_exists_and_none_twice() -> None:
    """A module that is renamed or moved is noticed before anybody compiles."""
    named = list(modules())

    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert len(set(named)) == len(named)
    assert "claire/kernel.py" in named


def test_a_dataclass_says_its_types_and_fields_after_it_was_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The types that pydantic restores by are those of the source, though the class has lost them; no method is one."""
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "@dataclass\nclass Held:\n    kind: ClassVar[str] = 'x'\n"
        "    size: int | None = None\n    at: dict[str, int] | None = None\n"
    )
    (tmp_path / "held_as_compiled.py").write_text(prepared(source), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    held = importlib.import_module("held_as_compiled").Held

    types = {field.name: field.type for field in dataclasses.fields(held)}
    assert types == {"size": "int | None", "at": "dict[str, int] | None"}
    assert held.__slots__ == ("size", "at")


def test_a_module_without_dataclasses_is_compiled_as_it_stands() -> None:
    """Nothing is added to it."""
    assert prepared("X = 1\n") == "X = 1\n"
