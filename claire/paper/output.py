"""What a paper run leaves behind: a result as a dictionary, and files in a folder."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from claire.paper.run import PaperRun, Progress, Sink, run_paper
from claire.paper.spec import PaperSpec
from claire.up import to_json
from services.common.decimals import format_number
from services.common.errors import ClaireError
from services.common.events import OrderResult
from services.common.journal.entry import Entry
from services.common.timestamps import format_timestamp

__all__ = ["OutputUnusable", "result_of", "run_and_write"]

TRADE_COLUMNS: Final = (
    "timestamp",
    "trade_id",
    "order_id",
    "symbol",
    "side",
    "quantity",
    "price",
    "fee",
    "fee_currency",
    "liquidity",
    "slippage_bps",
)


class OutputUnusable(ClaireError):
    """The folder for the results cannot be made or written."""


class _Trades:
    """Collects fills."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    def __call__(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, OrderResult) and event.last_quantity and event.last_price is not None:
            self.rows.append(
                [
                    format_timestamp(event.timestamp),
                    event.trade_id or "",
                    event.order_id,
                    event.symbol,
                    event.side,
                    format_number(event.last_quantity),
                    format_number(event.last_price),
                    "" if event.fee is None else format_number(event.fee),
                    event.fee_currency or "",
                    event.liquidity or "",
                    "" if event.slippage_bps is None else format_number(event.slippage_bps),
                ]
            )


def run_and_write(
    spec: PaperSpec, folder: Path | None, progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Run a spec, write its files into a folder if one is given, and return the result.

    Raises:
        OutputUnusable: the folder cannot be written.
        FeedInputInvalid, SettingsInvalid: see :func:`claire.paper.run.run_paper`.
    """
    if folder is None:
        return result_of(spec, run_paper(spec, progress=progress))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trades = _Trades()
        sinks: list[Sink] = [trades]
        result = result_of(spec, run_paper(spec, progress=progress, sinks=sinks))
        with (folder / "trades.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(TRADE_COLUMNS)
            writer.writerows(trades.rows)
        (folder / "report.json").write_text(to_json(result) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputUnusable(f"--output-dir {folder}: cannot be written ({error.strerror})") from error
    return result


def result_of(spec: PaperSpec, run: PaperRun) -> dict[str, Any]:
    """Return what `report.json` and `--json` say of a run."""
    return {
        "run_id": run.run_id,
        "title": spec.title,
        "period": {"from": run.period[0], "to": run.period[1]},
        "events": run.events,
        "portfolio": run.portfolio,
        "chain_tip": run.chain_tip,
        "settings": run.settings,
    }
