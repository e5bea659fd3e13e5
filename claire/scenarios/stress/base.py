"""What all transforms share: when they act, on which symbols, how they draw, and what identifies them."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from claire.options import parse_moment
from services.cdb_ws.merging import Source
from services.cdb_ws.observation import Observation, RejectedRow
from services.common.codec import encode_value
from services.common.errors import SettingsInvalid
from services.common.settings import Fraction, Symbols
from services.common.timestamps import MINUTE_US, format_timestamp

__all__ = ["Draw", "Minutes", "Moment", "Row", "Share", "Transform"]

Row = Observation | RejectedRow

Minutes = Annotated[Decimal, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Share = Annotated[Fraction, Field(gt=0)]

MEANT = "a time in UTC as 2021-05-19T13:00, or minutes after the beginning of play as +90, is meant"


class Moment(NamedTuple):
    """A feed time in microseconds; `relative`: counted from the beginning of play."""

    us: int
    relative: bool = False

    def __str__(self) -> str:
        """Return it as a scenario file writes it."""
        return f"+{Decimal(self.us) / MINUTE_US:f}" if self.relative else format_timestamp(self.us)


def _moment(value: Any) -> Any:
    if isinstance(value, Moment):
        return value
    text = str(value).strip()
    try:
        if text.startswith("+"):
            minutes = Decimal(text[1:].removesuffix("min").strip())
            if not 0 <= minutes < 100_000_000:
                raise ValueError
            return Moment(int(minutes * MINUTE_US), relative=True)
        return Moment(parse_moment("at", text))
    except (ValueError, ArithmeticError, SettingsInvalid):
        raise ValueError(MEANT) from None


class Transform(BaseModel):
    """Something that is done to a recorded market.

    Attributes:
        at: when it begins; left out, with the recording.
        minutes: how long it lasts; left out, to the end.
        symbols: on which symbols, as they are played; left out, on all.
        seed: of its draws; left out, the file's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]

    at: Annotated[Moment | None, BeforeValidator(_moment)] = None
    minutes: Minutes | None = None
    symbols: Symbols | None = None
    seed: int | None = None

    @property
    def draws(self) -> bool:
        """Whether what it does depends on its seed."""
        return False

    @property
    def identity(self) -> str:
        """Its name and parameters in one text."""
        values = {
            name: str(value) if isinstance(value, Moment) else list(value) if isinstance(value, tuple) else value
            for name in sorted(type(self).model_fields)
            if (value := getattr(self, name)) is not None
        }
        return f"{self.name} {encode_value(values)}"

    @property
    def relative(self) -> bool:
        """Whether it must first be told when play begins."""
        return self.at is not None and self.at.relative

    def beginning(self, start_us: int) -> Transform:
        """Return the same with its time absolute, where play begins at `start_us`."""
        if self.at is None or not self.at.relative:
            return self
        return self.model_copy(update={"at": Moment(start_us + self.at.us)})

    def __call__(self, source: Source) -> Source:
        """Return the stream as it is to be played, in order of time."""
        raise NotImplementedError

    @property
    def begin_us(self) -> int:
        """When it begins."""
        if self.at is None:
            return 0
        assert not self.at.relative, "`beginning` was called"
        return self.at.us

    @property
    def end_us(self) -> int | None:
        """When it is over; None: never."""
        return None if self.minutes is None else self.begin_us + int(self.minutes * MINUTE_US)

    def acts(self) -> _Window:
        """Return a test of whether a row is one that it acts on."""
        return _Window(self.begin_us, self.end_us, self.symbols)


class _Window:
    def __init__(self, begin_us: int, end_us: int | None, symbols: tuple[str, ...] | None) -> None:
        self._begin_us, self._end_us = begin_us, end_us
        self._symbols = None if symbols is None else frozenset(symbols)

    def __contains__(self, row: Row) -> bool:
        """Whether a row lies in it; one that cannot be used never does."""
        return (
            isinstance(row, Observation)
            and row.timestamp_us >= self._begin_us
            and (self._end_us is None or row.timestamp_us < self._end_us)
            and (self._symbols is None or row.symbol in self._symbols)
        )


class Draw:
    """Draws for each symbol by itself, so that it does not matter in how many streams the symbols come.

    Args:
        transform: whose seed and identity it is.
    """

    def __init__(self, transform: Transform) -> None:
        self._root = f"{transform.seed}|{transform.identity}"
        self._of: dict[str, Random] = {}

    def of(self, symbol: str) -> Random:
        """Return the generator of a symbol."""
        found = self._of.get(symbol)
        if found is None:
            found = self._of[symbol] = Random(f"{self._root}|{symbol}")
        return found

    def hits(self, symbol: str, share: Decimal) -> bool:
        """Whether the next row of a symbol is among so large a share."""
        return share >= 1 or self.of(symbol).random() < float(share)
