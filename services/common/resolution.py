"""`control/resolve_order`: how an order whose end nobody reported is ended by a person who has looked at the exchange.

Two events. The operator's says what became of the order; cdb_risk answers it with one of its own that adds what it had
reserved, and cdb_execution makes the terminal order result only when it has seen both. A reservation ends with that
result, never with a command or a timer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.errors import ContractViolation
from services.common.events import Control, Identifier, NonNegative, Positive, Purpose, Side
from services.common.instruments import Venue

__all__ = ["Resolution", "Settlement", "read_resolution", "read_settlement"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class Resolution(BaseModel):
    """What an operator says became of an order: the `details` of the command.

    Attributes:
        order_id: whose end is told.
        outcome: `never_arrived` (the exchange has never heard of it), `canceled` (nothing fills beyond what was
            reported already), or `filled`.
        quantity: base units filled in all, with what was reported already; `filled` alone, null for the whole order.
        price: average price of what has filled unreported; `filled` alone.
        fee: paid for that, in quote currency; null: the taker fee is assumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: Identifier
    outcome: Literal["never_arrived", "canceled", "filled"]
    quantity: Positive | None = None
    price: Positive | None = None
    fee: NonNegative | None = None

    @model_validator(mode="after")
    def _a_fill_has_a_price(self) -> Self:
        if (self.outcome == "filled") != (self.price is not None):
            raise ValueError("`filled` needs a price, and nothing else has one")
        if self.outcome != "filled" and (self.quantity is not None or self.fee is not None):
            raise ValueError("only `filled` has a quantity and a fee")
        return self


class Settlement(BaseModel):
    """What cdb_risk makes of it: the same, and the order as risk had reserved it, for execution may not know it.

    Attributes:
        filled_quantity: base units that the order has filled in all.
        reference_price: mid at the decision, quote currency.
        leverage: of the order; 1 on spot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order_id: Identifier
    outcome: Literal["never_arrived", "canceled", "filled"]
    filled_quantity: NonNegative
    price: Positive | None = None
    fee: NonNegative | None = None
    client_order_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    venue: Venue
    symbol: str
    side: Side
    purpose: Purpose
    quantity: Positive
    reference_price: Positive
    leverage: Annotated[int, Field(ge=1, le=125)] = 1


def read_resolution(command: Control) -> Resolution:
    """Return what an operator's command says.

    Raises:
        ContractViolation: naming what is wrong.
    """
    return _read(Resolution, command)


def read_settlement(event: Control) -> Settlement:
    """Return what risk's answer says.

    Raises:
        ContractViolation: naming what is wrong.
    """
    return _read(Settlement, event)


def _read(model: type[ModelT], event: Control) -> ModelT:
    details: dict[str, Any] = dict(event.details)
    try:
        return model.model_validate(details)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, m['loc'])) or 'details'}: {m['msg']}" for m in error.errors())
        raise ContractViolation(f"{event.action}: {wrong}") from error
