"""The worked examples of the handbook's page of formulas are what the product's own functions compute."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.cdb_risk.codes import Code
from services.cdb_risk.estimators import AverageTrueRange, Estimate, ReturnWindow
from services.cdb_risk.finding import Finding
from services.cdb_risk.layers.circuit_breaker import check_peak_loss
from services.cdb_risk.layers.daily_drawdown import check_daily_loss, check_rolling_loss
from services.cdb_risk.layers.data_quality import price_collar
from services.cdb_risk.layers.perpetual_limits import check_liquidation_distance
from services.cdb_risk.layers.spread_check import check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure
from services.cdb_risk.market import Quote
from services.cdb_risk.prices import (
    ENTRY_PROTECTION_PCT,
    escalated_protection,
    expected_slippage,
    protection_price,
    worst_price,
)
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.sizing import (
    Request,
    atr_based,
    fixed_fractional,
    headroom_quantity,
    kelly_criterion,
    volatility_targeting,
)
from services.cdb_risk.triggers import Best, levels
from services.cdb_risk.virtual_trips import TripStatistics, VirtualTrips
from services.common.decimals import floor_to
from services.common.events import Signal
from services.common.fixed_point import from_e12
from services.common.perpetuals import funding_amount, liquidation_distance, liquidation_price, margin_ratio
from services.common.portfolio import Mark, Portfolio, Position
from services.common.timestamps import SECOND_US

pytestmark = [pytest.mark.unit, pytest.mark.risk]

PAGE = Path(__file__).resolve().parents[3] / "backoffice" / "docs" / "risiko-formeln.md"
BLOCK = re.compile(r"```text\n\[(\w+)\]\n(.*?)```", re.DOTALL)
LINE = re.compile(r"(=> )?(\w+) *= (\S+)")

Numbers = dict[str, Decimal]
Answers = dict[str, Any]


def examples() -> dict[str, tuple[Numbers, dict[str, str]]]:
    """Return inputs and printed answers of every example on the page, by its name."""
    found: dict[str, tuple[Numbers, dict[str, str]]] = {}
    for name, body in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        assert name not in found, f"[{name}] stands twice"
        lines = [LINE.fullmatch(line) for line in body.strip().splitlines()]
        assert all(lines), f"[{name}] has a line that is neither `name = value` nor `=> name = value`"
        rows = [line.groups() for line in lines if line is not None]
        inputs = {key: Decimal(value) for arrow, key, value in rows if not arrow}
        found[name] = inputs, {key: value for arrow, key, value in rows if arrow}
    return found


def compared(finding: Finding, name: str) -> Answers:
    """Return the shown number and the code of a check."""
    return {name: finding.value, "code": finding.code.value}


def sized(request: Request) -> Answers:
    """Return what a sizing method asks for."""
    return {"wert": request.inputs["notional"], "menge": request.quantity}


def kapital(n: Numbers) -> Answers:
    """A spot position, and a short perpetual with its margin."""
    portfolio = Portfolio.with_cash(n["bargeld"])
    portfolio.positions["mexc_spot:BTCUSDT"] = Position("mexc_spot", "BTCUSDT", quantity=n["menge"])
    quantity = n["perp_menge"]
    portfolio.positions["mexc_perpetual:BTCUSDT"] = Position(
        "mexc_perpetual", "BTCUSDT", quantity=quantity, cost=quantity * n["perp_einstand"], margin=n["perp_margin"]
    )
    portfolio.marks = {
        "mexc_spot:BTCUSDT": Mark(n["mitte"], 0),
        "mexc_perpetual:BTCUSDT": Mark(n["perp_mark"], 0),
    }
    return {"kapital": portfolio.equity}


def volatilitaet(n: Numbers) -> Answers:
    """As many minutes up as down."""
    window, price = ReturnWindow(), Decimal(100)
    window.push(price, 720)
    for _ in range(int(n["renditen_je"])):
        window.push(price * (1 + n["rendite_auf"]), 720)
        window.push(price, 720)
    assert set(window.squares) == {int(n[name] ** 2 * 10**24) for name in ("rendite_auf", "rendite_ab")}
    return {"sigma": window.annualised().value}


def wahre_spanne(n: Numbers) -> Answers:
    """One bar after a close."""
    settings = RiskSettings(ATR_BAR_MIN=1, ATR_PERIOD=2)
    atr = AverageTrueRange()
    atr.push(0, n["schluss_davor"], n["schluss_davor"], n["schluss_davor"], settings)
    atr.push(1, n["hoch"], n["tief"], n["tief"], settings)
    return {"spanne": atr.total * 2}


def atr_step(n: Numbers) -> Answers:
    """One more true range on a known ATR."""
    settings = RiskSettings(ATR_BAR_MIN=1, ATR_PERIOD=int(n["n"]))
    atr = AverageTrueRange(bar_min=1, period=int(n["n"]), count=int(n["n"]), total=n["atr_davor"])
    atr.push(0, 100 + n["spanne"], Decimal(100), Decimal(100), settings)
    return {"atr": atr.estimate(settings).value}


def rundreise(n: Numbers) -> Answers:
    """A long of core, entry and exit."""
    record = VirtualTrips()
    for intent, side, price in (("entry", "buy", n["einstieg"]), ("exit", "sell", n["ausstieg"])):
        given = {
            "event_id": "s", "timestamp": 1_621_425_600_000_000, "producer": "cdb_core", "venue": "mexc_spot",
            "symbol": "BTCUSDT", "signal_type": side, "intent": intent, "price": price, "confidence": 1,
        }  # fmt: skip
        record.add(Signal.model_validate(given), n["gebuehr"], 100)
    return {"ergebnis": from_e12(record.nets_e12[0])}


def kelly(n: Numbers) -> Answers:
    """With the statistics of a record."""
    request = kelly_criterion(n["kapital"], n["preis"], TripStatistics(n["p"], n["w"], n["l"], 100), n["anteil"])
    return sized(request) | {"f": request.inputs["kelly"]}


def raum(n: Numbers) -> Answers:
    """Protection price, worst price, and what fits on the lot grid."""
    limit = protection_price("BUY", n["brief"], ENTRY_PROTECTION_PCT, n["preisstufe"])
    worst = worst_price(limit, n["gebuehr"])
    quantity = headroom_quantity(n["anteil"] * n["kapital"], n["belegt"], worst)
    return {"schutzpreis": limit, "schlechtester_preis": worst, "menge": floor_to(quantity, n["los"])}


def gleiten(n: Numbers) -> Answers:
    """A purchase of more than the touch holds."""
    quote = Quote(n["geld"], n["brief"], n["groesse"], n["groesse"], 0)
    return {
        "gleiten": expected_slippage(
            "BUY", n["menge"], quote, volume_60s=n["umsatz_60s"], volatility_1m=n["sigma_1m"], tick=n["preisstufe"]
        )
    }


def liquidation(n: Numbers) -> Answers:
    """A position as a fill opens it."""
    position = Position("mexc_perpetual", "BTCUSDT")
    side = "BUY" if n["menge"] > 0 else "SELL"
    position.trade(side, abs(n["menge"]), n["einstand"], int(n["hebel"]))
    return {
        "margin": position.margin,
        "preis": liquidation_price(position, n["mu"]),
        "abstand": liquidation_distance(position, n["mark"], n["mu"]),
        "quote": margin_ratio(position, n["mark"], n["mu"]),
    }


def abstand(n: Numbers) -> Answers:
    """The distance against twice the stop's."""
    finding = check_liquidation_distance(n["abstand"], n["stop"])
    return {"mindestens": finding.limit, "code": finding.code.value}


