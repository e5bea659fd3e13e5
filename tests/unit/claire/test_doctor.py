"""`claire doctor`: each thing that can be wrong is named in plain words, with the command that mends it."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claire.backup.archive import Manifest, write_archive
from claire.cli import app
from claire.doctor import machine_room
from claire.doctor.examination import Examination, Patient
from claire.doctor.exchange_room import look_at_clock, look_at_exchange
from claire.doctor.finding import Finding, Level, exit_code
from claire.doctor.machine_room import look_at_backups, look_at_disks, look_at_ports, look_at_versions
from claire.doctor.screen import render_findings
from claire.doctor.settings_room import (
    in_force,
    known_names,
    look_at_settings,
    look_at_settings_in_force,
    read_env_file,
)
from claire.status import Answer
from services.cdb_writer.chain import ChainHead
from services.common.mexc.signing import spot_signature

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
NOBODY = frozenset[str]()
Answers = dict[str, tuple[int, Any]]


def levels(findings: Iterator[Finding]) -> list[tuple[Level, str]]:
    """Return level and words of each finding."""
    return [(finding.level, finding.words) for finding in findings]


# settings


def test_a_name_that_nobody_reads_is_told_with_the_nearest() -> None:
    """MAX_POSTION_PCT is a typing error; SIGNAL_COLOUR could be ours and is not; PATH is nobody's business."""
    environ = {
        "MAX_POSTION_PCT": "0.1",
        "SIGNAL_COLOUR": "red",
        "PATH": "/bin",
        "REDIS_PASSWORD_FILE": "",
        "FOO_BAR": "1",
    }

    found = list(look_at_settings(environ, None, NOBODY))

    assert [finding.level for finding in found] == [Level.warning, Level.warning]
    assert "perhaps MAX_POSITION_PCT is meant" in found[0].words
    assert found[0].mend == "unset MAX_POSTION_PCT; export MAX_POSITION_PCT=…"
    assert "nobody reads SIGNAL_COLOUR" in found[1].words


def test_every_wrong_setting_of_every_service_is_told_without_secrets(tmp_path: Path) -> None:
    """A share of 5, a word for a number, in the environment and in .env; a password is never part of it."""
    env_file = tmp_path / ".env"
    env_file.write_text(
        "# comment\nexport REDIS_PORT='nine' # here\nREDIS_PASSWORD=do-not-tell\nDATA_STALE_TIMEOUT_SEC=60\n"
    )

    found = list(look_at_settings({"MAX_POSITION_PCT": "5", "FEED_BAD_ROWS": "maybe"}, env_file, NOBODY))

    words = " ".join(finding.words for finding in found)
    assert {finding.level for finding in found} == {Level.problem}
    for part in ("MAX_POSITION_PCT=5", "perhaps 0.05", "FEED_BAD_ROWS=maybe", "REDIS_PORT=nine"):
        assert part in words
    assert "do-not-tell" not in words
    assert "unset MAX_POSITION_PCT  # or set what is meant" in {finding.mend for finding in found}
    env_file.write_bytes(b"\xff\xfe")
    assert any("cannot be read" in words for _, words in levels(look_at_settings({}, env_file, NOBODY)))


def test_right_settings_are_counted_and_files_of_secrets_are_read(tmp_path: Path) -> None:
    """A secret in a file is one of our settings; a file that is missing is named."""
    assert levels(look_at_settings({"MAX_POSITION_PCT": "0.05", "LOG_LEVEL": "INFO"}, None, NOBODY)) == [
        (Level.ok, "the environment: 2 of our settings are set, all of them make sense")
    ]
    ((_, words),) = levels(look_at_settings({"REDIS_PASSWORD_FILE": str(tmp_path / "none")}, None, NOBODY))
    assert "cannot be read" in words


