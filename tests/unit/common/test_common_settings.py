"""Settings come from the environment, typed and bounded, every mistake at once."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BeforeValidator, Field, SecretStr

from services.common.errors import SettingsInvalid
from services.common.settings import (
    Amount,
    Fraction,
    Infrastructure,
    MachineSettings,
    Symbols,
    canonical_settings,
    load_settings,
    read_environment,
)

pytestmark = pytest.mark.unit


class Some(MachineSettings):
    """Settings of a test."""

    MAX_POSITION_PCT: Fraction = Decimal("0.10")
    CASH: Amount = Decimal(5)
    COUNT: int = Field(3, ge=1)
    NEEDED: str


def test_values_defaults_and_empty_variables() -> None:
    """An empty variable counts as not set; white space is cut; other variables are ignored."""
    settings = load_settings(Some, {"NEEDED": " x ", "CASH": "", "COUNT": "4", "HOME": "/home"})
    assert settings.NEEDED == "x"
    assert settings.COUNT == 4
    assert settings.CASH == 5
    assert canonical_settings(settings) == {
        "MAX_POSITION_PCT": Decimal("0.10"),
        "CASH": Decimal(5),
        "COUNT": 4,
        "NEEDED": "x",
    }


def test_every_mistake_is_listed_with_its_fix() -> None:
    """Whole per cents, NaN, too small, missing: one line each."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Some, {"MAX_POSITION_PCT": "5 %", "CASH": "NaN", "COUNT": "0"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[0] == "MAX_POSITION_PCT=5 %: a fraction between 0 and 1 is meant, perhaps 0.05; the default is 0.10"
    assert lines[1].startswith("CASH=NaN: ")
    assert lines[2].startswith("COUNT=0: ")
    assert lines[2].endswith("the default is 3")
    assert lines[3] == "NEEDED: has no default and must be set"


@pytest.mark.parametrize("value", ["x", "NaN", "1000", "-0.1"])
def test_no_guess_where_there_is_none(value: str) -> None:
    """Only a number between 1 and 100 is perhaps a percentage."""
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Some, {"MAX_POSITION_PCT": value, "NEEDED": "x"})
    assert "perhaps" not in str(caught.value)


def test_floats_in_code_are_taken_as_written() -> None:
    """0.1 is a tenth, not the nearest binary fraction."""
    assert Decimal("0.1") == Some(MAX_POSITION_PCT=0.1, NEEDED="x").MAX_POSITION_PCT  # type: ignore[arg-type]


def test_secrets_are_never_shown() -> None:
    """Neither in a mistake nor in the representation."""

    class Locked(MachineSettings):
        KEY: SecretStr = Field(SecretStr(""), max_length=3)

    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Locked, {"KEY": "not-a-real-one"})
    assert "not-a-real-one" not in str(caught.value)
    assert "********" in str(caught.value)
    assert "obviously" not in repr(Infrastructure(REDIS_PASSWORD=SecretStr("obviously-fake")))


def test_a_value_may_stand_in_a_file(tmp_path: Path) -> None:
    """`NAME_FILE` names a file (compose secrets); a value that is set wins; a missing file is named."""
    secret = tmp_path / "password"
    secret.write_text("fake-value\n", encoding="utf-8")
    given = {"REDIS_PASSWORD_FILE": str(secret)}
    assert read_environment(given)["REDIS_PASSWORD"] == "fake-value"
    assert read_environment({**given, "REDIS_PASSWORD": "set"})["REDIS_PASSWORD"] == "set"
    assert "UNRELATED" not in read_environment({"UNRELATED_FILE": "/nowhere"})
    assert read_environment({"REDIS_PASSWORD_FILE": ""}).get("REDIS_PASSWORD") is None
    with pytest.raises(SettingsInvalid, match=r"REDIS_PASSWORD_FILE=.*cannot be read"):
        read_environment({"REDIS_PASSWORD_FILE": str(tmp_path / "missing")})