def ausstiege(n: Numbers) -> Answers:
    """All three prices of a position."""
    settings = RiskSettings(STOP_LOSS_PCT=n["stop"], TAKE_PROFIT_PCT=n["gewinn"], TRAILING_STOP_PCT=n["nachgezogen"])
    position = Position("mexc_perpetual", "BTCUSDT", quantity=n["menge"], cost=n["menge"] * n["einstand"], opened_at=1)
    at = levels(settings, position, Best(1, n["menge"], n["bester"]))
    return {
        "stop_preis": at["stop_loss"],
        "gewinn_preis": at["take_profit"],
        "nachgezogener_preis": at["trailing_stop"],
    }


def schutz(n: Numbers) -> Answers:
    """The protection of five attempts."""
    steps = [escalated_protection(attempt, n["hoechstens"]) for attempt in range(5)]
    return {f"versuch_{number}": "MARKET" if step is None else step for number, step in enumerate(steps, 1)}


def known(value: Decimal) -> Estimate:
    """Return an estimate that is known."""
    return Estimate(value, 1, 1, "values")


COMPUTED: dict[str, Callable[[Numbers], Answers]] = {
    "kapital": kapital,
    "tagesverlust": lambda n: compared(
        check_daily_loss(n["kapital_0_uhr"], n["kapital"] - n["kapital_0_uhr"], n["grenze"]), "verlust"
    ),
    "rollender_rueckgang": lambda n: compared(check_rolling_loss(n["hoch"], n["kapital"], n["grenze"]), "verlust"),
    "rueckgang": lambda n: compared(check_peak_loss(n["hoch"], n["kapital"], n["grenze"]), "verlust"),
    "fixed_fractional": lambda n: sized(fixed_fractional(n["kapital"], n["preis"], n["risiko"], n["stop"])),
    "volatilitaet": volatilitaet,
    "volatility_targeting": lambda n: sized(
        volatility_targeting(n["kapital"], n["preis"], known(n["sigma"]), n["ziel"])
    ),
    "wahre_spanne": wahre_spanne,
    "atr": atr_step,
    "atr_based": lambda n: sized(atr_based(n["kapital"], n["preis"], known(n["atr"]), n["risiko"], n["faktor"])),
    "rundreise": rundreise,
    "kelly_criterion": kelly,
    "preissprung": lambda n: compared(price_collar(Code.PRICE_COLLAR, n["preis"], n["letzter"], n["grenze"]), "sprung"),
    "raum": raum,
    "gesamt": lambda n: compared(
        check_exposure(n["belegt"], n["order"], n["kapital"], n["grenze"], no_room=False), "anteil"
    ),
    "spanne": lambda n: compared(check_spread(n["geld"], n["brief"], n["grenze"]), "spanne"),
    "gleiten": gleiten,
    "alter": lambda n: compared(
        check_age(
            "data",
            int(n["daten_sec"]) * SECOND_US,
            int(n["jetzt_sec"]) * SECOND_US,
            n["grenze_sec"],
            Code.DATA_STALE,
        ),
        "alter",
    ),
    "liquidation_long": liquidation,
    "liquidation_short": liquidation,
    "abstand": abstand,
    "funding": lambda n: {"betrag": funding_amount(n["menge"], n["mark"], n["satz"])},
    "ausstiege_long": ausstiege,
    "ausstiege_short": ausstiege,
    "schutz": schutz,
}


def test_the_page_has_these_examples_and_no_other() -> None:
    """An example that nothing computes would not be worth its name."""
    assert list(examples()) == list(COMPUTED)


@pytest.mark.parametrize("name", COMPUTED)
def test_the_product_computes_what_the_page_says(name: str) -> None:
    """Every number after `=>` is exactly the one that the product's function returns, and none is left out."""
    inputs, printed = examples()[name]

    computed = COMPUTED[name](inputs)

    shown = {key: value if isinstance(value, str) else f"{value.normalize():f}" for key, value in computed.items()}
    assert shown == printed
