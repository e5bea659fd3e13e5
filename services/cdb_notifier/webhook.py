"""What Alertmanager posts, validated and never trusted: bounded, of plain text, and turned into notices."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.cdb_notifier.message import Level, Notice
from services.common.codec import decode
from services.common.errors import ContractViolation

__all__ = ["MOST_BYTES", "read_webhook"]

MOST_BYTES: Final = 256 * 1024
SOURCE: Final = "Prometheus"
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SEVERITY: Final[dict[str, Level]] = {"critical": "CRITICAL", "page": "CRITICAL", "warning": "WARNING"}

_Name = Annotated[str, Field(max_length=128)]
_Text = Annotated[str, Field(max_length=4_096)]
_Pairs = Annotated[dict[_Name, _Text], Field(max_length=64)]


class _Alert(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: Literal["firing", "resolved"]
    labels: _Pairs
    annotations: _Pairs = Field(default_factory=dict)


class _Payload(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: Literal["4"]
    alerts: Annotated[list[_Alert], Field(min_length=1, max_length=100)]


def read_webhook(body: bytes) -> list[Notice]:
    """Return the notices of one request.

    Raises:
        ContractViolation: not what Alertmanager posts (version 4), or too much of it.
    """
    if len(body) > MOST_BYTES:
        raise ContractViolation(f"{len(body)} bytes; at most {MOST_BYTES} are taken")
    value = decode(body)
    try:
        payload = _Payload.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise ContractViolation(f"not a webhook of Alertmanager: {where}: {first['msg']}") from error
    return [_notice(alert) for alert in payload.alerts]


def _notice(alert: _Alert) -> Notice:
    labels = {_clean(name): _clean(value) for name, value in alert.labels.items()}
    code = labels.pop("alertname", "") or "UNNAMED"
    level = _SEVERITY.get(labels.pop("severity", "").lower(), "INFO")
    notes = alert.annotations
    text = _clean(notes.get("summary") or notes.get("description") or notes.get("message") or code)
    runbook = _clean(notes.get("runbook_url") or notes.get("runbook") or "")
    context = labels | ({"runbook": runbook} if runbook else {})
    firing = Notice(level, code[:64], text[:1_000], context, SOURCE)
    calm: Level = "WARNING" if level == "CRITICAL" else level
    over = Notice(calm, f"{code}_RESOLVED"[:64], f"over: {text}"[:1_000], context, SOURCE, ends=firing.key)
    return over if alert.status == "resolved" else replace(firing, ends=over.key)


def _clean(text: str) -> str:
    """Return text without what a terminal or a chat would act upon."""
    return _UNPRINTABLE.sub(" ", text)[:1_000]
