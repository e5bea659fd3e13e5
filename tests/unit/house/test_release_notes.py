"""The notes of a release are the changelog's section of its version, or there is no release."""

from __future__ import annotations

import pytest

from backoffice.scripts import release_notes

CHANGELOG = "# Changelog\n\n## Unreleased\n\n- new\n\n## [1.2.3] - 2026-12-01\n\n### Added\n\n- this\n\n## 1.2.2\n\n"


def test_a_version_has_its_own_section_and_no_other() -> None:
    """From its heading to the next one, with or without brackets and date."""
    assert release_notes.notes(CHANGELOG, "1.2.3") == "### Added\n\n- this"


@pytest.mark.parametrize("version", ["1.2.2", "1.2", "9.9.9", "1x2.3"])
def test_without_words_there_are_no_notes(version: str) -> None:
    """An empty section, a part of a number and an unknown version give nothing."""
    assert release_notes.notes(CHANGELOG, version) is None


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "a version is meant"), (["v1.2.3"], "v1.2.3"), (["99.0.0"], "pyproject.toml says")]
)
def test_what_is_wrong_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No version, one that is none, and one that the package does not have."""
    assert release_notes.main(arguments) == 1
    assert said in capsys.readouterr().err


def test_a_version_without_a_section_is_no_release(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's version is not in the changelog yet: the file and the heading to write are named."""
    version = "0.1.0"
    told = release_notes.main([version])
    has = release_notes.notes((release_notes.ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    assert told == (0 if has else 1)
    assert has or "CHANGELOG.md says nothing of 0.1.0" in capsys.readouterr().err
