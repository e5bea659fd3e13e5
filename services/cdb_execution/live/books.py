"""The books of live trading: fills, settlements and liquidations, each once, and the halt that stops all else."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.codes import shown
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.paper import PaperExecution
from services.common.currencies import base_and_quote
from services.common.decimals import ZERO
from services.common.errors import ContractViolation
from services.common.events import Control, OrderResult
from services.common.instruments import PERPETUAL, instrument_key
from services.common.perpetual_facts import read_payment
from services.common.portfolio import Position

__all__ = ["LiveBooks"]

_PAYMENTS_REMEMBERED: Final = 256


class LiveBooks(PaperExecution):
    """What the exchange must hold by everything that has been booked."""

    @property
    def _quote(self) -> str:
        return base_and_quote(self.settings.LIVE_SYMBOLS[0])[1]

    def _book_live(
        self, order: WorkingOrder, quantity: Decimal, price: Decimal, fee: Decimal, currency: str | None
    ) -> None:
        """Book a fill in what the exchange must hold, and in today's profit and loss."""
        live = self.state.live
        if order.venue != PERPETUAL:
            live.ledger.book(order.symbol, order.side, quantity, price)
            live.ledger.pay(order.symbol, fee, currency)
            self._reduce_by_fee(order, fee, currency)
        live.revision += 1
        wallet = live.wallet
        live.portfolio.booked.pop(order.order_id, None)
        live.portfolio.book(
            OrderResult(
                event_id="fill",
                timestamp=self.now,
                producer=self.service,
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                status="PARTIALLY_FILLED",
                venue=order.venue,
                symbol=order.symbol,
                side=order.side,
                quantity=order.quantity,
                filled_quantity=quantity,
                last_quantity=quantity,
                last_price=price,
                fee=fee,
                fee_currency=currency,
            ),
            order.leverage,
        )
        live.portfolio.booked.clear()  # what is new is decided by trade id here, not by a cumulative quantity
        if order.venue == PERPETUAL:
            live.ledger.add(self._quote, live.wallet - wallet)
            if order.purpose == "entry":
                live.leverages[order.symbol] = order.leverage

    def _on_exchange_funding(self, event: Control) -> None:
        """Book a settlement that the exchange has told, once."""
        payment, live = read_payment(event), self.state.live
        if payment.payment_id in live.payments:
            return
        key = instrument_key(PERPETUAL, payment.symbol)
        live.payments = [*live.payments[1 - _PAYMENTS_REMEMBERED :], payment.payment_id]
        live.portfolio.fund(key, payment.amount)
        live.ledger.add(self._quote, payment.amount)
        self.state.perpetual(key, payment.symbol).position.funding += payment.amount
        live.revision += 1
        live.funding_due.pop(key, None)

    def _on_exchange_liquidation(self, event: Control) -> None:
        """Book a position that the exchange has taken over, and let nothing go on before somebody has looked."""
        symbol, fills = event.details.get("symbol"), event.details.get("fills")
        if not (isinstance(symbol, str) and isinstance(fills, list | tuple)):
            raise ContractViolation(f"liquidation {event.event_id}: {symbol!r}, {fills!r} tells no position and fills")
        key, live = instrument_key(PERPETUAL, symbol), self.state.live
        wallet = live.wallet
        lost = live.portfolio.liquidate(key)
        live.ledger.add(self._quote, live.wallet - wallet)
        self.state.positions[key] = ZERO
        self.state.perpetual(key, symbol).position = Position(PERPETUAL, symbol)
        live.remember_trades([str(name) for name in fills])
        live.revision += 1
        live.funding_due.pop(key, None)
        message = f"the exchange has liquidated {symbol}: {shown(lost)} {self._quote} of margin are lost"
        details = {name: event.details.get(name) for name in ("symbol", "quantity", "entry", "price", "mark", "margin")}
        self._tell("CRITICAL", "POSITION_LIQUIDATED", message, details)
        self._freeze(message, {"symbol": symbol})

    # freezing

    def _freeze(self, why: str, details: dict[str, Any]) -> None:
        """Freeze trading here and, by a halt that risk folds too, there."""
        self.state.trading_state = "FROZEN"
        self.emit(
            Control,
            action="halt",
            service=self.service,
            by=self.service,
            reason=why,
            details={"freeze": True, **details},
        )
