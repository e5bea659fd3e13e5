"""What the exchange has said and waits to be stated, and what is left of the account when a part of it is absurd."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from services.cdb_execution.exchange import Balance, FundingPayment, OrderReport, OrderRules, PositionReport, Trade
from services.cdb_execution.live.intake import Message

__all__ = ["Piece", "Said", "Snapshot", "Unhealed"]

Piece = Trade | FundingPayment | Balance | OrderRules
"""What a snapshot may be without."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN: Final = 300


@dataclass(frozen=True)
class Snapshot:
    """The account as it was read, piece by piece, after the books had reached `revision`.

    Attributes:
        rules: when they were asked for.
        hedged: it keeps long and short of one perpetual apart.
        absurd: fills and settlements that no event can say, with a sentence each: they are told as strangers, so that
            nothing is traded on an account of which a part is not known.
    """

    revision: int
    balances: Sequence[Balance]
    open_orders: Sequence[OrderReport]
    positions: Sequence[PositionReport]
    trades: Sequence[Trade]
    funding: Sequence[FundingPayment] = ()
    rules: Sequence[OrderRules] | None = None
    hedged: bool = False
    absurd: Mapping[str, str] = field(default_factory=dict)

    def without(self, pieces: Sequence[Piece], why: str) -> Snapshot:
        """Return the rest of it; what has moved the account and is left out stays named."""
        moved = [piece for piece in pieces if isinstance(piece, Trade | FundingPayment)]
        return replace(
            self,
            trades=[trade for trade in self.trades if trade not in pieces],
            funding=[payment for payment in self.funding if payment not in pieces],
            balances=[balance for balance in self.balances if balance not in pieces],
            rules=None if self.rules is None else [each for each in self.rules if each not in pieces],
            absurd={**self.absurd, **{_name(piece): _sentence(piece, why) for piece in moved}},
        )


@dataclass(frozen=True)
class Unhealed:
    """What was missed cannot be brought back: the exchange tells less of it than has happened; `reason` names what."""

    reason: str


Said = Message | Snapshot | Unhealed
"""What waits to be stated."""


def _name(piece: Trade | FundingPayment) -> str:
    """Return what an operator can type: the exchange's id, or something made from it when that is none."""
    told = piece.trade_id if isinstance(piece, Trade) else f"funding-{piece.payment_id}"
    return told if _PLAIN.fullmatch(told) else f"absurd-{sha256(ascii(piece).encode()).hexdigest()[:12]}"


def _sentence(piece: Trade | FundingPayment, why: str) -> str:
    return f"cannot be booked: {ascii(piece)[:_SHOWN]} ({ascii(why)[1:-1][:_SHOWN]})"
