"""Logs: JSON lines, one format for all loggers, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.common.log import SecretMask, configure_logging

pytestmark = [pytest.mark.unit, pytest.mark.security]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Give the process its own logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_one_json_object_a_line_with_the_service() -> None:
    """Our own and library loggers give the same kind of line."""
    out = io.StringIO()
    configure_logging("cdb_core", stream=out)
    structlog.get_logger("x").info("bar_closed", symbol="BTCUSDT")
    logging.getLogger("library").warning("look at %s", "this")
    ours, theirs = map(json.loads, out.getvalue().splitlines())
    assert (ours["event"], ours["symbol"], ours["service"], ours["level"]) == (
        "bar_closed", "BTCUSDT", "cdb_core", "info",
    )  # fmt: skip
    assert (theirs["event"], theirs["service"], theirs["level"]) == ("look at this", "cdb_core", "warning")
    assert ours["timestamp"].endswith("Z")


def test_levels_below_the_set_one_are_left_out() -> None:
    """WARNING leaves out info."""
    out = io.StringIO()
    configure_logging("cdb_core", level="WARNING", stream=out)
    structlog.get_logger("x").info("quiet")
    assert out.getvalue() == ""


def test_secrets_never_appear() -> None:
    """Neither under a telling name nor inside a message, an exception or a nested value."""
    out = io.StringIO()
    secret = "obviously-fake-1234"
    configure_logging("cdb_core", secrets=[secret, ""], stream=out)
    log = structlog.get_logger("x")
    log.info("connect", password="hunter-two", url=f"redis://:{secret}@host", deep={"list": [f"a{secret}b"]})
    try:
        raise ValueError(f"bad answer for {secret}")
    except ValueError:
        log.critical("fault", exc_info=True)
    logging.getLogger("library").error("token is %s", secret)
    assert secret not in out.getvalue()
    assert "hunter-two" not in out.getvalue()
    assert "ValueError" in out.getvalue()


def test_console_style_is_for_people() -> None:
    """Readable lines instead of JSON."""
    out = io.StringIO()
    configure_logging("cdb_core", style="console", stream=out)
    structlog.get_logger("x").info("bar_closed", symbol="BTCUSDT")
    assert "bar_closed" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize("name", ["password", "REDIS_PASSWORD", "api_key", "apikey", "MEXC_SECRET", "token", "passwd"])
def test_telling_names_are_masked(name: str) -> None:
    """Names under which secrets stand are masked whatever the value; an empty value stays visible as empty."""
    assert SecretMask().mask(name, "x") == "********"
    assert SecretMask().mask(name, "") == ""


def test_other_names_are_shown() -> None:
    """`passed` is not a password."""
    assert SecretMask().mask("passed", "yes") == "yes"
