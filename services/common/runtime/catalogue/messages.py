"""What cdb_notifier shows of the messages that it sends to people."""

from __future__ import annotations

from services.common.channels import NOTIFIER
from services.common.runtime.catalogue.definition import Definition

__all__ = ["DEFINITIONS", "DROPPED", "FAILED", "SENT", "WAITING"]

_ONLY = (NOTIFIER,)

SENT = Definition("cdb_notifications_sent", "counter", "Messages taken by a target.", _ONLY, ("level",))
FAILED = Definition("cdb_notifications_failed_attempts", "gauge", "Attempts that failed since the start.", _ONLY)
WAITING = Definition("cdb_notifications_waiting", "gauge", "Messages that wait to be sent.", _ONLY)
DROPPED = Definition("cdb_notifications_dropped", "gauge", "Messages given up because too many waited.", _ONLY)

DEFINITIONS = (SENT, FAILED, WAITING, DROPPED)
