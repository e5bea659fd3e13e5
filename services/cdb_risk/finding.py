"""What one check of a layer found, and how the findings of a layer become its one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from services.cdb_risk.codes import Code
from services.common.canonical import construct
from services.common.decimals import divide, format_number, quantise
from services.common.events import LayerName, LayerVerdict

__all__ = ["Finding", "Words", "bad_value", "compared", "ok", "ratio", "shown", "verdict", "wire"]

_WIRE_BOUND = Decimal(10) ** 15

_WIRE_PLACES = 12


Words = str | tuple[str, *tuple[Decimal | None, ...]]
"""A sentence, or one with `{}` for each of the numbers behind it: most findings are never shown, so never written."""


class Finding(NamedTuple):
    """One check: its code, one readable sentence, and the numbers (value, limit and headroom in the same unit)."""

    code: Code
    words: Words = ""
    value: Decimal | None = None
    limit: Decimal | None = None
    headroom: Decimal | None = None

    def with_numbers_of(self, principal: Finding) -> Finding:
        """Return this finding with the numbers of the layer's principal one where it has none of its own."""
        return Finding(self.code, self.words, principal.value, principal.limit, principal.headroom)

    @property
    def detail(self) -> str:
        """The sentence."""
        if isinstance(self.words, str):
            return self.words
        sentence, *numbers = self.words
        return sentence.format(*map(shown, numbers))

    @property
    def failed(self) -> bool:
        """Whether this finding blocks."""
        return self.code is not Code.OK


def ok(
    words: Words = "", value: Decimal | None = None, limit: Decimal | None = None, headroom: Decimal | None = None
) -> Finding:
    """Return a finding with nothing against the order."""
    return Finding(Code.OK, words, value, limit, headroom)


def bad_value(name: str, given: object) -> Finding:
    """Return the finding for a value that is there but unusable."""
    plain = isinstance(given, str | float | Decimal | None) or (isinstance(given, int) and given.bit_length() < 128)
    return Finding(Code.BAD_VALUE, f"{name} is {given!r:.60}" if plain else f"{name} is a {type(given).__name__}")


def wire(value: Decimal | None) -> Decimal | None:
    """Return a number as it may stand in an event: 12 decimals; None when it is absurdly large."""
    if value is None or not -_WIRE_BOUND < value < _WIRE_BOUND:
        return None
    return quantise(value, _WIRE_PLACES)


def shown(value: Decimal | None) -> str:
    """Return a number as a sentence shows it."""
    number = wire(value)
    return "unknown" if number is None else format_number(number).removesuffix(".0")


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal | None:
    """Return numerator / denominator to 12 decimals; None when it is beyond every number worth showing.

    The comparison that blocks is made by products: this is only what is shown. denominator > 0.
    """
    return None if abs(numerator) >= denominator * _WIRE_BOUND else divide(numerator, denominator)


def compared(code: Code, words: Words, value: Decimal | None, limit: Decimal) -> Finding:
    """Return a finding that compares a shown value with its limit."""
    return Finding(code, words, value, limit, None if value is None else limit - value)


def verdict(layer: LayerName, findings: Sequence[Finding], *, bypass: bool = False) -> LayerVerdict:
    """Return a layer's verdict: its first failing finding, or the last of them when none fails.

    A layer puts its principal number last, so that a pass shows it. Other failures are named in the detail. A bypassed
    layer is evaluated and recorded but does not block.
    """
    if not findings:
        return LayerVerdict.make(layer=layer, code=Code.OK.value, status="not_evaluated", detail="nothing to evaluate")
    failed = [finding for finding in findings if finding.code is not Code.OK]
    shown = failed[0] if failed else findings[-1]
    detail = shown.detail
    for other in failed[1:]:
        detail += f"; also {other.code.value}: {other.detail}"
    return construct(  # seven a decision; `wire` keeps the bounds of a number, and the rest are our own words
        LayerVerdict,
        {
            "layer": layer,
            "code": shown.code.value,
            "status": "bypass" if bypass else "fail" if failed else "pass",
            "value": wire(shown.value),
            "limit": wire(shown.limit),
            "headroom": wire(shown.headroom),
            "detail": detail,
        },
    )