def test_the_doctor_knows_every_name_of_the_example() -> None:
    """What .env.example documents is no typing error."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = set(read_env_file("\n".join(line.removeprefix("#") for line in text.splitlines())))

    found = look_at_settings(dict.fromkeys(documented, ""), None, frozenset(documented))

    assert len(documented & known_names()) > 80
    assert [finding.level for finding in found] == [Level.ok]


def running(**config: Any) -> dict[str, Answer]:
    """Return services that run with these settings."""
    infrastructure = {"TRADING_MODE": "paper", "REDIS_PASSWORD": "********"}
    return {
        "cdb_ws": Answer(
            {"config": {"FEED": "recorded", "FEED_FILES": "/long/path.csv", "SYMBOLS": ["BTCUSDT", "ETHUSDT"]}}, {}
        ),
        "cdb_risk": Answer({"config": config, "infrastructure": infrastructure}, {}),
        "cdb_writer": Answer(),
    }


def test_what_the_services_run_with_is_told() -> None:
    """Settings of claire up --set stand in no environment here; the services know them. Defaults are left out."""
    answers = running(MAX_POSITION_PCT=Decimal("0.05"), MAX_TOTAL_EXPOSURE_PCT=Decimal("0.30"))

    assert levels(look_at_settings_in_force(in_force(answers), {})) == [
        (Level.ok, "in force besides the defaults: MAX_POSITION_PCT=0.05; SYMBOLS=BTCUSDT,ETHUSDT")
    ]
    assert levels(look_at_settings_in_force({}, {"MAX_POSITION_PCT": "0.2"})) == []


def test_an_environment_that_says_otherwise_than_what_is_in_force_is_told() -> None:
    """Whoever reads their .env takes 0.2 for the limit, and it is 0.05. 0.300 is 0.3."""
    environ = {
        "MAX_POSITION_PCT": "0.2",
        "MAX_TOTAL_EXPOSURE_PCT": "0.300",
        "SYMBOLS": "BTC_USDT,ETHUSDT",
        "MAX_LOSS_STREAK": "9",
    }
    answers = running(MAX_POSITION_PCT=Decimal("0.05"), MAX_TOTAL_EXPOSURE_PCT=Decimal("0.3"))

    warned = [each for each in look_at_settings_in_force(in_force(answers), environ) if each.level is Level.warning]

    assert [each.words for each in warned] == ["the environment here says MAX_POSITION_PCT=0.2; in force is 0.05"]
    assert warned[0].mend == "unset MAX_POSITION_PCT  # or start the pipeline anew; claire up --set goes before it"


# machine


def test_versions_are_compared_with_the_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pinned, another version, not there at all, no list of pins, a Python that is newer than any tested."""
    pins = tmp_path / "requirements.txt"
    pins.write_text("redis==0.0.1  # old\nno-such-package==1\n# comment\n")
    (_, _), (level, words) = levels(look_at_versions(pins))
    assert level is Level.warning
    assert "redis " in words
    assert "no-such-package missing" in words
    assert levels(look_at_versions(ROOT / "requirements.txt"))[1][0] is Level.ok
    pins.write_text("")
    assert levels(look_at_versions(pins))[1][0] is Level.not_checked
    monkeypatch.setattr(machine_room, "NEWEST_TESTED", (3, 10))
    assert levels(look_at_versions(pins))[0][0] is Level.warning


def test_a_port_is_free_ours_or_taken(web: Callable[[Answers], str]) -> None:
    """Whoever answers /health as one of us is ours, Grafana and Prometheus too; anybody else is in the way."""
    port = int(web({"/health": (200, {"service": "cdb_risk"})}).rpartition(":")[2])
    grafana = int(web({"/api/health": (200, {"database": "ok"})}).rpartition(":")[2])
    prometheus = int(web({"/-/healthy": (200, "Prometheus Server is Healthy.")}).rpartition(":")[2])
    stranger = int(web({}).rpartition(":")[2])
    ports = {"cdb_risk": ("127.0.0.1", port), "grafana": ("127.0.0.1", grafana), "free": ("127.0.0.1", 1)}
    ports |= {"prometheus": ("127.0.0.1", prometheus), "cdb_core": ("127.0.0.1", stranger), "far": ("cdb_ws", 8000)}

    taken, fine = look_at_ports(ports)

    assert taken.level is Level.problem
    assert f"port {stranger} (cdb_core) is taken" in taken.words
    assert f"lsof -nP -iTCP:{stranger}" in taken.mend
    assert fine.words == f"ours: {port}, {grafana}, {prometheus}; free: 1"
    assert next(look_at_ports({"far": ("cdb_ws", 8000)})).level is Level.not_checked


def test_a_port_that_is_held_in_silence_may_be_ours() -> None:
    """A container that starts listens before it answers: that is not called another program."""

    def hang_up(held: socket.socket) -> None:
        with suppress(OSError):
            while True:
                held.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        threading.Thread(target=hang_up, args=(held,), daemon=True).start()
        (found,) = list(look_at_ports({"cdb_core": ("127.0.0.1", port)}))[:1]

    assert found.words == f"port {port} (cdb_core) is held and silent: by ours, which starts or is stuck, or by another"


