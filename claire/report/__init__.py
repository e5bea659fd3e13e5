"""The report of a run: its data as one JSON-able object, and that as one self-contained HTML page."""

from __future__ import annotations

from claire.report.data import report_data
from claire.report.page import render

__all__ = ["render", "report_data"]
