"""A secret that is set is shown nowhere: not in /status, logs, exceptions, mistakes of settings, nor by the doctor."""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr
from typer.testing import CliRunner

import services
from claire.cli import app
from services.common.errors import SettingsInvalid
from services.common.log import configure_logging
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.secrets import secrets_of
from services.common.settings import Infrastructure, load_settings
from tests.unit.runtime.test_logging import logging_as_before

pytestmark = [pytest.mark.unit, pytest.mark.security]

__all__ = ["logging_as_before"]

ROOT = Path(__file__).parents[3]


def models() -> list[type[BaseModel]]:
    """Return every settings model of every service, also of those that are still to come."""
    found: dict[type[BaseModel], None] = {Infrastructure: None}
    for package in pkgutil.iter_modules(services.__path__):
        try:
            module = importlib.import_module(f"services.{package.name}.settings")
        except ModuleNotFoundError:
            continue
        found |= {m: None for m in vars(module).values() if isinstance(m, type) and issubclass(m, BaseModel)}
    return [model for model in found if model.model_fields]


def is_secret(annotation: Any) -> bool:
    """Whether a setting is kept as a secret."""
    return "SecretStr" in repr(annotation)


SECRET_NAMES = sorted(
    {name for model in models() for name, field in model.model_fields.items() if is_secret(field.annotation)}
    | {"REDIS_OPERATOR_PASSWORD", "MEXC_API_KEY", "MEXC_API_SECRET", "GRAFANA_PASSWORD"}
)


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """An environment with a telltale value in every secret setting, some of them in files."""
    environ = {"FEED": "external", "STATE_DIR": str(tmp_path)}
    for place, name in enumerate(SECRET_NAMES):
        value = f"telltale-{name.lower()}-end"
        if place % 2:
            (tmp_path / name).write_text(value + "\n", encoding="utf-8")
            environ[f"{name}_FILE"] = str(tmp_path / name)
        else:
            environ[name] = value
    return environ


def test_every_setting_that_is_called_a_secret_is_kept_as_one() -> None:
    """No password, key, token or secret of any model is a plain text."""
    plain = {
        (model.__name__, name)
        for model in models()
        for name, field in model.model_fields.items()
        if name.endswith(("PASSWORD", "SECRET", "TOKEN", "API_KEY")) and not is_secret(field.annotation)
    }

    assert plain == set()
    assert {"REDIS_PASSWORD", "POSTGRES_PASSWORD"} <= set(SECRET_NAMES)


def test_no_secret_is_in_status_or_in_the_settings_as_text(planted: dict[str, str]) -> None:
    """What /status shows of a service, and what anybody prints of its settings."""
    life = Lifecycle("cdb_writer", planted, ())
    shown = [
        json.dumps(life.status.read(), default=str),
        repr(life.infra),
        str(life.infra),
        str(life.infra.model_dump()),
    ]
    for model in models():
        try:
            settings = load_settings(model, {**planted, **{n: f"telltale-{n}" for n in SECRET_NAMES}})
        except SettingsInvalid as invalid:
            shown.append(str(invalid))
        else:
            shown += [repr(settings), str(settings.model_dump(mode="json"))]

    assert not [text for text in shown if "telltale" in text]


def test_no_secret_is_in_what_is_said_of_wrong_settings(planted: dict[str, str]) -> None:
    """All mistakes at once, with every secret set beside them."""
    told = []
    for model in models():
        wrong = {name: "nonsense" for name in model.model_fields if name not in SECRET_NAMES}
        secret = {name: f"telltale-{name}" for name in SECRET_NAMES}
        try:
            load_settings(model, {**planted, **wrong, **secret})
        except SettingsInvalid as invalid:
            told.append(str(invalid))

    assert told
    assert "telltale" not in " ".join(told)


def test_no_secret_is_in_a_log_line_or_a_traceback(planted: dict[str, str]) -> None:
    """Whoever puts one into an exception or a message: the line that is written has stars there."""
    secrets = secrets_of(planted, [Infrastructure(REDIS_PASSWORD=SecretStr("telltale-in-a-model"))])
    assert len(secrets) == len(SECRET_NAMES) + 1
    for style in ("json", "console"):
        out = io.StringIO()
        configure_logging("cdb_core", style=style, secrets=secrets, stream=out)  # type: ignore[arg-type]
        for secret in secrets:
            try:
                raise ConnectionError(f"GET https://x/?signature={secret} failed")
            except ConnectionError as error:
                structlog.get_logger("x").error("failed", reason=str(error), exc_info=True, more={"a": [secret]})

        assert "********" in out.getvalue()
        assert "telltale" not in out.getvalue()


def test_a_secret_s_file_that_cannot_be_read_is_no_secret(tmp_path: Path) -> None:
    """Nor is one of two letters, which would be masked in the middle of words."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xff\xfe")
    files = {"A_TOKEN_FILE": str(tmp_path / "none"), "B_TOKEN_FILE": str(tmp_path / "binary")}

    assert secrets_of({**files, "C_PASSWORD": "ab", "D_PASSWORD": "", "PATH": "/bin"}, []) == []


@pytest.fixture
def set_up(planted: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of this process is the one with the telltales."""
    monkeypatch.chdir(tmp_path)
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    for name, value in {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1", "POSTGRES_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("MEXC_REST_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("set_up")
def test_no_secret_is_in_what_the_doctor_says(tmp_path: Path) -> None:
    """Also when servers do not answer, and when a setting beside it is wrong."""
    (tmp_path / ".env").write_text("REDIS_PASSWORD=telltale-of-the-file\nMAX_POSITION_PCT=5\n", encoding="utf-8")
    for arguments in (["doctor"], ["doctor", "--json"], ["doctor", "--redis", "127.0.0.1:1"]):
        done = CliRunner().invoke(app, arguments)
        assert "MAX_POSITION_PCT=5" in done.output
        assert "telltale" not in done.output.replace(str(tmp_path), "")
