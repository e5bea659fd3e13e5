"""Scenario files: what they mean, and that every mistake is told by its line with the fix."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path

import pytest

from claire.paper.scenarios import SCENARIOS
from claire.paper.spec import Period
from claire.profiles import PROFILES, Profile
from claire.scenarios.plan import MOST, Plan, read_plan
from claire.scenarios.stress import Crash, Gap
from services.common.errors import SettingsInvalid
from services.common.timestamps import parse_timestamp

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).parents[3] / "backoffice" / "scenarios" / "example.yaml"
BASE = "base: {inputs: crash-2021-05-19}\n"


def plan_of(folder: Path, text: str, *, most: int | None = MOST) -> Plan:
    """Return what a file of this text means."""
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path, most=most)


def mistakes_of(folder: Path, text: str) -> list[str]:
    """Return the mistakes of a file, without its name."""
    with pytest.raises(SettingsInvalid) as caught:
        plan_of(folder, text)
    lines = str(caught.value).splitlines()
    return [line.removeprefix(f"{folder / 'plan.yaml'}:") for line in lines]


def test_the_matrix_is_every_period_profile_set_point_and_stress(tmp_path: Path) -> None:
    """Two of each are 2 * 2 * 2 * 4 * 2 scenarios, each named after what differs, in the order of the file."""
    plan = plan_of(
        tmp_path,
        BASE
        + "seed: 3\n"
        + "periods: [{name: one, from: 2021-05-18, to: 2021-05-19}, {name: two, from: 2021-05-19}]\n"
        + "profiles: [conservative, aggressive]\n"
        + "sets: {plain: {}, tight: {MAX_SPREAD_PCT: 0.001}}\n"
        + "grid: {SIGNAL_VOL_MULT: [1.5, 2], TAKE_PROFIT_PCT: [0, 0.03]}\n"
        + "stress: {lossy: [gap: {at: 2021-05-19T12:00, minutes: 5}]}\n",
    )
    assert len(plan.scenarios) == 64
    assert [scenario.number for scenario in plan.scenarios] == list(range(1, 65))
    assert len({scenario.name for scenario in plan.scenarios}) == 64
    assert plan.scenarios[0].name == "one/conservative/plain/SIGNAL_VOL_MULT=1.5/TAKE_PROFIT_PCT=0/none"
    last = plan.scenarios[-1]
    assert last.name == "two/aggressive/tight/SIGNAL_VOL_MULT=2/TAKE_PROFIT_PCT=0.03/lossy"
    assert last.spec.period == Period(parse_timestamp("2021-05-19T00:00:00Z"))
    settings = last.spec.settings
    assert (settings["MAX_SPREAD_PCT"], settings["SIGNAL_VOL_MULT"], settings["STOP_LOSS_PCT"]) == (
        "0.001",
        "2",
        "0.03",
    )
    assert settings["RECORDED_SYMBOL_MAP"] == "XBTUSD=BTCUSDT"
    (gap,) = last.stresses
    assert isinstance(gap, Gap)
    assert gap.seed == 3
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_more_special_settings_go_before_more_general_ones(tmp_path: Path) -> None:
    """Base, profile, set, grid: the later wins; numbers keep their digits."""
    text = (
        "base: {inputs: crash-2021-05-19, settings: {STOP_LOSS_PCT: 0.011, MAX_SPREAD_PCT: 0.0010}}\n"
        "profiles: [balanced]\nsets: {mine: {MAX_POSITION_PCT: 0.07}}\ngrid: {MAX_TOTAL_EXPOSURE_PCT: [0.25]}\n"
    )
    (scenario,) = plan_of(tmp_path, text).scenarios
    settings = scenario.spec.settings
    assert scenario.name == "base"
    assert settings["STOP_LOSS_PCT"] == PROFILES[Profile.balanced]["STOP_LOSS_PCT"]
    assert settings["MAX_SPREAD_PCT"] == "0.0010"
    assert (settings["MAX_POSITION_PCT"], settings["MAX_TOTAL_EXPOSURE_PCT"]) == ("0.07", "0.25")


def test_scenarios_by_themselves_are_run_instead_of_the_matrix_or_beside_it(tmp_path: Path) -> None:
    """With `scenarios` there is no matrix unless it is asked for; their stresses come one after the other."""
    text = BASE + (
        "profiles: [balanced, aggressive]\n"
        "stress:\n  a: [crash: {at: +5, drop_pct: 0.1}]\n  b: [spread: {factor: 2}]\n"
        "scenarios: [{name: alone, profile: conservative, stress: [b, a], settings: {SYMBOLS: [BTCUSDT, ETHUSDT]}}]\n"
    )
    (alone,) = plan_of(tmp_path, text).scenarios
    assert alone.axes.as_json() == {
        "period": None, "profile": "conservative", "set": None, "grid": {}, "stress": "b+a"
    }  # fmt: skip
    assert [stress.name for stress in alone.stresses] == ["spread", "crash"]
    assert alone.spec.settings["SYMBOLS"] == "BTCUSDT,ETHUSDT"
    names = [scenario.name for scenario in plan_of(tmp_path, text + "matrix: true\n").scenarios]
    assert names == ["alone", *(f"{p}/{s}" for p in ("balanced", "aggressive") for s in ("none", "a", "b"))]
    without = plan_of(tmp_path, text + "matrix: true\nunstressed: false\n").scenarios
    assert [scenario.axes.stress for scenario in without[1:]] == ["a", "b"] * 2


def test_a_period_may_be_another_recording_with_its_own_warm_up(tmp_path: Path) -> None:
    """Files are found from the folder of the scenario file; bundled scenarios bring their settings and warm-up."""
    (tmp_path / "day.csv").write_text("ts_ms\n")
    text = (
        "base: {inputs: day.csv, symbol_map: {XBTUSD: ETHUSDT}, warmup_min: 7}\n"
        "periods:\n- {name: own}\n- {name: bundled, inputs: ticks-2024-08-08, symbol_map: {}, warmup_min: 0}\n"
    )
    own, bundled = plan_of(tmp_path, text).scenarios
    assert (own.spec.inputs, own.spec.warmup_min) == ((tmp_path / "day.csv",), 7)
    assert own.spec.settings["RECORDED_SYMBOL_MAP"] == "XBTUSD=ETHUSDT"
    assert (bundled.spec.inputs, bundled.spec.warmup_min) == (SCENARIOS["ticks-2024-08-08"].inputs, 0)
    assert bundled.spec.settings["SIGNAL_LOOKBACK_MIN"] == "1"
    (whole,) = plan_of(tmp_path, BASE).scenarios
    assert whole.spec.warmup_min == SCENARIOS["crash-2021-05-19"].warmup_min


def test_anchors_and_merges_spare_writing_things_twice(tmp_path: Path) -> None:
    """`<<` takes over what another mapping has, and what stands beside it wins."""
    text = BASE + (
        "sets:\n  a: &a {MAX_SPREAD_PCT: 0.001, STOP_LOSS_PCT: 0.01}\n  b: {<<: *a, STOP_LOSS_PCT: 0.02}\n  c: *a\n"
        "stress:\n  x: &x [crash: &c {drop_pct: 0.1}]\n  y: [crash: {<<: *c, minutes: 3}]\n"
    )
    plan = plan_of(tmp_path, text)
    of = {scenario.name: scenario for scenario in plan.scenarios}
    assert of["b/none"].spec.settings["MAX_SPREAD_PCT"] == "0.001"
    assert of["b/none"].spec.settings["STOP_LOSS_PCT"] == "0.02"
    (crash,) = of["a/y"].stresses
    assert isinstance(crash, Crash)
    assert (crash.drop_pct, crash.minutes) == (Decimal("0.1"), 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["1: names with values are meant at the top"]),
        ("- a\n", ["1: names with values are meant at the top"]),
        ("a: [\n", ["2: this is not YAML"]),
        ("base: !!python/object:os.system {}\n", ["1: "]),
        (BASE + "? [a]\n: b\n", ["2: a name is meant before the colon"]),
        (BASE + "title: a\ntitle: b\n", ["3: title stands in line 2 already"]),
        (BASE + "sets: &s {a: *s}\n", ["2: an alias that contains itself"]),
        (BASE + "period: []\n", ["2: there is no period here; perhaps periods"]),
        (BASE + "periods:\n- name: a\n  form: 2021-05-19\n", ["4: there is no form here; perhaps from"]),
        (BASE + "periods:\n- {from: 2021-05-19}\n", ["3: name is missing"]),
        (BASE + "periods:\n- name: a\n  from: noon\n", ["4: from: noon: a day or a time in UTC is meant"]),
        (
            BASE + "periods:\n- name: a\n  from: 2021-05-20\n  to: 2021-05-19\n",
            ["5: a ends before it begins; exchange from and to"],
        ),
        (BASE + "periods: [{name: a}, {name: a}]\n", ["2: a is named twice in periods"]),
        (BASE + "periods: [{name: a/b}]\n", ["2: name: a/b: a name of letters, digits"]),
        (BASE + "sets: {a b: {}}\n", ["2: a b: a name of letters, digits"]),
        (BASE + "sets:\n  a: 3\n", ["3: a: names with values are meant, as NAME: VALUE"]),
        (BASE + "seed: many\n", ["2: seed: "]),
        (BASE + "seed: abc\n", ["2: seed: a whole number is meant"]),
        (BASE + "title: [1]\n", ["2: title: a text is meant"]),
        (BASE + "matrix: perhaps\n", ["2: matrix: true or false is meant"]),
        (BASE + "profiles: [reckless]\n", ["2: reckless: conservative, balanced, aggressive are the profiles"]),
        (BASE + "periods: {name: a}\n", ["2: periods: a list is meant"]),
        (BASE + "periods: []\n", ["2: periods is empty, so there would be no scenario"]),
        (BASE + "grid: {}\n", ["2: grid is empty"]),
        (BASE + "grid: {MAX_SPREAD_PCT: []}\n", ["2: MAX_SPREAD_PCT has no value"]),
        (BASE + "matrix: false\n", ["2: matrix is false and there are no scenarios"]),
        (BASE + "profiles: [balanced, careful]\n", ["2: careful: conservative, balanced, aggressive are the profiles"]),
        (BASE + "profiles: [balanced, balanced]\n", ["2: balanced is named twice in profiles"]),
        (
            "base:\n  inputs: crash-2021-05-19\n  settings:\n    STOP_LOS_PCT: 0.01\n    MAX_POSITION_PCT: 5\n",
            [
                "4: STOP_LOS_PCT: there is no such setting; perhaps STOP_LOSS_PCT",
                "5: MAX_POSITION_PCT=5: a fraction between 0 and 1 is meant, perhaps 0.05",
            ],
        ),
        (
            BASE + "sets: {a: {FEED: external, RECORDED_WARMUP_MIN: 3, REDIS_HOST: x, TRADING_MODE: live}}\n",
            [
                "2: FEED: inputs says this, in base or in a period",
                "2: RECORDED_WARMUP_MIN: warmup_min says this",
                "2: REDIS_HOST: it is not for scenarios",
                "2: TRADING_MODE: it is not for scenarios",
            ],
        ),
        (BASE + "sets:\n  a:\n    MAX_SPREAD_PCT:\n", ["4: MAX_SPREAD_PCT: a value is meant"]),
        (BASE + "grid:\n  STOP_LOSS_PCT:\n  - 0.01\n  - two\n", ["5: STOP_LOSS_PCT=two: "]),
        (BASE + "grid: {STOP_LOSS_PCT: [0.01, 0.01]}\n", ["2: STOP_LOSS_PCT=0.01 stands twice in the grid"]),
        (
            BASE + "sets:\n  a: {SIGNAL_EXIT_PCT: 0.01}\nprofiles: [balanced, aggressive]\n",
            ["2: scenario balanced: SIGNAL_EXIT_PCT=0.01: must be below SIGNAL_THRESHOLD_PCT"],
        ),
        ("title: x\n", ["1: inputs is missing; name a recording"]),
        (
            "base:\n  inputs: [nowhere.csv]\n",
            ["2: nowhere.csv: there is no such file beside this one; there is crash-2021-05-19"],
        ),
        (
            "base:\n  inputs: [crash-2021-05-19, ticks-2024-08-08]\n",
            ["2: crash-2021-05-19 is a bundled scenario", "2: ticks-2024-08-08 is a bundled scenario"],
        ),
        (BASE + "stress: {a: []}\n", ["2: a does nothing; name a transform"]),
        (BASE + "stress: {none: [outage: {}]}\n", ["2: none is the market as recorded"]),
        (BASE + "stress:\n  a:\n  - crush: {}\n", ["4: there is no transform crush; perhaps crash"]),
        (BASE + "stress:\n  a:\n  - crash: {}\n", ["4: crash: drop_pct is missing"]),
        (BASE + "stress:\n  a:\n  - crash:\n      drop: 3\n      drop_pct: 15\n", [
            "5: crash: there is no drop here; perhaps drop_pct",
            "6: crash: drop_pct=15: a fraction between 0 and 1 is meant, perhaps 0.15",
        ]),
        (BASE + "stress: {a: [outage: 5]}\n", ["2: outage: parameters are meant"]),
        (BASE + "stress: {a: [outage: {at: noon}]}\n", ["2: outage: at=noon: a time in UTC as"]),
        (BASE + "stress: {a: [spread: {}]}\n", ["2: spread: either factor"]),
        (BASE + "stress: {a: [{outage: {}, gap: {}}]}\n", ["2: one transform with its parameters is meant"]),
        (BASE + "stress:\n  a:\n  - gap: {}\n", ["4: gap draws, so it needs a seed; write seed: 1"]),
        (BASE + "stress:\n  b: [outage: {}]\n  a: [funding: {rate: 0.01}]\n", ["4: funding is of perpetuals only"]),
        (
            BASE + "scenarios:\n- {name: a, period: x, set: y, stress: z}\n",
            [
                "3: there is no period x; there is none in this file",
                "3: there is no set y",
                "3: there is no stress z",
            ],
        ),
        (BASE + "scenarios: [{name: a}, {name: a}]\n", ["2: a is named twice in scenarios"]),
        (
            BASE + "profiles: [balanced, aggressive]\nmatrix: true\nscenarios: [{name: balanced}]\n",
            ["1: two scenarios would be called balanced"],
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_line_with_the_fix(tmp_path: Path, text: str, told: list[str]) -> None:
    """Every mistake of the file, in the order of its lines, and nothing else."""
    found = mistakes_of(tmp_path, text)
    assert len(found) == len(told)
    for line, beginning in zip(found, told, strict=True):
        assert line.startswith(beginning)


def test_many_scenarios_need_a_word(tmp_path: Path) -> None:
    """Over the limit the number is told; with the word they are made."""
    values = ", ".join(f"0.{number:03d}" for number in range(1, MOST + 2))
    text = BASE + f"grid: {{MAX_SPREAD_PCT: [{values}]}}\n"
    assert mistakes_of(tmp_path, text) == [
        f"2: this makes {MOST + 1} scenarios, over {MOST}; take values out, or say --yes if so many are meant"
    ]
    assert len(plan_of(tmp_path, text, most=None).scenarios) == MOST + 1


def test_a_file_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    """Aliases of aliases are counted with what they repeat."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8))
    with pytest.raises(SettingsInvalid, match="over 100,000 values"):
        plan_of(tmp_path, "a0: &a0 [x]\n" + levels)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Not there, or not text: the name, the reason, and where an example is."""
    with pytest.raises(SettingsInvalid, match=r"none\.yaml: cannot be read .*example\.yaml"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: \xe4")
    with pytest.raises(SettingsInvalid, match="not UTF-8"):
        read_plan(tmp_path / "latin.yaml")


def test_the_example_can_be_read() -> None:
    """The file that the README names has no mistake, a matrix, and one scenario beside it."""
    plan = read_plan(EXAMPLE)
    assert len(plan.scenarios) == 13
    assert sum(bool(scenario.stresses) for scenario in plan.scenarios) == 8
