"""The handbook's page on perpetuals: each worked example is what the code computes, each code and setting exists."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from services.cdb_execution.codes import CancelCode
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_risk.codes import Code
from services.cdb_risk.settings import RiskSettings
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL
from services.common.perpetuals import (
    contracts,
    funding_amount,
    liquidation_distance,
    liquidation_price,
    maintenance_fraction,
    margin_ratio,
)
from services.common.portfolio import Mark, Portfolio, Position

pytestmark = pytest.mark.unit

PAGE = Path("backoffice/docs/perpetuals.md").read_text(encoding="utf-8")
BTC = next(spec for spec in DEFAULT_INSTRUMENTS if (spec.venue, spec.symbol) == (PERPETUAL, "BTCUSDT"))


def opened(side: str) -> Position:
    """Return the position of the examples."""
    position = Position(PERPETUAL, "BTCUSDT")
    position.trade(side, Decimal(1), Decimal(50_000), 5)
    return position


def test_every_worked_example_is_what_the_code_computes() -> None:
    """Row by row, to the last digit."""
    long, short = opened("BUY"), opened("SELL")
    mu = maintenance_fraction(Decimal(1), BTC)
    ledger = Portfolio(positions={"k": opened("BUY")}, marks={"k": Mark(Decimal(51_000), 0)})
    computed = {
        "Sicherheit": long.margin,
        "Wert im Depot": ledger.equity,
        "Liquidation long": liquidation_price(long, mu),
        "Liquidation short": liquidation_price(short, mu),
        "Abstand long": liquidation_distance(long, Decimal(41_000), mu),
        "Sicherheitsquote": margin_ratio(long, Decimal(45_000), mu),
        "Funding": funding_amount(Decimal(1), Decimal(50_000), Decimal("0.0001")),
        "Kontrakte": contracts(Decimal("0.01239"), BTC),
    }
    written = re.findall(r"^\| ([A-Z][\w ]+) \| .* \| `([-\d.]+)` \|$", PAGE, re.MULTILINE)
    assert {name: Decimal(value) for name, value in written} == computed


def test_every_code_and_setting_of_the_page_exists() -> None:
    """Nothing is described that is not there, and the defaults are those of the settings."""
    named = set(re.findall(r"`([A-Z][A-Z_]{5,})`", PAGE))
    known = {*Code, *CancelCode, *RiskSettings.model_fields, *ExecutionSettings.model_fields, "LIQUIDATION_NEAR"}
    assert named <= known
    assert {"MARK_MISSING", "LEVERAGE_LIMIT", "LIQUIDATION_TOO_CLOSE", "INSUFFICIENT_MARGIN", "LIQUIDATED"} <= named
    risk, execution = RiskSettings().model_dump(), ExecutionSettings().model_dump()
    assert risk["LIQUIDATION_GUARD_PCT"] == Decimal("0.01")
    assert execution["PAPER_PERP_TAKER_FEE"] == Decimal("0.0008")
    assert execution["PAPER_PERP_MAKER_FEE"] == Decimal("0.0006")
