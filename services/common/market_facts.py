"""Facts that the feed learns of the exchange and everybody must know: `control/instruments` and `control/symbols`.

They stand in the journal, so a replay knows the same grids and the same list without asking the exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from services.common.errors import ContractViolation
from services.common.instruments import (
    DEFAULT_INSTRUMENTS,
    PERPETUAL,
    InstrumentSpec,
    instrument_key,
    normalise_symbol,
)

__all__ = ["MarketFacts", "instrument_details", "read_instruments", "read_symbols"]


@dataclass(frozen=True)
class MarketFacts:
    """What the journal has told of the exchange in this run.

    Attributes:
        instruments: grids by instrument key; they go before what is known without asking.
        symbols: what may be entered where `SYMBOLS=auto`; None before the feed has chosen.
    """

    instruments: Mapping[str, InstrumentSpec] = field(default_factory=dict)
    symbols: tuple[str, ...] | None = None

    def grids(self, venue: str) -> dict[str, InstrumentSpec]:
        """Return the grids of what can be traded at a venue by instrument key: told, or known without asking.

        Perpetuals only where the venue is theirs; spot always, so that what is held can be closed.
        """
        known = {instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS}
        known.update(self.instruments)
        return {key: spec for key, spec in known.items() if not spec.venue == PERPETUAL != venue}


def instrument_details(specs: Iterable[InstrumentSpec]) -> dict[str, Any]:
    """Return the details of a `control/instruments` event."""
    return {"instruments": [spec.model_dump() for spec in specs]}


def read_instruments(details: Mapping[str, Any]) -> dict[str, InstrumentSpec]:
    """Return the grids of a `control/instruments` event by instrument key.

    Raises:
        ContractViolation: something in it is no instrument.
    """
    rows = details.get("instruments")
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise ContractViolation(f"instruments={rows!r:.80}: a list of instruments is meant")
    try:
        specs = [InstrumentSpec.model_validate(row) for row in rows]
    except ValidationError as error:
        raise ContractViolation(f"instruments: {error.errors(include_url=False)[0]['msg']}: {rows!r:.200}") from error
    return {instrument_key(spec.venue, spec.symbol): spec for spec in specs}


def read_symbols(details: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the symbols of a `control/symbols` event.

    Raises:
        ContractViolation: they are no symbols.
    """
    symbols = details.get("symbols")
    if not isinstance(symbols, Sequence) or isinstance(symbols, str) or not all(isinstance(s, str) for s in symbols):
        raise ContractViolation(f"symbols={symbols!r:.80}: a list of symbols is meant")
    return tuple(normalise_symbol(symbol) for symbol in symbols)