def test_files_that_cannot_be_read_are_all_named_beside_the_other_mistakes(tmp_path: Path) -> None:
    """A missing file, one that is no text, and a wrong number are told at the same start."""
    from services.common.runtime.lifecycle import Lifecycle

    noise = tmp_path / "noise"
    noise.write_bytes(b"\xff\xfe")
    environ = {
        "REDIS_PASSWORD_FILE": str(tmp_path / "missing"),
        "POSTGRES_PASSWORD_FILE": str(noise),
        "REDIS_PORT": "0",
    }

    with pytest.raises(SettingsInvalid) as refused:
        Lifecycle("cdb_core", environ)

    lines = str(refused.value).splitlines()
    assert [line.partition("=")[0] for line in lines] == ["REDIS_PASSWORD_FILE", "POSTGRES_PASSWORD_FILE", "REDIS_PORT"]
    assert "UTF-8" in lines[1]


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the real environment is read."""
    monkeypatch.setenv("CLAIRE_TEST_ONLY", "yes")
    assert read_environment()["CLAIRE_TEST_ONLY"] == "yes"


def test_rules_over_several_settings_are_reported_in_their_own_words() -> None:
    """A mistake that belongs to no single field is shown as it is."""
    from services.cdb_ws.settings import FeedSettings

    with pytest.raises(SettingsInvalid, match="no price and lot grid is known for DOGEUSDT"):
        load_settings(FeedSettings, {"FEED": "external", "SYMBOLS": "DOGEUSDT"})


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("SHARE_PCT", "0.9", "a fraction between 0 and 1 is meant, here at most 0.5; the default is 0.02"),
        ("SHARE_PCT", "0", "a fraction between 0 and 1 is meant, here above 0; the default is 0.02"),
        ("SHARE_PCT", "0.4%", "a fraction between 0 and 1 is meant, perhaps 0.004; the default is 0.02"),
        ("SHARE_PCT", "0,004", "a fraction between 0 and 1 is meant, perhaps 0.004; the default is 0.02"),
        ("SHARE_PCT", "400 %", "a fraction between 0 and 1 is meant; the default is 0.02"),
        ("SHARE_PCT", "1e-40", "a fraction between 0 and 1 is meant, here at most 18 decimals; the default is 0.02"),
        ("FEE", "5", "a fraction between 0 and 1 is meant, perhaps 0.05; the default is 0.0005"),
        ("COUNT", "15m", "a whole number is meant; the default is 3"),
        ("COUNT", "1.5", "a whole number is meant; the default is 3"),
        ("COUNT", "0", "at least 1 is meant; the default is 3"),
        ("LIMIT", "100.000,00", "a number is meant, with a point before the decimals; the default is 5"),
        ("LIMIT", "Infinity", "a finite number is meant; the default is 5"),
        ("FLAG", "ja", "true or false is meant; the default is False"),
        ("MODE", "Paper", "'paper' or 'live' is meant; the default is paper"),
        ("SYMBOLS", "BTCUSDT,btc_usdt", "BTCUSDT stands twice; name each symbol once; the default is BTCUSDT,ETHUSDT"),
        ("SYMBOLS", " , ", "at least one symbol is needed, for example BTCUSDT; the default is BTCUSDT,ETHUSDT"),
        ("NAME", "xxxx", "at most 3 characters are meant"),
        ("PAIRS", "x", "a pair {a=b} is meant"),
        ("LETTERS", "1", "String should match pattern '^[a-z]{1,2}$'; the default is ab"),
    ],
)
def test_what_is_meant_is_said_in_plain_words(name: str, value: str, line: str) -> None:
    """A person reads which bound is broken, what was perhaps meant, and the default, in no library's words."""

    def pairs(text: object) -> object:
        if isinstance(text, str):
            raise ValueError("a pair {a=b} is meant")
        return text

    class Many(MachineSettings):
        SHARE_PCT: Annotated[Fraction, Field(gt=0, le=Decimal("0.5"))] = Decimal("0.02")
        FEE: Fraction = Decimal("0.0005")
        COUNT: int = Field(3, ge=1)
        LIMIT: Amount = Decimal(5)
        FLAG: bool = False
        MODE: Literal["paper", "live"] = "paper"
        SYMBOLS: Symbols = ("BTCUSDT", "ETHUSDT")
        NAME: str = Field("", max_length=3)
        LETTERS: str = Field("ab", pattern="^[a-z]{1,2}$")
        PAIRS: Annotated[dict[str, str], BeforeValidator(pairs)] = Field(default_factory=dict)

    with pytest.raises(SettingsInvalid) as caught:
        load_settings(Many, {name: value})

    assert str(caught.value) == f"{name}={value}: {line}"


class Limits(MachineSettings):
    """Limits that had other names once."""

    MAX_DAILY_DRAWDOWN_PCT: Fraction = Decimal("0.05")
    MAX_TOTAL_EXPOSURE_PCT: Fraction = Decimal("0.30")


def test_limits_under_earlier_names_are_refused_not_ignored() -> None:
    """A tighter limit under its earlier name must not leave the looser default in force: it is named with its fix."""
    with pytest.raises(SettingsInvalid) as refused:
        load_settings(Limits, {"MAX_EXPOSURE_PCT": "0.2", "MAX_DRAWDOWN_PCT": "0.03", "MAX_TOTAL_EXPOSURE_PCT": "7"})

    lines = str(refused.value).splitlines()
    assert lines[0] == (
        "MAX_DRAWDOWN_PCT=0.03: this limit is called MAX_DAILY_DRAWDOWN_PCT here; set MAX_DAILY_DRAWDOWN_PCT instead"
    )
    assert lines[1].startswith("MAX_EXPOSURE_PCT=0.2: this limit is called MAX_TOTAL_EXPOSURE_PCT here")
    assert lines[2].startswith("MAX_TOTAL_EXPOSURE_PCT=7: ")
    assert load_settings(Limits, {"MAX_EXPOSURE_PCT": ""}) == Limits()
    assert load_settings(Infrastructure, {"MAX_EXPOSURE_PCT": "0.2"}) == load_settings(Infrastructure, {})
