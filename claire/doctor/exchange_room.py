"""Looks at the exchange and at our clock: does MEXC answer, how far is our clock off, and what may the key do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import requests

from claire.doctor.finding import Finding, Level
from services.common.mexc.signing import spot_signature

__all__ = ["DEFAULT_URL", "look_at_clock", "look_at_exchange"]

DEFAULT_URL: Final = "https://api.mexc.com"
TIMEOUT_SEC: Final = 4.0
OFFSET_WARN_MS: Final = 250
OFFSET_PROBLEM_MS: Final = 1_000
SANE_SINCE: Final = 1_735_689_600
"""2025-01-01: a clock before it was never set."""

SYNC: Final = "timedatectl set-ntp true  # Linux; w32tm /resync on Windows"


def look_at_clock(
    wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[Finding]:
    """Say whether this machine's clocks can be right at all."""
    before, now, after = monotonic(), wall(), monotonic()
    if after < before:
        yield Finding(
            "clock", Level.problem, "the monotonic clock went backwards: this machine's timer is broken", "reboot"
        )
    elif now < SANE_SINCE:
        words = f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}: it was never set"
        yield Finding("clock", Level.problem, words, SYNC)
    else:
        yield Finding("clock", Level.ok, f"the clock says {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC")


def look_at_exchange(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say whether MEXC answers, how far our clock is off, and what the key may do. No order is ever sent.

    Args:
        environ: MEXC_REST_URL, MEXC_API_KEY, MEXC_API_SECRET, TRADING_MODE and FEED, files already read.
    """
    base = (environ.get("MEXC_REST_URL") or DEFAULT_URL).rstrip("/")
    needed = environ.get("TRADING_MODE", "paper") != "paper" or environ.get("FEED", "").startswith("mexc")
    with requests.Session() as session:
        try:
            _get(session, f"{base}/api/v3/ping")
        except requests.RequestException as error:
            yield _silent(base, error, needed=needed)
            return
        yield Finding("MEXC", Level.ok, f"{base} answers")
        yield from _offset(session, base)
        key, secret = environ.get("MEXC_API_KEY", ""), environ.get("MEXC_API_SECRET", "")
        if key and secret:
            yield from _permissions(session, base, key, secret, live=environ.get("TRADING_MODE") == "live")
        else:
            live = environ.get("TRADING_MODE") == "live"
            words = "permissions of the key: MEXC_API_KEY and MEXC_API_SECRET are not set"
            mend = "export MEXC_API_KEY_FILE=… MEXC_API_SECRET_FILE=…" if live else ""
            yield Finding("MEXC", Level.problem if live else Level.not_checked, words, mend)


def _get(session: requests.Session, url: str, **options: Any) -> requests.Response:
    answer = session.get(url, timeout=TIMEOUT_SEC, allow_redirects=False, **options)
    if answer.status_code >= 500:
        raise requests.HTTPError(f"{answer.status_code}")
    return answer


def _silent(base: str, error: requests.RequestException, *, needed: bool) -> Finding:
    # the text of such an error has the whole address in it, with signature and all: its kind is enough
    words = f"{base} does not answer ({type(error).__name__})"
    if not needed:
        return Finding("MEXC", Level.not_checked, f"{words}; nothing that is set needs it")
    return Finding("MEXC", Level.problem, words, f"curl -sv {base}/api/v3/ping  # proxy, firewall, MEXC_REST_URL?")


def _offset(session: requests.Session, base: str) -> Iterator[Finding]:
    began = time.time()
    try:
        theirs = int(_json(_get(session, f"{base}/api/v3/time"))["serverTime"])
    except (requests.RequestException, KeyError, TypeError, ValueError):
        yield Finding("clock", Level.not_checked, "difference to MEXC: its time cannot be read")
        return
    ended = time.time()
    offset = round((began + ended) / 2 * 1_000 - theirs)
    unsure = round((ended - began) * 500)
    words = f"ours is {abs(offset)} ms {'ahead of' if offset >= 0 else 'behind'} MEXC's (± {unsure} ms)"
    certain = abs(offset) - unsure
    if certain > OFFSET_PROBLEM_MS:
        yield Finding("clock", Level.problem, f"{words}: signed requests will be refused", SYNC)
    elif certain > OFFSET_WARN_MS:
        yield Finding("clock", Level.warning, words, SYNC)
    else:
        yield Finding("clock", Level.ok, words)


def _permissions(session: requests.Session, base: str, key: str, secret: str, *, live: bool) -> Iterator[Finding]:
    query = urlencode({"recvWindow": 5_000, "timestamp": round(time.time() * 1_000)})
    url = f"{base}/api/v3/account?{query}&signature={spot_signature(secret, query)}"
    try:
        answer = _get(session, url, headers={"X-MEXC-APIKEY": key})
        account = _json(answer)
    except (requests.RequestException, ValueError) as error:
        yield Finding("MEXC", Level.not_checked, f"permissions of the key: no answer ({type(error).__name__})")
        return
    if answer.status_code != 200 or "canTrade" not in account:
        code = account.get("code")
        words = f"MEXC refuses the key: HTTP {answer.status_code}, code {code if isinstance(code, int) else 'none'}"
        yield Finding(
            "MEXC", Level.problem, words, "make a new key at mexc.com, with this machine's address on its list"
        )
        return
    if account.get("canWithdraw"):
        yield Finding(
            "MEXC",
            Level.warning,
            "the key may withdraw money: whoever steals it empties the account",
            "make a key without withdrawal at mexc.com, bound to this machine's address, and delete this one",
        )
    if not account.get("canTrade"):
        level = Level.problem if live else Level.warning
        yield Finding("MEXC", level, "the key may not trade", "allow spot trading for it at mexc.com")
    elif not account.get("canWithdraw"):
        yield Finding("MEXC", Level.ok, "the key may trade and may not withdraw")


def _json(answer: requests.Response) -> dict[str, Any]:
    value = answer.json()
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