def test_disks_are_judged_by_what_is_free(tmp_path: Path) -> None:
    """Under the limits: a warning, a problem; a folder that is not made yet counts where it will be; each disk once."""
    folders = {"data": tmp_path / "not" / "yet", "state": tmp_path}

    assert [level for level, _ in levels(look_at_disks(folders, Decimal(0), Decimal(0)))] == [Level.ok]
    assert [level for level, _ in levels(look_at_disks(folders, Decimal(1), Decimal(0)))] == [Level.warning]
    assert [level for level, _ in levels(look_at_disks(folders, Decimal(1), Decimal(1)))] == [Level.problem]


def test_backups_grow_old(tmp_path: Path) -> None:
    """None with something to lose, a fresh one, one of two days, one of nine."""
    now = datetime(2026, 11, 28, 6, tzinfo=UTC)

    def said(age: timedelta | None, *, recorded: bool | None = True) -> Finding:
        for path in tmp_path.iterdir():
            path.unlink()
        if age is not None:
            (tmp_path / f"claire-{now - age:%Y%m%dT%H%M%SZ}-9.backup").touch()
        return next(look_at_backups(tmp_path, now, "claire backup", anything_recorded=recorded))

    assert said(None).level is Level.warning
    assert said(None, recorded=None).level is Level.not_checked
    assert said(timedelta(hours=3)).level is Level.ok
    assert "is 30 hours old" in said(timedelta(hours=30)).words
    assert said(timedelta(hours=30)).level is Level.warning
    assert said(timedelta(days=9)).level is Level.problem
    assert "9 days old" in said(timedelta(days=9)).words
    assert said(timedelta(days=9)).mend == "claire backup"


def test_a_backup_of_another_history_is_no_backup_of_this_one(tmp_path: Path) -> None:
    """In a shared folder only what begins with our first event counts; what is not known is said."""
    now = datetime(2026, 11, 28, 6, tzinfo=UTC)

    def put(age_hours: int, origin: str) -> None:
        moment, journal = now - timedelta(hours=age_hours), tmp_path / "journal"
        journal.write_bytes(b"x")
        manifest = Manifest("", "", "", ChainHead(9), ChainHead(9), "", origin=origin)
        write_archive(tmp_path / f"claire-{moment:%Y%m%dT%H%M%SZ}-9.backup", manifest, journal)

    def said(origin: str) -> Finding:
        return next(look_at_backups(tmp_path, now, "claire backup", anything_recorded=True, origin=origin))

    put(1, "other")
    (tmp_path / f"claire-{now:%Y%m%dT%H%M%SZ}-9.backup").write_text("cut off")
    assert said("ours").level is Level.warning
    assert said("ours").words == f"there is no backup of this history in {tmp_path}; 2 others are"
    put(30, "ours")
    assert said("ours").level is Level.warning
    assert "the last of this history's in" in said("ours").words
    assert "is 30 hours old" in said("ours").words
    put(2, "ours")
    assert said("ours").level is Level.ok
    assert "whether it is of this history is not known" in said("").words


# clock and exchange


def test_clocks_that_cannot_be_right() -> None:
    """A clock that was never set, and a timer that runs backwards."""
    assert next(look_at_clock()).level is Level.ok
    assert "never set" in next(look_at_clock(wall=lambda: 86_400.0)).words
    times = iter((2.0, 1.0))
    assert "backwards" in next(look_at_clock(monotonic=lambda: next(times))).words


@pytest.fixture
def web() -> Iterator[Callable[[Answers], str]]:
    """Start local HTTP servers that answer as told."""
    servers: list[HTTPServer] = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, value = answers.get(self.path.partition("?")[0], (404, {}))
                if callable(value):
                    value = value(self)
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def now_ms(_: Any) -> dict[str, int]:
    """Answer with this machine's time."""
    return {"serverTime": round(datetime.now(UTC).timestamp() * 1_000)}


KEY, SECRET = "key-of-a-test", "do-not-tell"
ACCOUNT = {"canTrade": True, "canWithdraw": False}


def mexc(
    web: Callable[[Answers], str], account: Any = ACCOUNT, code: int = 200, time: Any = now_ms, **more: str
) -> Any:
    """Return what is said of an exchange that answers like this, and look that no secret is in it."""
    seen: list[BaseHTTPRequestHandler] = []

    def asked(request: BaseHTTPRequestHandler) -> Any:
        seen.append(request)
        return account

    url = web({"/api/v3/ping": (200, {}), "/api/v3/time": (200, time), "/api/v3/account": (code, asked)})
    found = list(look_at_exchange({"MEXC_REST_URL": url, "MEXC_API_KEY": KEY, "MEXC_API_SECRET": SECRET, **more}))
    for finding in found:
        assert SECRET not in finding.words + finding.mend
        assert KEY not in finding.words + finding.mend
    for request in seen:
        query, _, signature = request.path.partition("?")[2].rpartition("&signature=")
        assert signature == spot_signature(SECRET, query)
        assert request.headers["X-MEXC-APIKEY"] == KEY
    return [(finding.topic, finding.level, finding.words) for finding in found]


