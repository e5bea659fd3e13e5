"""Live feeds on the sandbox exchange, every fault of market data: what is reported, what heals, what is marked.

The exchange's own trades are the truth: what the feed has counted is compared with them, to the last digit.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_sandbox.faults import FaultKind
from services.common.instruments import Venue
from tests.unit.ws.sandbox_rig import SandboxRig

pytestmark = pytest.mark.unit

VENUES: tuple[Venue, ...] = ("mexc_spot", "mexc_perpetual")
BOTH = ("mexc_spot", pytest.param("mexc_perpetual", marks=pytest.mark.slow))
"""Where the way is the same and the messages of perpetuals, which are many, only cost time."""
DEALS = {"mexc_spot": "spot@public.aggre.deals*", "mexc_perpetual": "push.deal"}
ALL_PUSHES = {"mexc_spot": "spot@public*", "mexc_perpetual": "push.*"}
STREAM_KINDS = [FaultKind(name) for name in ("duplicate", "out_of_order", "drop", "disconnect", "silent", "blocked")]
SUBSCRIBED = {"mexc_spot": "spot@public.aggre.deals*", "mexc_perpetual": "sub.deal"}


def counted(rig: SandboxRig, symbol: str = "BTCUSDT") -> Decimal:
    """Return the volume that the feed has shown."""
    return sum((one.volume for one in rig.observations if one.symbol == symbol), Decimal(0))


def traded(rig: SandboxRig, symbol: str = "BTCUSDT") -> Decimal:
    """Return the volume that was traded."""
    return sum((quantity for _, quantity in rig.truth[symbol]), Decimal(0))


@pytest.mark.parametrize("venue", VENUES)
def test_without_a_fault_every_trade_is_counted_and_nothing_is_marked(venue: Venue) -> None:
    """Two minutes of both markets: the sum is the exchange's, each whole minute equals its bar, nobody complains."""
    rig = SandboxRig(venue=venue).begin().play(120, every_ms=700).play(15)

    assert counted(rig) == traded(rig) > 0
    assert not any(one.gap for one in rig.observations)
    assert rig.feed.status(rig.now_us)["instruments"]["BTCUSDT"]["minutes_compared"] == {"begun": 1, "equal": 1}
    assert (rig.codes, rig.feed.problems(rig.now_us)) == ([], {})


@pytest.mark.parametrize("venue", BOTH)
@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT, FaultKind.DUPLICATE, FaultKind.OUT_OF_ORDER, FaultKind.DROP])
def test_a_stream_that_misbehaves_costs_no_trade_and_doubles_none(venue: Venue, kind: FaultKind) -> None:
    """Each tenth message or so is cut, doubled, late or lost; in the end the sum is the exchange's."""
    rig = SandboxRig(venue=venue, seed=7).begin()
    rig.fault(kind, ALL_PUSHES[venue], probability=0.02 if kind is FaultKind.DISCONNECT else 0.1, count=40)
    rig.play(100, every_ms=700)
    rig.house.faults.clear()
    rig.play(140)

    assert len(rig.house.faults.injected) > 5
    assert counted(rig) == traded(rig)
    assert "FEED_GAP_UNHEALED" not in rig.codes
    if kind is FaultKind.DUPLICATE:
        assert not any(one.gap for one in rig.observations)
    assert not rig.feed.problems(rig.now_us)


@pytest.mark.parametrize("venue", VENUES)
def test_a_trade_lost_in_a_living_stream_is_given_away_by_the_minutes_bar(venue: Venue) -> None:
    """No cut, no silence: one message of trades never comes. The next bar differs; the trade is counted, with a gap."""
    rig = SandboxRig(venue=venue).begin().play(60 - 2)
    rig.fault(FaultKind.DROP, DEALS[venue])
    rig.trade("BTCUSDT", "5")
    rig.play(40, every_ms=900)
    missing = traded(rig) - counted(rig)
    assert missing > 0
    assert not any(one.gap for one in rig.observations)
    rig.play(60)

    assert counted(rig) == traded(rig)
    assert "FEED_TRADES_MISSED" in rig.codes
    (found,) = [one for one in rig.observations if one.gap]
    assert found.volume == missing
    assert rig.feed.instruments["BTCUSDT"].missed == 1


