"""What a person reads about a wrong setting: its name, the value, what is meant, and the default."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

__all__ = ["FractionMarker", "meant", "mistake"]


class FractionMarker:
    """Marks a setting as a share: 0.05 is 5 %."""


_MEANT: Mapping[str, str] = {
    "missing": "has no default and must be set",
    "int_parsing": "a whole number is meant",
    "int_from_float": "a whole number is meant",
    "decimal_parsing": "a number is meant, with a point before the decimals",
    "finite_number": "a finite number is meant",
    "bool_parsing": "true or false is meant",
    "literal_error": "{expected} is meant",
    "greater_than": "above {gt} is meant",
    "greater_than_equal": "at least {ge} is meant",
    "less_than": "below {lt} is meant",
    "less_than_equal": "at most {le} is meant",
    "decimal_max_places": "at most {decimal_places} decimals are meant",
    "decimal_max_digits": "at most {max_digits} digits are meant",
    "decimal_whole_digits": "at most {whole_digits} digits before the point are meant",
    "string_type": "a text is meant",
    "string_too_long": "at most {max_length} characters are meant",
    "value_error": "{error}",
}
"""By pydantic's type of error; what is not named here keeps pydantic's own words."""


def mistake(model: type[BaseModel], error: ErrorDetails) -> str:
    """Return one line (or more, when a rule over several settings found more) about one error of a settings model."""
    name = str(error["loc"][0]) if error["loc"] else ""
    words = meant(error) or error["msg"]
    field = model.model_fields.get(name)
    if field is None:
        return words
    if any(isinstance(marker, FractionMarker) for marker in field.metadata):
        words = _fraction(error, words)
    if error["type"] == "missing":
        return f"{name}: {words}"
    shown = "********" if field.annotation is SecretStr else error["input"]
    return f"{name}={shown}: {words}{_default(field)}"


def meant(error: ErrorDetails) -> str | None:
    """Return what is meant where an error is, as a person says it; None where pydantic's own words must do."""
    words = _MEANT.get(error["type"])
    if words is None:
        return None
    return words.format_map({name: _plain(limit) for name, limit in error.get("ctx", {}).items()})


def _plain(limit: object) -> str:
    """Return a limit as a person writes it; pydantic names some by their repr."""
    return str(limit).removeprefix("Decimal('").removesuffix("')")


def _fraction(error: ErrorDetails, meant: str) -> str:
    """Say what a share is; when the value is one, say which bound of this setting it breaks."""
    text = str(error["input"])
    guess = _guess(text)
    if guess is not None:
        return f"a fraction between 0 and 1 is meant, perhaps {guess.normalize():f}"
    number = _number(text)
    if number is not None and 0 <= number <= 1:
        return f"a fraction between 0 and 1 is meant, here {meant.removesuffix(' is meant').removesuffix(' are meant')}"
    return "a fraction between 0 and 1 is meant"


def _guess(text: str) -> Decimal | None:
    """Return the share that was perhaps meant: 5 or 5 % for 0.05, a decimal comma for a point."""
    if text.rstrip().endswith("%"):
        number = _number(text.rstrip("% "))
        return None if number is None or not 0 < number <= 100 else number.scaleb(-2)
    number = _number(text)
    if number is not None:
        return number.scaleb(-2) if 1 < number <= 100 else None
    number = _number(text.replace(",", ".", 1))
    return number if number is not None and 0 < number <= 1 else None


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.annotation is SecretStr or default is PydanticUndefined or default is None or default == "":
        return ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"; the default is {default}" if default != "" else ""