def test_a_key_that_may_only_trade_is_well(web: Callable[[Answers], str]) -> None:
    """MEXC answers, the clocks agree, the key trades and cannot withdraw."""
    found = mexc(web)

    assert [(topic, level) for topic, level, _ in found] == [
        ("MEXC", Level.ok),
        ("clock", Level.ok),
        ("MEXC", Level.ok),
    ]


@pytest.mark.parametrize(
    ("account", "code", "more", "level", "part"),
    [
        ({"canTrade": True, "canWithdraw": True}, 200, {}, Level.warning, "may withdraw"),
        ({"canTrade": False, "canWithdraw": False}, 200, {}, Level.warning, "may not trade"),
        ({"canTrade": False, "canWithdraw": False}, 200, {"TRADING_MODE": "live"}, Level.problem, "may not trade"),
        ({"code": 700002, "msg": f"Signature {SECRET}"}, 400, {}, Level.problem, "HTTP 400, code 700002"),
        ({"code": KEY}, 401, {}, Level.problem, "HTTP 401, code none"),
        ("<html>", 200, {}, Level.not_checked, "no answer (JSONDecodeError)"),
        ([], 200, {}, Level.not_checked, "no answer (ValueError)"),
        ({}, 503, {}, Level.not_checked, "no answer (HTTPError)"),
    ],
)  # fmt: skip
def test_what_a_key_may_not(
    *, web: Callable[[Answers], str], account: Any, code: int, more: dict[str, str], level: Level, part: str
) -> None:
    """It may withdraw, it may not trade, it is refused, or nobody knows."""
    _, found, words = mexc(web, account, code, **more)[-1]

    assert found is level
    assert part in words


@pytest.mark.parametrize(
    ("offset_ms", "level"), [(0, Level.ok), (-600, Level.warning), (5_000, Level.problem), (None, Level.not_checked)]
)
def test_the_difference_of_the_clocks(web: Callable[[Answers], str], offset_ms: int | None, level: Level) -> None:
    """A little is nothing; a quarter of a second warns; over a second signed requests are refused."""
    answer = {} if offset_ms is None else {"serverTime": now_ms(None)["serverTime"] + offset_ms}

    found = [entry for entry in mexc(web, time=answer) if entry[0] == "clock"]

    assert [entry[1] for entry in found] == [level]


def test_an_exchange_that_is_silent_matters_only_when_it_is_needed(web: Callable[[Answers], str]) -> None:
    """Paper from a file needs none; a live feed or live trading does. Without keys nothing is signed."""
    silent = {"MEXC_REST_URL": "http://127.0.0.1:1"}
    assert next(look_at_exchange(silent)).level is Level.not_checked
    assert next(look_at_exchange({**silent, "FEED": "mexc_spot"})).level is Level.problem
    assert next(look_at_exchange({**silent, "TRADING_MODE": "live"})).level is Level.problem
    url = web({"/api/v3/ping": (200, {}), "/api/v3/time": (200, now_ms)})
    assert [finding.level for finding in look_at_exchange({"MEXC_REST_URL": url})][-1] is Level.not_checked
    live = {"MEXC_REST_URL": url, "TRADING_MODE": "live"}
    assert [finding.level for finding in look_at_exchange(live)][-1] is Level.problem


# the whole


