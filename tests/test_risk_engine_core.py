"""The risk engine as a library, the way a user calls it: plain dicts in, a verdict out."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from services.cdb_risk.service import RiskManager
from services.common.events import LAYERS

pytestmark = [pytest.mark.unit, pytest.mark.risk]

Dict = dict[str, Any]


@pytest.fixture
def manager() -> RiskManager:
    """Return the library's entry point."""
    return RiskManager()


@pytest.fixture
def given(sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict) -> dict[str, Dict]:
    """Return the three arguments of a call that is approved, by name."""
    return {"signal": sample_signal_event, "state": sample_risk_state, "config": risk_config}


def layer(result: Dict, name: str) -> Dict:
    """Return one layer of a verdict."""
    found: Dict = next(verdict for verdict in result["layers"] if verdict["layer"] == name)
    return found


def test_a_clean_signal_is_approved_with_all_seven_layers(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """One coin is asked for; 10 % of 100 000 at 50 000 is 0.2, which is approved."""
    result = manager.validate_signal(sample_signal_event, sample_risk_state, risk_config)
    assert result["approved"] is True
    assert result["reason"] == "approved"
    assert result["position_size"] == 0.2
    assert result["sizing"] == {
        "method": "requested",
        "requested": 1.0,
        "approved": 0.2,
        "capped_by": "position_limits",
        "inputs": {},
    }
    assert [verdict["layer"] for verdict in result["layers"]] == list(LAYERS)
    assert json.loads(json.dumps(result)) == result, "plain values that JSON can write"


def test_a_daily_loss_over_the_limit_is_named(manager: RiskManager, sample_risk_state: Dict, risk_config: Dict) -> None:
    """As a user writes it: 6 000 lost of 100 000 with a limit of 5 %."""
    result = manager.validate_signal(
        {"type": "signal", "symbol": "BTCUSDT", "signal_type": "buy", "price": 50000.0},
        {**sample_risk_state, "daily_pnl": -6000.0},
        risk_config,
    )
    assert result["approved"] is False
    assert "daily_drawdown" in result["reason"]
    assert result["position_size"] == 0


@pytest.mark.parametrize(("daily_pnl", "approved"), [(-4999.99, True), (-5000.0, False), (-5000.01, False)])
def test_daily_loss_blocks_at_equality(
    manager: RiskManager, given: dict[str, Dict], daily_pnl: float, approved: bool
) -> None:
    """Exactly 5 % of the start-of-day equity blocks."""
    given["state"]["daily_pnl"] = daily_pnl
    result = manager.validate_signal(**given)
    assert result["approved"] is approved


@pytest.mark.parametrize(
    ("state", "config", "approved"),
    [
        ({"start_of_day_equity": 120000.0}, {}, True),  # 5 000 of 120 000 is 4.2 %
        ({"start_of_day_equity": 100000.0}, {"ACCOUNT_EQUITY": 1000000.0}, False),
        ({}, {"ACCOUNT_EQUITY": 120000.0}, True),
        ({"equity": 95000.0}, {"MAX_DAILY_DRAWDOWN_PCT": 0.06}, True),  # the full name comes before the alias
    ],
)
def test_daily_loss_is_measured_on_the_start_of_day_then_the_account_then_the_equity(
    manager: RiskManager, given: dict[str, Dict], state: Dict, config: Dict, approved: bool
) -> None:
    """5 000 lost, and what it is a share of."""
    given["state"].update(daily_pnl=-5000.0, **state)
    given["config"].update(config)
    result = manager.validate_signal(**given)
    assert result["approved"] is approved


def test_exposure_caps_and_blocks(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """25 % invested leaves 5 % = 0.1 coin; 30 % leaves nothing and is named."""
    result = manager.validate_signal(
        sample_signal_event, {**sample_risk_state, "total_exposure_pct": 0.25}, risk_config
    )
    assert result["position_size"] == 0.1
    assert result["sizing"]["capped_by"] == "total_exposure"
    result = manager.validate_signal(
        sample_signal_event, {**sample_risk_state, "total_exposure_pct": 0.30}, risk_config
    )
    assert (result["approved"], result["reason"]) == (False, "total_exposure")


def test_exposure_may_be_an_amount(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """`total_exposure` is USDT; at one or less it is read as the share that it surely is; the greater of two counts."""
    for state, size in (
        ({"total_exposure": 25000.0}, 0.1),
        ({"total_exposure": 0.25}, 0.1),
        ({"total_exposure": 25000.0, "total_exposure_pct": 0.28}, 0.04),
    ):
        given = {key: value for key, value in sample_risk_state.items() if key != "total_exposure_pct"} | state
        assert manager.validate_signal(sample_signal_event, given, risk_config)["position_size"] == size


def test_circuit_breaker_and_trading_states_block(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """A tripped breaker, a halt, a freeze and a loss of 10 % from the peak each block in their layer."""
    config = {**risk_config, "CIRCUIT_BREAKER_THRESHOLD_PCT": 0.10}
    for state, reason in (
        ({"circuit_breaker": True}, "circuit_breaker"),
        ({"circuit_breaker_active": True}, "circuit_breaker"),
        ({"trading_state": "HALTED"}, "circuit_breaker"),
        ({"trading_state": "FROZEN"}, "circuit_breaker"),
        ({"trading_state": "REDUCING"}, "daily_drawdown"),
        ({"peak_equity": 100000.0 / 0.9}, "approved"),
        ({"peak_equity": 112000.0}, "circuit_breaker"),
        ({"trading_state": "ACTIVE", "circuit_breaker": False}, "approved"),
    ):
        result = manager.validate_signal(sample_signal_event, {**sample_risk_state, **state}, config)
        assert result["reason"] == reason, state


def test_spread_and_slippage_block(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """Quotes may stand in the signal or in the state; without the limit the check is left out."""
    config = {**risk_config, "MAX_SPREAD_PCT": 0.005, "MAX_SLIPPAGE_PCT": 0.02}
    wide = {"bid": 49800.0, "ask": 50200.0}
    assert (
        manager.validate_signal({**sample_signal_event, **wide}, sample_risk_state, config)["reason"] == "spread_check"
    )
    assert manager.validate_signal(sample_signal_event, {**sample_risk_state, **wide}, config)["approved"] is False
    assert manager.validate_signal(sample_signal_event, {**sample_risk_state, **wide}, risk_config)["approved"] is True
    slipping = {**sample_risk_state, "expected_slippage_pct": 0.021}
    assert manager.validate_signal(sample_signal_event, slipping, config)["reason"] == "spread_check"
    crossed = {**sample_signal_event, "bid": 50001.0, "ask": 50000.0}
    assert manager.validate_signal(crossed, sample_risk_state, config)["reason"] == "data_quality"


def test_old_signals_and_data_block(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """Exactly 60 s is young enough; times may be ISO 8601 or epoch seconds; without `now` nothing is compared."""
    config = {**risk_config, "DATA_STALE_TIMEOUT_SEC": 60}
    state = {**sample_risk_state, "now": "2021-05-19T12:01:00Z"}
    for timestamp, reason in (
        ("2021-05-19T12:00:00Z", "approved"),
        ("2021-05-19T11:59:59.999999Z", "timeout_check"),
        (1621425600, "approved"),
        (1621425599.5, "timeout_check"),
        ("2021-05-19T12:01:05.000001Z", "timeout_check"),
    ):
        result = manager.validate_signal({**sample_signal_event, "timestamp": timestamp}, state, config)
        assert result["reason"] == reason, timestamp
    old_data = {**state, "market_timestamp": "2021-05-19T11:59:00Z"}
    assert manager.validate_signal(sample_signal_event, old_data, config)["reason"] == "timeout_check"
    old = {**sample_signal_event, "timestamp": "2021-05-19T11:00:00Z"}
    assert manager.validate_signal(old, sample_risk_state, config)["approved"] is True


def test_limits_on_number_and_rate(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """Open positions and entries of the last minute are compared when both sides are given."""
    config = {**risk_config, "MAX_CONCURRENT_POSITIONS": 3, "MAX_ENTRIES_PER_MINUTE": 6}
    for state, approved in (
        ({"open_positions": 2, "entries_last_minute": 5}, True),
        ({"open_positions": 3}, False),
        ({"entries_last_minute": 6}, False),
    ):
        result = manager.validate_signal(sample_signal_event, {**sample_risk_state, **state}, config)
        assert result["approved"] is approved, state


def test_no_pyramiding_no_shorts_and_a_notional_cap(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """What is held is not bought again; a short entry is refused; an order is cut to its largest notional."""
    held = {**sample_risk_state, "positions": {"BTCUSDT": {"quantity": 0.1}}}
    assert manager.validate_signal(sample_signal_event, held, risk_config)["reason"] == "position_limits"
    other = {**sample_risk_state, "positions": {"ETHUSDT": 1.0}}
    assert manager.validate_signal(sample_signal_event, other, risk_config)["approved"] is True
    short = {**sample_signal_event, "signal_type": "sell", "intent": "entry"}
    assert manager.validate_signal(short, sample_risk_state, risk_config)["reason"] == "position_limits"
    capped = {**risk_config, "MAX_ORDER_NOTIONAL_USDT": 1000.0}
    assert manager.validate_signal(sample_signal_event, sample_risk_state, capped)["position_size"] == 0.02


def test_a_position_limit_that_leaves_nothing(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """A limit of zero blocks; without any limit the request stands."""
    config = {**risk_config, "MAX_POSITION_PCT": 0.0}
    result = manager.validate_signal(sample_signal_event, sample_risk_state, config)
    assert result["reason"] == "position_limits"
    assert layer(result, "position_limits")["code"] == "POSITION_LIMIT"
    bare = {"ACCOUNT_EQUITY": 100000.0}
    assert manager.validate_signal(sample_signal_event, {}, bare)["position_size"] == 1.0


def test_sells_close_what_is_held(manager: RiskManager, sample_risk_state: Dict, risk_config: Dict) -> None:
    """Without an intent a sell is an exit: it bypasses the loss limits, and sells no more than is held."""
    sell = {"symbol": "BTCUSDT", "side": "SELL", "price": 50000.0}
    lossy = {**sample_risk_state, "daily_pnl": -9000.0, "position": 0.3}
    result = manager.validate_signal(sell, lossy, risk_config)
    assert (result["approved"], result["position_size"]) == (True, 0.3)
    assert layer(result, "daily_drawdown")["status"] == "bypass"
    assert layer(result, "daily_drawdown")["code"] == "DAILY_DRAWDOWN_LIMIT"
    assert manager.validate_signal({**sell, "size": 0.1}, lossy, risk_config)["position_size"] == 0.1
    assert manager.validate_signal({**sell, "size": 5.0}, lossy, risk_config)["position_size"] == 0.3
    assert manager.validate_signal({**sell, "size": 0.1}, sample_risk_state, risk_config)["position_size"] == 0.1
    assert manager.validate_signal(sell, sample_risk_state, risk_config)["approved"] is False
    assert manager.validate_signal(sell, {**sample_risk_state, "position": 0.0}, risk_config)["approved"] is False
    cover = {**sell, "side": "buy", "intent": "exit"}
    assert manager.validate_signal(cover, lossy, risk_config)["approved"] is False
    halted = {**lossy, "trading_state": "HALTED"}
    assert manager.validate_signal(sell, halted, risk_config)["reason"] == "circuit_breaker"
    tripped = {**lossy, "circuit_breaker": True, "peak_equity": 900000.0}
    config = {**risk_config, "CIRCUIT_BREAKER_THRESHOLD_PCT": 0.1}
    assert manager.validate_signal(sell, tripped, config)["approved"] is True


def test_a_bad_value_blocks_an_exit_too(manager: RiskManager, risk_config: Dict) -> None:
    """What is bypassed for its number is not bypassed for garbage."""
    sell = {"symbol": "BTCUSDT", "side": "sell", "price": 50000.0}
    state = {"position": 0.3, "daily_pnl": float("nan")}
    assert manager.validate_signal(sell, state, risk_config)["reason"] == "daily_drawdown"


def test_absent_keys_are_not_evaluated(manager: RiskManager, sample_signal_event: Dict) -> None:
    """With only a signal and an equity, the layers without numbers say so."""
    result = manager.validate_signal(sample_signal_event, {"equity": 100000.0}, {})
    statuses = {verdict["layer"]: verdict["status"] for verdict in result["layers"]}
    assert statuses == {
        "data_quality": "pass",
        "position_limits": "pass",
        "daily_drawdown": "not_evaluated",
        "total_exposure": "not_evaluated",
        "circuit_breaker": "not_evaluated",
        "spread_check": "not_evaluated",
        "timeout_check": "not_evaluated",
    }


@pytest.mark.parametrize("key", ["symbol", "price", "signal_type"])
def test_a_signal_without_its_essentials_is_refused(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict, key: str
) -> None:
    """Nothing is approved without a symbol, a price and a side."""
    signal = {name: value for name, value in sample_signal_event.items() if name not in {key, "side"}}
    if key != "signal_type":
        signal["side"] = "buy"
    result = manager.validate_signal(signal, sample_risk_state, risk_config)
    assert result["approved"] is False
    assert "data_quality" in result["reason"]


def test_without_equity_there_is_no_size(manager: RiskManager, sample_signal_event: Dict) -> None:
    """An unknown equity makes the size unknown: refused."""
    result = manager.validate_signal(sample_signal_event, {}, {})
    assert result["reason"] == "position_limits"
    assert layer(result, "position_limits")["code"] == "SIZING_INPUT_UNKNOWN"


def test_exposure_without_equity_fails(manager: RiskManager, sample_signal_event: Dict, risk_config: Dict) -> None:
    """An exposure in USDT is nothing without an equity to compare it with."""
    config = {key: value for key, value in risk_config.items() if key != "ACCOUNT_EQUITY"}
    result = manager.validate_signal(sample_signal_event, {"total_exposure": 0.5}, config)
    assert layer(result, "total_exposure")["code"] == "EXPOSURE_UNKNOWN"


BAD = [float("nan"), float("inf"), float("-inf"), -1.0, "5", True, [1], 1e300, 10**400]


@pytest.mark.parametrize("bad", BAD, ids=lambda value: f"{value!r:.12}")
@pytest.mark.parametrize(
    ("where", "key", "reason"),
    [
        ("signal", "price", "data_quality"),
        ("signal", "size", "position_limits"),
        ("signal", "bid", "spread_check"),
        ("state", "equity", "data_quality"),
        ("state", "peak_equity", "circuit_breaker"),
        ("state", "total_exposure", "total_exposure"),
        ("state", "total_exposure_pct", "total_exposure"),
        ("state", "position", "position_limits"),
        ("state", "open_positions", "position_limits"),
        ("state", "last_price", "data_quality"),
        ("config", "ACCOUNT_EQUITY", "data_quality"),
        ("config", "MAX_POSITION_PCT", "position_limits"),
        ("config", "MAX_DRAWDOWN_PCT", "daily_drawdown"),
        ("config", "MAX_EXPOSURE_PCT", "total_exposure"),
        ("config", "CIRCUIT_BREAKER_THRESHOLD_PCT", "circuit_breaker"),
        ("config", "STOP_LOSS_PCT", "position_limits"),
        ("config", "RISK_PER_TRADE_PCT", "position_limits"),
        ("config", "PRICE_COLLAR_PCT", "data_quality"),
        ("config", "MAX_SPREAD_PCT", "spread_check"),
        ("config", "DATA_STALE_TIMEOUT_SEC", "timeout_check"),
        ("config", "MAX_ORDER_NOTIONAL_USDT", "position_limits"),
    ],
)
def test_a_present_bad_value_fails_its_layer(
    given: dict[str, Dict], where: str, key: str, bad: Any, reason: str
) -> None:
    """NaN, Infinity, negative, a wrong type or an absurd number in any key is refused in that key's layer."""
    given[where][key] = bad
    result = RiskManager().validate_signal(**given)
    assert result["approved"] is False
    assert reason in result["reason"]
    assert layer(result, reason)["status"] == "fail"


@pytest.mark.parametrize(
    ("where", "key", "bad", "reason"),
    [
        ("signal", "symbol", "b", "data_quality"),
        ("signal", "symbol", 7, "data_quality"),
        ("signal", "type", "order", "data_quality"),
        ("signal", "signal_type", "hold", "data_quality"),
        ("signal", "signal_type", 1, "data_quality"),
        ("signal", "intent", "perhaps", "data_quality"),
        ("signal", "timestamp", "yesterday", "timeout_check"),
        ("signal", "timestamp", float("nan"), "timeout_check"),
        ("state", "daily_pnl", float("nan"), "daily_drawdown"),
        ("state", "trading_state", "SLEEPING", "circuit_breaker"),
        ("state", "circuit_breaker", "no", "circuit_breaker"),
        ("state", "positions", [1], "position_limits"),
        ("state", "positions", {"BTCUSDT": {}}, "position_limits"),
        ("state", "positions", {"BTCUSDT": float("nan")}, "position_limits"),
        ("config", "SYMBOLS", 7, "data_quality"),
        ("config", "SYMBOLS", [7], "data_quality"),
        ("config", "SYMBOLS", "ETHUSDT", "data_quality"),
        ("config", "STOP_LOSS_PCT", 0.0, "position_limits"),
        ("config", "STOP_LOSS_PCT", 1.0, "position_limits"),
    ],
)
def test_words_that_are_none_of_the_known_fail(
    given: dict[str, Dict], where: str, key: str, bad: Any, reason: str
) -> None:
    """Unknown words, wrong shapes and impossible stops are refused, never guessed."""
    given[where][key] = bad
    result = RiskManager().validate_signal(**given)
    assert result["approved"] is False
    assert reason in result["reason"]


@pytest.mark.parametrize("garbage", [None, [], "signal", 7, float("nan")])
def test_what_is_no_dict_is_refused(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict, garbage: Any
) -> None:
    """Garbage in any place is a verdict, never an exception."""
    for arguments in (
        (garbage, sample_risk_state, risk_config),
        (sample_signal_event, garbage, risk_config),
        (sample_signal_event, sample_risk_state, garbage),
    ):
        result = manager.validate_signal(*arguments)
        assert result["approved"] is False
        assert result["reason"] == "data_quality"
        assert len(result["layers"]) == 7


def test_prices_are_compared_with_the_last_one(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """With a collar of 5 %, 50 000 after 47 000 is too far, after 48 000 it is not."""
    config = {**risk_config, "PRICE_COLLAR_PCT": 0.05}
    for last, approved in ((47000.0, False), (48000.0, True)):
        result = manager.validate_signal(sample_signal_event, {**sample_risk_state, "last_price": last}, config)
        assert result["approved"] is approved


def test_unknown_instruments_are_sized_without_a_grid(
    manager: RiskManager, sample_signal_event: Dict, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """A symbol that the product does not know may still be asked about; its size is not rounded to a lot."""
    signal = {**sample_signal_event, "symbol": "foo_usdt", "price": 3.0, "size": 0.12345678}
    assert manager.validate_signal(signal, sample_risk_state, risk_config)["position_size"] == 0.12345678
    allowed = {**risk_config, "SYMBOLS": ["FOO_USDT"]}
    assert manager.validate_signal(signal, sample_risk_state, allowed)["approved"] is True


def test_a_size_is_found_when_none_is_asked_for(
    manager: RiskManager, sample_risk_state: Dict, risk_config: Dict
) -> None:
    """Fixed fractional: 100 000 * 0.0015 / 0.02 = 7 500 USDT is 0.15 coin; at 1 % risk the position limit caps it."""
    signal = {"symbol": "BTCUSDT", "signal_type": "buy", "price": 50000}
    assert manager.validate_signal(signal, sample_risk_state, risk_config)["position_size"] == 0.15
    no_stop = {key: value for key, value in risk_config.items() if key != "STOP_LOSS_PCT"}
    assert manager.validate_signal(signal, sample_risk_state, no_stop)["position_size"] == 0.15
    config = {**risk_config, "RISK_PER_TRADE_PCT": 0.01}
    assert manager.validate_signal(signal, sample_risk_state, config)["position_size"] == 0.2
    impossible = {**risk_config, "STOP_LOSS_PCT": 0.0}
    result = manager.validate_signal(signal, sample_risk_state, impossible)
    assert layer(result, "position_limits")["code"] == "BAD_VALUE"
    assert result["sizing"]["requested"] == 0
    tiny = {**risk_config, "RISK_PER_TRADE_PCT": 0.0000001}
    result = manager.validate_signal(signal, sample_risk_state, tiny)
    assert layer(result, "position_limits")["code"] == "BELOW_MINIMUM"


def test_importing_the_library_needs_no_server_packages() -> None:
    """`import services.cdb_risk.service` works without redis, flask and psycopg2, and computes in the fixed context."""
    code = (
        "import sys\n"
        "for name in ('redis', 'flask', 'psycopg2', 'prometheus_client', 'waitress'):\n"
        "    sys.modules[name] = None\n"
        "import decimal; decimal.getcontext().prec = 3\n"
        "from services.cdb_risk.service import RiskManager\n"
        "signal = {'symbol': 'BTCUSDT', 'side': 'buy', 'price': 50123.45}\n"
        "r = RiskManager().validate_signal(signal, {'equity': 100000.0}, {})\n"
        "assert r['approved'] and r['position_size'] == 0.149630, r\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_process_runs_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main()` hands the risk machine to the service runtime and returns its exit code."""
    import runpy

    from services.cdb_risk.machine import RiskMachine
    from services.common.runtime import shell

    given: list[type] = []
    monkeypatch.setattr(shell, "run_machine", lambda machine, **_: given.append(machine) or 0)
    monkeypatch.delitem(sys.modules, "services.cdb_risk.service")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("services.cdb_risk.service", run_name="__main__")
    assert ended.value.code == 0
    assert given == [RiskMachine]


def test_the_fixtures_keep_their_promises(mock_redis: Any, mock_postgres: Any, signal_config: Dict) -> None:
    """The fixtures that users know answer as documented."""
    assert mock_redis.ping() is True
    assert mock_redis.publish("signals", "{}") == 1
    with mock_postgres.cursor() as cursor:
        assert cursor.fetchone() is None
    assert signal_config["SIGNAL_LOOKBACK_MIN"] == 60
