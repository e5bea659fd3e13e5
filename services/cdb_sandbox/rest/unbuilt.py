"""What MEXC has and this sandbox has not: refused with a code of MEXC's and words that say so, never ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from services.cdb_sandbox.house import House
from services.cdb_sandbox.rest.request import Request
from services.common.errors import SandboxRefusal

__all__ = ["UNBUILT", "refuse_unbuilt_fields", "refuse_unbuilt_spot_fields", "refuser"]

_TRIGGER: Final = (3001, "Trigger orders are not part of this sandbox")
_STOP: Final = (5001, "Take-profit and stop-loss orders are not part of this sandbox")
_CHANGE: Final = (2041, "Changing an order is not part of this sandbox: cancel it and place another")

UNBUILT: Final[Mapping[tuple[str, str], tuple[int, str]]] = {
    ("POST", "order/submit_batch"): (701, "Batches are for market makers only"),
    ("POST", "order/change_limit_order"): _CHANGE,
    ("POST", "order/chase_limit_order"): _CHANGE,
    ("POST", "planorder/place"): _TRIGGER,
    ("POST", "planorder/place/v2"): _TRIGGER,
    ("POST", "planorder/cancel"): _TRIGGER,
    ("POST", "planorder/cancel_all"): _TRIGGER,
    ("POST", "planorder/change_stop_order"): _TRIGGER,
    ("GET", "planorder/list/orders"): _TRIGGER,
    ("POST", "stoporder/place"): _STOP,
    ("POST", "stoporder/cancel"): _STOP,
    ("POST", "stoporder/cancel_all"): _STOP,
    ("POST", "stoporder/change_price"): _STOP,
    ("POST", "stoporder/change_plan_price"): _STOP,
    ("GET", "stoporder/list/orders"): _STOP,
    ("GET", "stoporder/open_orders"): _STOP,
    ("POST", "position/reverse"): (2008, "Reversing a position is not part of this sandbox: close it and open another"),
    ("POST", "account/change_risk_level"): (8817, "The risk level cannot be changed"),
}
"""Private perpetual endpoints, with the refusal: code and message."""

_FIELDS: Final[Mapping[str, tuple[int, str]]] = {
    "stopLossPrice": _STOP,
    "takeProfitPrice": _STOP,
    "stpMode": (600, "Self-trade prevention is not part of this sandbox"),
    "bboTypeNum": (600, "Prices by the book (bboTypeNum) are not part of this sandbox"),
    "priceProtect": (600, "priceProtect belongs to trigger orders, which are not part of this sandbox"),
    "marketCeiling": (600, "marketCeiling is not part of this sandbox"),
    "flashClose": (600, "flashClose is not part of this sandbox"),
}
_NOTHING: Final = frozenset({None, "", "0", "false", "False"})


def refuser(code: int, message: str) -> Callable[[House, Request], NoReturn]:
    """Return the handler of an endpoint that is not built."""

    def refuse(house: House, request: Request) -> NoReturn:
        raise SandboxRefusal(code, message, status=200)

    return refuse


def refuse_unbuilt_fields(body: Mapping[str, Any]) -> None:
    """Refuse a perpetual order that asks for more than is built.

    Raises:
        SandboxRefusal: it does.
    """
    for name, (code, message) in _FIELDS.items():
        if body.get(name) is not None and str(body[name]) not in _NOTHING:
            raise SandboxRefusal(code, message, status=200)


def refuse_unbuilt_spot_fields(params: Mapping[str, str]) -> None:
    """Refuse a spot order that asks for more than is built.

    Raises:
        SandboxRefusal: 30041 for a type that this sandbox has not, 33333 for self-trade prevention.
    """
    kind = params.get("type", "")
    if "STOP" in kind or "TAKE_PROFIT" in kind:
        raise SandboxRefusal(30041, f"Order type {kind} is not part of this sandbox")
    if params.get("stpMode"):
        raise SandboxRefusal(33333, "Parameter error: stpMode (self-trade prevention is not part of this sandbox)")
