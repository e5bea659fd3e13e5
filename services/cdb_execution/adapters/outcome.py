"""What is known of an order after one attempt to send it. In doubt `unknown`: then only asking tells.

`refused` means that the exchange certainly has no such order and never will, so that another may be sent in its place.
It is said only for an error code that is listed here, in an answer below 500. Everything else stays `unknown`:

* a time-out, a cut, a failed handshake, a proxy's failure: the request may have arrived;
* 5xx, whatever its body says: the documentation calls the outcome unknown;
* 3xx, HTML, a body that cannot be read, a success without an order id;
* 429, 418 and 510: the limit is counted in front of the order book as far as anybody knows, but nothing says that the
  first of two requests was not let through by something in between, and a query costs less than a double position;
* codes that mean the order may be there: a duplicate client id (2042), a repeated request (603);
* codes that nobody has documented.

`not_sent` is said when no connection was made at all, or the request never left this program.
Source: MEXC API documentation, error codes of spot v3 and perpetual v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.cdb_execution.adapters.dialects import told_code
from services.cdb_execution.adapters.transport import HttpAnswer, TransportFailure
from services.cdb_execution.exchange import PlaceOutcome
from services.common.codec import decode
from services.common.errors import ContractViolation, ExchangeAnswerInvalid
from services.common.mexc.rows import as_row, identifier

__all__ = ["PERPETUAL_REFUSALS", "SPOT_REFUSALS", "not_sent", "perpetual_outcome", "spot_outcome"]


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPOT_REFUSALS: Final = _codes(
    """
    -1121 -1128 26 400 401 602 10007 10072 10073 10095 10096 10097 10101 10102 30000 30001 30002 30003 30004
    30005 30010 30014 30016 30018 30019 30020 30021 30025 30027 30028 30029 30032 30041 30087 33333 44444 60005
    70011 700001 700002 700003 700005 700006 700007 700008 700013 730001 730002
    """
)
"""Codes of spot v3 with which a new order was certainly not taken."""
PERPETUAL_REFUSALS: Final = _codes(
    """
    401 402 406 506 511 513 600 601 602 701 702 703 704 1000 1001 1002 1003 1004 2001 2002 2003 2004 2005 2006
    2007 2008 2009 2011 2015 2018 2019 2021 2022 2027 2028 2029 2030 2031 2032 2033 2036 2037 2038 2051 2057
    5001 5002 5003 5004 6001 6002 7002 7003 7004 7005 7008 8815 8816 8817 8818 8819 8820 8821
    """
)
"""Codes of perpetual v1 with which a new order was certainly not taken."""
_SHOWN: Final = 200


def not_sent(code: str, detail: str = "") -> PlaceOutcome:
    """Return the outcome of an order of which not a byte has left."""
    return PlaceOutcome(verdict="not_sent", code=code, detail=detail)


def spot_outcome(answer: HttpAnswer | TransportFailure, *, test: bool = False) -> PlaceOutcome:
    """Return what the answer to `POST /api/v3/order` tells.

    Args:
        answer: what came of sending it.
        test: it went to the test endpoint, whose success is an empty object.
    """
    settled = _settled(answer, SPOT_REFUSALS, success=frozenset({None, "0", "200"}))
    if settled is not None:
        return settled
    assert isinstance(answer, HttpAnswer), "a failure is settled"
    return _accepted(answer, "", test=test)


def perpetual_outcome(answer: HttpAnswer | TransportFailure) -> PlaceOutcome:
    """Return what the answer to `POST /api/v1/private/order/create` tells: success with an order id, bare or inside."""
    settled = _settled(answer, PERPETUAL_REFUSALS, success=frozenset({"0"}))
    if settled is not None:
        return settled
    assert isinstance(answer, HttpAnswer), "a failure is settled"
    return _accepted(answer, "data", test=False)


def _settled(
    answer: HttpAnswer | TransportFailure, refusals: frozenset[str], success: frozenset[str | None]
) -> PlaceOutcome | None:
    """Return the outcome of whatever is no success; None for what looks like one."""
    if isinstance(answer, TransportFailure):
        return PlaceOutcome(verdict="unknown" if answer.sent else "not_sent", code=answer.kind)
    code, text = told_code(answer)
    detail = text[:_SHOWN]
    if 200 <= answer.status < 300 and code in success:
        return None
    if answer.status < 500 and answer.status not in {418, 429} and not 300 <= answer.status < 400 and code in refusals:
        return PlaceOutcome(verdict="refused", code=code, detail=detail)
    told = code if code is not None and answer.status < 500 else f"http_{answer.status}"
    return PlaceOutcome(verdict="unknown", code=told, detail=detail)


def _accepted(answer: HttpAnswer, inside: str, *, test: bool) -> PlaceOutcome:
    try:
        return PlaceOutcome(verdict="accepted", exchange_order_id=_order_id(decode(answer.body), inside, test=test))
    except (ContractViolation, ExchangeAnswerInvalid):
        return PlaceOutcome(verdict="unknown", code="malformed", detail=f"HTTP {answer.status} without an order id")


def _order_id(body: Any, inside: str, *, test: bool) -> str | None:
    row = as_row(body, "answer")
    if test:
        return None
    if not inside:
        return identifier(row, "orderId")
    if row.get("success") is not True:
        raise ExchangeAnswerInvalid("success is not true")
    return identifier(row[inside], "orderId") if isinstance(row.get(inside), Mapping) else identifier(row, inside)
