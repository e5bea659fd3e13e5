"""What is held and what is working, as far as the feed must know it: such a symbol keeps its market data."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Self

from services.common.account_facts import read_adjustment
from services.common.channels import EXECUTION
from services.common.currencies import fee_kind
from services.common.decimals import ZERO
from services.common.errors import ContractViolation, StateMismatch
from services.common.events import Control, OrderResult
from services.common.instruments import PERPETUAL, instrument_key
from services.common.journal.entry import Entry

__all__ = ["Holdings"]

TERMINAL: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
REMEMBERED: Final = 4_096
"""Orders whose cumulative quantity is kept, so that a repeated result is not counted twice."""


@dataclass
class Holdings:
    """A fold of what execution has told in this run.

    Attributes:
        quantities: base units held, signed, by instrument key; without those that are flat.
        working: by order id, the key of an order that has not ended.
        booked: by order id, the cumulative quantity counted.
    """

    quantities: dict[str, Decimal] = field(default_factory=dict)
    working: dict[str, str] = field(default_factory=dict)
    booked: dict[str, Decimal] = field(default_factory=dict)

    def fold(self, entry: Entry) -> None:
        """Take note of one entry; those of other producers, and what says nothing of holdings, are passed over."""
        if entry.producer != EXECUTION:
            return
        event = entry.event
        if isinstance(event, OrderResult):
            self._on_result(event)
        elif isinstance(event, Control):
            self._on_control(event)

    def _on_result(self, result: OrderResult) -> None:
        key = instrument_key(result.venue, result.symbol)
        if result.status in TERMINAL:
            self.working.pop(result.order_id, None)
        else:
            self.working[result.order_id] = key
        new = result.filled_quantity - self.booked.pop(result.order_id, ZERO)
        self.booked[result.order_id] = result.filled_quantity
        while len(self.booked) > REMEMBERED:
            del self.booked[next(iter(self.booked))]
        if new <= ZERO:
            return
        self._change(key, new if result.side == "BUY" else -new)
        if result.fee and result.venue != PERPETUAL and fee_kind(result.symbol, result.fee_currency) == "base":
            self._change(key, -result.fee)

    def _on_control(self, event: Control) -> None:
        if event.action == "liquidation":
            venue, symbol = event.details.get("venue"), event.details.get("symbol")
            self.quantities.pop(instrument_key(str(venue), str(symbol)), None)
        elif event.action == "adjustment":
            try:
                said = read_adjustment(event)
            except ContractViolation:
                return  # risk and the writer say so; here it changes nothing
            for moved in said.positions:
                self._change(instrument_key(said.venue, moved.symbol), moved.change)

    def _change(self, key: str, change: Decimal) -> None:
        held = self.quantities.pop(key, ZERO) + change
        if held:
            self.quantities[key] = held

    def of(self, venue: str) -> dict[str, Decimal | None]:
        """Return the symbols of a venue that are held, with the quantity; None where an order is working."""
        prefix = instrument_key(venue, "")
        found: dict[str, Decimal | None] = {
            key.removeprefix(prefix): held for key, held in sorted(self.quantities.items()) if key.startswith(prefix)
        }
        found |= {key.removeprefix(prefix): None for key in sorted(self.working.values()) if key.startswith(prefix)}
        return found

    @classmethod
    def restore(cls, value: dict[str, Any]) -> Self:
        """Take over what was dumped.

        Raises:
            StateMismatch: it is no such fold.
        """
        try:
            return cls(**value)
        except TypeError as error:
            raise StateMismatch(f"not a fold of holdings: {error}") from error
