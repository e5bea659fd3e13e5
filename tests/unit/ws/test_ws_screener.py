"""The screener: what is excluded says why, the rest goes by turnover."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_ws.live.listing import Listing, Ticker
from services.cdb_ws.live.screener import choose, rank
from services.cdb_ws.live.subscriptions import Subscriptions
from services.cdb_ws.live_settings import LiveSettings
from services.common.instruments import InstrumentSpec

pytestmark = pytest.mark.unit

RULES = LiveSettings()
GRID = Decimal("0.01")


def listed(symbol: str, closed: str = "", quote: str = "USDT") -> Listing:
    """Return an instrument as the exchange lists it."""
    spec = InstrumentSpec(
        venue="mexc_spot",
        symbol=symbol,
        base=symbol.removesuffix(quote),
        quote=quote,
        tick_size=GRID,
        lot_size=GRID,
        min_quantity=GRID,
        closed=closed or None,
    )
    return Listing(spec)


def day(symbol: str, turnover: int = 9_000_000, bid: str | None = "10", ask: str | None = "10.01") -> Ticker:
    """Return a day of an instrument."""
    return Ticker(symbol, Decimal(turnover), bid and Decimal(bid), ask and Decimal(ask))


@pytest.mark.parametrize(
    ("ticker", "closed", "why"),
    [
        (day("DOGEUSDT"), "", ""),
        (day("DOGEUSDT"), "paused", "paused"),
        (day("USDCUSDT"), "", "stablecoin"),
        (day("NUSDUSDT", bid="1", ask="1.0001"), "", "stablecoin"),
        (day("BTC3LUSDT"), "", "leveraged token"),
        (day("DOGEUSDT", turnover=5), "", "turnover under 1,000,000 USDT"),
        (day("DOGEUSDT", bid=None), "", "no quote"),
        (day("DOGEUSDT", bid="11", ask="10"), "", "no quote"),
        (day("DOGEUSDT", bid="9", ask="10"), "", "spread over 0.002"),
    ],
)
def test_what_is_excluded_says_why(ticker: Ticker, closed: str, why: str) -> None:
    """One rule each; a symbol that keeps all of them may be chosen."""
    (row,) = rank([ticker], {ticker.symbol: listed(ticker.symbol, closed)}, {}, RULES)
    assert row.excluded == why
    assert choose([row], 5) == (() if why else (ticker.symbol,))


def test_the_choice_goes_by_turnover_and_leaves_out_what_is_young_or_unknown() -> None:
    """Greatest turnover first, equal ones by symbol; another quote currency is not even ranked."""
    tickers = [
        day("AAAUSDT", 2_000_000),
        day("NEWUSDT", 8_000_000),
        day("BBBUSDT", 5_000_000),
        day("CCCUSDT", 5_000_000),
    ]
    tickers += [day("ODDUSDT", 7_000_000), day("ETHBTC", 9_000_000), day("ADAEUR", 9_000_000)]
    listings = {t.symbol: listed(t.symbol) for t in tickers if t.symbol not in {"ODDUSDT", "ETHBTC", "ADAEUR"}}
    listings["ADAEUR"] = listed("ADAEUR", quote="EUR")

    ranking = rank(tickers, listings, {"NEWUSDT": False}, RULES)

    assert [row.symbol for row in ranking] == ["NEWUSDT", "ODDUSDT", "BBBUSDT", "CCCUSDT", "AAAUSDT"]
    assert ranking[0].excluded == "younger than 30 days"
    assert ranking[1].excluded == "no usable grid"
    assert choose(ranking, 2) == ("BBBUSDT", "CCCUSDT")
    assert ranking[2].as_row(3)["rank"] == 3


def test_data_of_a_topic_that_nobody_asked_for_count_for_nothing() -> None:
    """Data, echo and refusal of an unknown topic change nothing, and raise nothing."""
    topics = Subscriptions()
    topics.data("spot@unknown")
    assert topics.echoed(["spot@unknown"]) == []
    assert topics.refused(["spot@unknown"], "Blocked!") == []
    assert topics.refusals() == {}
