"""The look over the files finds secrets, broken configuration and what another machine could not build."""

from __future__ import annotations

from pathlib import Path

import pytest

from backoffice.scripts import check_files

pytestmark = [pytest.mark.unit, pytest.mark.security]


def _messages(name: str, text: str) -> list[str]:
    return [message for _, message in check_files.check_text(name, text)]


@pytest.mark.parametrize(
    "line",
    [
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "key = mx0" + "vglAbCdEf123456789",
        "AK" + "IA" + "ABCDEFGHIJKLMNOP",
        "token: gh" + "p_" + "a1" * 20,
        "hook: xo" + "xb-1234567890-abcdef",
        "REDIS_PASS" + "WORD=" + "Zk3" * 10,
        "api_" + 'key = "' + "q7Rt" * 8 + '"',
    ],
)
def test_what_looks_like_a_secret_is_found(line: str) -> None:
    """A line with the form of a key, a token or a long random password is a finding in any file."""
    assert _messages("README.md", line + "\n")


@pytest.mark.parametrize(
    "line",
    [
        "REDIS_PASSWORD=",
        "REDIS_PASSWORD_FILE=/run/claire/redis/service_password",
        "password: ${GRAFANA_PASSWORD:-}",
        "MEXC_API_KEY=your-key-here",
        "token_hex = secrets.token_hex(32)",
        "sha256 = 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_names_and_places_of_secrets_are_no_secrets(line: str) -> None:
    """Variables without a value, file names, obvious placeholders and checksums are left alone."""
    assert _messages("README.md", line + "\n") == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("compose.yml", "services: [\n", "does not parse"),
        ("rules.toml", "a = \n", "does not parse"),
        ("dashboard.json", "{", "does not parse"),
        ("Dockerfile", "# syntax=docker/dockerfile:1\nFROM x\n", "syntax"),
        ("Dockerfile", "RUN <<EOF\ntrue\nEOF\n", "here-documents"),
        ("notes.md", "see /home/" + "somebody/claire/\n", "one person's machine"),
        ("notes.md", "<<<<<<< HEAD\n", "conflict marker"),
        ("notes.md", "text\r\n", "CRLF"),
        ("notes.md", "text", "no newline"),
        (".github/workflows/ci.yml", "on: push\njobs: {}\n", "without jobs"),
        (".github/workflows/ci.yml", "jobs: {a: {runs-on: x, timeout-minutes: 1, steps: []}}\n", "permissions"),
        (".github/workflows/ci.yml", "permissions: {}\njobs: {a: {steps: []}}\n", "runs-on"),
        (
            ".github/workflows/ci.yml",
            "permissions: {}\njobs: {a: {runs-on: x, timeout-minutes: 1, steps: [{uses: actions/checkout@main}]}}\n",
            "not pinned",
        ),
        (
            ".github/workflows/ci.yml",
            "permissions: {}\njobs: {a: {runs-on: x, timeout-minutes: 1, steps: [{name: nothing}]}}\n",
            "either uses an action or runs",
        ),
    ],
)
def test_each_broken_form_is_found(name: str, text: str, expected: str) -> None:
    """Configuration that a tool would refuse later is refused here, with a message that says why."""
    assert any(expected in message for message in _messages(name, text))


def test_a_large_and_a_binary_file_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files over 2 MB and files that are no text and of no known form do not come in."""
    large, binary, image = tmp_path / "big.csv", tmp_path / "blob.dat", tmp_path / "curve.png"
    large.write_bytes((b"1" * 999 + b"\n") * 2_100)
    binary.write_bytes(b"\xff\xfe\x00")
    image.write_bytes(b"\x89PNG")

    code = check_files.main([str(large), str(binary), str(image)])

    told = capsys.readouterr().out
    assert code == 1
    assert "big.csv: over 2 MB" in told
    assert "blob.dat: not UTF-8" in told
    assert "curve.png" not in told


def test_this_repository_is_clean() -> None:
    """No file of this repository holds a secret, and every configuration file is well formed."""
    assert check_files.main([]) == 0