@pytest.mark.parametrize("venue", VENUES)
def test_an_acknowledged_subscription_that_stays_silent_is_found_out(venue: Venue) -> None:
    """Quotes come, trades do not: seen over REST, told, connected anew, and the trades come back."""
    rig = SandboxRig(venue=venue)
    rig.fault(FaultKind.SILENT, SUBSCRIBED[venue])
    rig.begin().play(60, every_ms=900).play(20)

    assert "FEED_SILENT" in rig.codes
    assert counted(rig) == traded(rig)
    assert rig.feed.reconnects == 1
    assert not rig.feed.problems(rig.now_us)


@pytest.mark.parametrize(
    ("venue", "topics", "part"),
    [
        ("mexc_spot", ["*bookTicker*", "*limit.depth*"], "quotes"),
        ("mexc_perpetual", ["sub.depth.full"], "quotes"),
        ("mexc_perpetual", ["sub.ticker", "sub.fair.price"], "mark prices"),
    ],
)
def test_a_part_that_stays_silent_while_others_come_is_found_out(venue: Venue, topics: list[str], part: str) -> None:
    """A quote or a mark of the past beside trades of now would price exits: it is told, and connected anew."""
    rig = SandboxRig(venue=venue)
    for topic in topics:
        rig.fault(FaultKind.SILENT, topic)
    rig.begin().play(45, every_ms=900).play(15, every_ms=900)

    (told,) = [news.message for news in rig.news if news.code == "FEED_SILENT"]
    assert told == f"BTCUSDT: no {part} for 30 s while others come"
    assert rig.feed.reconnects == 1
    assert not rig.feed.problems(rig.now_us)
    assert rig.observations[-1].bid is not None
    if venue == "mexc_perpetual":
        assert rig.observations[-1].mark_price is not None
    assert counted(rig) == traded(rig)


@pytest.mark.parametrize("venue", BOTH)
def test_a_blocked_subscription_is_told_unhealthy_and_asked_for_again(venue: Venue) -> None:
    """The refusal comes with code 0; half a minute later the exchange takes it, and the trades of between come back."""
    rig = SandboxRig(venue=venue)
    rig.fault(FaultKind.BLOCKED, SUBSCRIBED[venue])
    rig.begin()
    assert "SUBSCRIPTION_REFUSED" in rig.codes
    assert any("Blocked!" in problem for problem in rig.feed.problems(rig.now_us).values())
    rig.play(20, every_ms=900)
    assert any("Blocked!" in problem for problem in rig.feed.problems(rig.now_us).values())
    rig.play(20).play(20, every_ms=900).play(100)

    assert not rig.feed.problems(rig.now_us)
    assert rig.codes.count("SUBSCRIPTION_REFUSED") == 1


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": FaultKind.SERVER_ERROR_BEFORE}, "HTTP 502 with a page ('502 Server Error')"),
        ({"kind": FaultKind.RATE_LIMIT}, "Requests|HTTP 429"),
        ({"kind": FaultKind.TIMEOUT_BEFORE}, "no answer"),
        ({"kind": FaultKind.REJECT, "code": 500, "message": "Internal error"}, "Internal error"),
    ],
)
def test_a_rest_that_fails_is_named_and_asked_again(venue: Venue, fault: dict[str, Any], words: str) -> None:
    """The first three answers of every kind are bad: told with address and cause, then everything is watched."""
    rig = SandboxRig(venue=venue)
    rig.fault(where="GET *", count=6, **fault)
    rig.begin()
    troubles = " ".join(rig.feed.problems(rig.now_us).values())
    rig.play(70).play(10, every_ms=900).play(5)

    assert any(word in troubles or word in str(rig.news) for word in words.split("|"))
    assert "https://api.mexc.com/api/" in str(rig.news)
    assert "EXCHANGE_UNREACHABLE" in rig.codes
    assert not rig.feed.problems(rig.now_us)
    assert counted(rig) == traded(rig) > 0


def test_slow_answers_and_a_skewed_clock_change_no_sum() -> None:
    """Answers come four seconds late, the exchange's clock is 90 s ahead: it is measured, and nothing is lost."""
    rig = SandboxRig(skew_ms=90_000)
    rig.fault(FaultKind.SLOW, "GET *", count=None, delay_ms=4_000)
    rig.begin().play(15).play(20, every_ms=700)
    rig.fault(FaultKind.DISCONNECT, "spot@public*")
    rig.play(100, every_ms=700).play(120)

    assert 87_000 <= (rig.feed.offset_ms or 0) <= 92_100
    assert counted(rig) == traded(rig)
    assert any(one.gap for one in rig.observations)
    assert not rig.feed.problems(rig.now_us)


