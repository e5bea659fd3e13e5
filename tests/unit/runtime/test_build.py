"""The code version: changes with every source, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.runtime.build import code_version, source_fingerprint
from services.common.version import VERSION

pytestmark = pytest.mark.unit


def tree(root: Path) -> Path:
    """Make a small source tree."""
    (root / "a").mkdir(parents=True)
    (root / "a" / "one.py").write_text("x = 1\n")
    (root / "two.lua").write_text("return 1")
    return root


def test_equal_trees_have_equal_fingerprints(tmp_path: Path) -> None:
    """Where the tree lies, line ends and files that are no source do not matter."""
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    (two / "a" / "one.py").write_bytes(b"x = 1\r\n")
    (two / "notes.txt").write_text("hello")
    assert source_fingerprint(one) == source_fingerprint(two)


@pytest.mark.parametrize("change", ["content", "name", "new"])
def test_any_change_of_a_source_shows(tmp_path: Path, change: str) -> None:
    """Content, name and presence count."""
    root = tree(tmp_path)
    before = source_fingerprint(root)
    if change == "content":
        (root / "two.lua").write_text("return 2")
    elif change == "name":
        (root / "two.lua").rename(root / "three.lua")
    else:
        (root / "b.sql").write_text("")
    assert source_fingerprint(root) != before


def test_version_and_fingerprint() -> None:
    """The product's version and twelve digits."""
    version, plus, digits = code_version().partition("+")
    assert (version, plus, len(digits)) == (VERSION, "+", 12)