def test_the_exit_code_is_the_worst_of_it() -> None:
    """What was not checked counts for nothing."""
    of = {level: Finding("x", level, "words", "mend") for level in Level}
    assert exit_code([of[Level.ok], of[Level.not_checked]]) == 0
    assert exit_code([of[Level.ok], of[Level.warning]]) == 1
    assert exit_code([of[Level.warning], of[Level.problem]]) == 2
    console = Console(record=True, width=100)
    console.print(render_findings(list(of.values())))
    text = console.export_text()
    assert "1 ok, 1 warning, 1 problem, 1 not checked" in text
    assert text.count("    mend") == 3


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where nothing ever ran, and an exchange that cannot be reached."""
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_HOST", "REDIS_SOCKET", "POSTGRES_HOST", "BACKUP_DIR", "FEED", "TRADING_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEXC_REST_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("claire.doctor.examination.BESIDE", {})  # a stack may run on this machine
    return tmp_path


def test_where_nothing_runs_it_says_what_it_could_not_check(nowhere: Path) -> None:
    """Not a single problem, and every part that could not be looked at is named; also as JSON."""
    done = CliRunner().invoke(app, ["doctor", "--json", "--first-port", "1"])

    found = json.loads(done.stdout)["findings"]
    assert done.exit_code == 0, done.output
    unchecked = {finding["topic"] for finding in found if finding["level"] == "not checked"}
    assert unchecked == {"services", "Redis", "PostgreSQL", "backup", "MEXC"}
    assert "claire up" in CliRunner().invoke(app, ["doctor", "--first-port", "1"]).output


def test_a_folder_that_was_named_and_holds_nothing_is_a_problem(nowhere: Path) -> None:
    """A typing error is no good health; without a name it is what could not be checked."""
    named = list(Examination(Patient(nowhere / "typo", "", None, "", 1, {}, nowhere)).findings())
    unnamed = list(Examination(Patient(None, "", None, "", 1, {}, nowhere)).findings())

    assert [f.level for f in named if "holds no pipeline" in f.words] == [Level.problem]
    assert [f.level for f in unnamed if "holds no pipeline" in f.words] == [Level.not_checked]


def test_ports_follow_the_first_one(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notifier and page of a pipeline that begins at 9000 are looked for there, not where Docker has them."""
    seen: dict[str, tuple[str, int]] = {}
    monkeypatch.setattr("claire.doctor.examination.look_at_ports", lambda ports: seen.update(ports) or iter(()))

    list(Examination(Patient(None, "", None, "", 9000, {}, nowhere)).findings())

    assert (seen["cdb_ws"][1], seen["cdb_notifier"][1], seen["page"][1]) == (9000, 9005, 9006)


def test_commands_that_mend_are_never_broken() -> None:
    """Whoever copies one from a narrow terminal, or from a file, has all of it in one line."""
    command = "claire backup " + "--data-dir a/very/long/folder " * 5
    console = Console(record=True, width=60, file=io.StringIO())

    console.print(render_findings([Finding("x", Level.warning, "words", command.strip())]), crop=False)

    assert f"    {command.strip()}" in console.export_text().splitlines()


def test_a_room_that_breaks_does_not_close_the_others(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fault is named by its kind alone, and all the rest is still looked at."""
    (nowhere / ".env.example").write_text("#MY_OWN_NAME=1\n")
    (nowhere / "key").write_text("k\n")
    environ = {
        "MY_OWN_NAME": "1", "MEXC_REST_URL": "http://127.0.0.1:1", "MEXC_API_KEY_FILE": str(nowhere / "key"),
        "MEXC_API_SECRET_FILE": str(nowhere / "none"), "CDB_WS_PORT": "x", "DISK_WARN_FREE_PCT": "much",
    }  # fmt: skip
    examination = Examination(Patient(None, "", None, "", None, environ, nowhere))
    monkeypatch.setattr(examination, "_versions", lambda: (_ for _ in ()).throw(OSError("secret in the text")))

    found = list(examination.findings())

    assert any(f.topic == "versions" and f.words == "this could not be looked at (OSError)" for f in found)
    assert any("MEXC_API_SECRET_FILE" in finding.words for finding in found)
    assert not any("MY_OWN_NAME" in finding.words for finding in found)
    assert {"disk", "clock", "MEXC"} <= {finding.topic for finding in found}


def test_services_are_asked_how_they_are(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Well, not well with the reason, silent: and where its log is."""
    answers = {"cdb_ws": Answer({}, {}), "cdb_core": Answer({}, {"clock": "it stands"}), "cdb_risk": Answer()}
    monkeypatch.setattr("claire.doctor.examination.ask", lambda _: answers)
    environ = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1", "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}
    examination = Examination(Patient(None, "", None, "", None, environ, nowhere))

    found = list(examination.findings())

    said = {finding.words: finding for finding in found if finding.topic == "services"}
    assert said["cdb_ws is well"].level is Level.ok
    assert said["cdb_core is not well: clock: it stands"].level is Level.problem
    assert said["cdb_risk does not answer"].mend == "docker compose logs --tail 50 cdb_risk"
    assert any(f.topic == "ports" and f.level is Level.not_checked for f in found)
    for topic in ("Redis", "PostgreSQL"):  # they are named in the environment and do not answer
        assert [f.level for f in found if f.topic == topic] == [Level.problem]