@pytest.mark.parametrize("venue", BOTH)
def test_a_killed_feed_marks_what_it_missed_and_counts_nothing_twice(venue: Venue) -> None:
    """Memory gone in the middle: the next process begins with a gap; both together never have more than was traded."""
    rig = SandboxRig(venue=venue).begin().play(20, every_ms=900)
    rig.kill_feed()
    rig.play(3, every_ms=900)
    rig.start_feed()
    before = len(rig.observations)
    rig.play(100, every_ms=900).play(60)

    assert rig.observations[before].gap
    assert not any(one.gap for one in rig.observations[before + 1 :])
    whole = traded(rig)
    assert whole * Decimal("0.95") < counted(rig) < whole
    assert rig.feed.instruments["BTCUSDT"].compared.keys() <= {"begun", "unknown", "equal"}


@pytest.mark.parametrize("venue", BOTH)
def test_an_exchange_that_goes_away_and_comes_back_is_healed(venue: Venue) -> None:
    """Connections cut, new ones refused for eight seconds while trading goes on: all trades come back, marked."""
    rig = SandboxRig(venue=venue).begin().play(20, every_ms=900)
    rig.leave_exchange()
    rig.play(8, every_ms=900)
    assert rig.feed.problems(rig.now_us)
    rig.reachable = True
    rig.play(50, every_ms=900).play(60)

    assert counted(rig) == traded(rig)
    assert any(one.gap for one in rig.observations)
    assert not rig.observations[-1].gap
    assert not rig.feed.problems(rig.now_us)


def a_bad_day(venue: Venue, seed: int) -> SandboxRig:
    """Return what came of three minutes in which everything goes wrong that can, and two quiet ones after them."""
    rig = SandboxRig(("BTCUSDT", "ETHUSDT"), venue, seed).begin()
    draw = random.Random(seed)
    for _ in range(draw.randint(3, 8)):
        kind = draw.choice([*list(FaultKind)[:7], FaultKind.SERVER_ERROR_AFTER, *STREAM_KINDS])
        if kind in {FaultKind.SILENT, FaultKind.BLOCKED}:
            rig.fault(kind, draw.choice(["*", SUBSCRIBED[venue]]), skip=draw.randint(0, 2))
        elif kind in STREAM_KINDS:
            where = draw.choice([DEALS[venue], ALL_PUSHES[venue]])
            rig.fault(kind, where, probability=draw.uniform(0.01, 0.1), count=draw.randint(1, 12))
        else:
            rig.fault(kind, "GET *", probability=0.3, count=draw.randint(1, 6), delay_ms=draw.randint(200, 4_000))
        rig.play(draw.randint(5, 40), every_ms=draw.choice([300, 700, 1_900]))
        if draw.random() < 0.2:
            rig.leave_exchange()
            rig.play(draw.randint(1, 6), every_ms=700)
            rig.reachable = True
    rig.house.faults.clear()
    return rig.play(200)


def check_a_bad_day(rig: SandboxRig) -> None:
    """Check the sums: nothing double, nothing lost unless that was told, nothing wrong any more.

    Perpetual trades cannot be asked for by time: only the newest 100 can be brought back.
    """
    for symbol in rig.symbols:
        told = {news.code for news in rig.news if symbol in news.message} & {"FEED_GAP_UNHEALED", "FEED_VOLUME_DIFFERS"}
        if told or rig.feed.instruments[symbol].compared["unknown"]:
            assert counted(rig, symbol) <= traded(rig, symbol)
        else:
            assert counted(rig, symbol) == traded(rig, symbol)
        if rig.feed.instruments[symbol].healed or rig.feed.instruments[symbol].missed:
            assert any(one.gap for one in rig.observations if one.symbol == symbol)
    assert rig.feed.problems(rig.now_us) == {}


@pytest.mark.parametrize("venue", BOTH)
def test_a_bad_day_ends_with_the_exchanges_sums(venue: Venue) -> None:
    """One history of many faults for each market; many more run in `make test-local`."""
    check_a_bad_day(a_bad_day(venue, 1))


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("block", range(3))
def test_bad_days_end_with_the_exchanges_sums(venue: Venue, block: int) -> None:
    """Histories by seed, none of which double or lose a trade without a word."""
    for seed in range(block * 4, block * 4 + 4):
        rig = a_bad_day(venue, seed + 100)
        try:
            check_a_bad_day(rig)
        except AssertionError as error:
            raise AssertionError(f"seed {seed + 100} of {venue}: {error}") from error
