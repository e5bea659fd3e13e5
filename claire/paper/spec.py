"""What a paper run is made of: input, period, settings. Equal specs give equal runs, wherever the files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.cdb_ws.merging import Source

__all__ = ["PaperSpec", "Period", "Stress"]


class Stress(Protocol):
    """Something that is done to the recorded market before it is played.

    Attributes:
        identity: name and parameters in one text; two stresses of the same identity do the same.
    """

    @property
    def identity(self) -> str:
        """Name and parameters."""

    def __call__(self, source: Source) -> Source:
        """Return the stream as it is to be played, in order of time."""


@dataclass(frozen=True)
class Period:
    """A half-open stretch of feed time, microseconds; None: from the beginning, or to the end."""

    start_us: int | None = None
    end_us: int | None = None

    @property
    def whole(self) -> bool:
        """Whether everything is in it."""
        return self.start_us is None and self.end_us is None


@dataclass(frozen=True)
class PaperSpec:
    """One paper run. Everything in it can be pickled, so that a worker process can run it.

    Attributes:
        inputs: tick or candle CSV (plain or gzip), or one journal file.
        data_dir, dsn: instead of inputs, the data folder of `claire up`, or a connection string (`env`: POSTGRES_*).
        settings: environment variables of the services; what is not in it has its default.
        period: what of the input is played.
        warmup_min: minutes before the period (or, without one, at the beginning of the input) that only fill the
            strategy's windows; None: as many as its windows need, if the period has a start, else none.
        stresses: done to the recorded market, in this order.
        run_id: empty: derived from input and configuration.
        title: for people.
    """

    inputs: tuple[Path, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    period: Period = Period()
    warmup_min: int | None = None
    stresses: tuple[Stress, ...] = ()
    run_id: str = ""
    title: str = ""
    data_dir: Path | None = None
    dsn: str = ""
