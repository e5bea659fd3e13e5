"""What Docker makes of the compose file, every profile included: each container is hardened, local and limited.

test_compose_file.py looks at the file itself; here anchors, merges, profiles and defaults are resolved by Docker.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [pytest.mark.unit, pytest.mark.security]

ONE_SHOT = {"cdb_secrets"}
OPEN_TO_THE_INTERNET = {"internet", "exchange"}
"""Networks that lead out: for containers that must reach an exchange or a notification service."""


@cache
def rendered(overlay: str = "") -> dict[str, Any]:
    """Return the whole configuration, with an overlay on it; no daemon is needed for it."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command here")
    files = ["-f", "docker-compose.yml", *(["-f", overlay] if overlay else [])]
    command = ["docker", "compose", "--profile", "*", *files, "--env-file", os.devnull, "config", "--format", "json"]
    keys = dict.fromkeys(("MEXC_API_KEY_FILE", "MEXC_API_SECRET_FILE", "NOTIFY_URLS_FILE"), "/keys/one")
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **keys}, capture_output=True, text=True, check=False)
    if "is not a docker command" in done.stderr or "unknown flag" in done.stderr:
        pytest.skip("no Docker Compose v2 here")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_container_of_each_profile_is_hardened() -> None:
    """No root, a read-only file system, no capabilities, no new privileges, limits, nothing shared with the machine."""
    weak = {}
    for name, service in rendered()["services"].items():
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        faults = [
            fault
            for fault, found in (
                ("root", not service.get("user", "").partition(":")[0].strip("0")),
                ("writable", service.get("read_only") is not True),
                ("capabilities", service.get("cap_drop") != ["ALL"] or "cap_add" in service),
                ("new privileges", "no-new-privileges:true" not in service.get("security_opt", ())),
                ("privileged", bool(service.get("privileged"))),
                ("shares namespaces", any(service.get(key) for key in ("pid", "ipc", "uts", "userns_mode", "cgroup"))),
                ("host network", service.get("network_mode") == "host"),
                ("devices", bool(service.get("devices"))),
                ("no limits", name not in ONE_SHOT and set(limits) < {"cpus", "memory", "pids"}),
                ("no log limit", "max-size" not in service.get("logging", {}).get("options", {})),
            )
            if found
        ]
        if faults:
            weak[name] = faults

    assert weak == {}


def test_nothing_but_loopback_is_published() -> None:
    """Each port that is published is bound to 127.0.0.1."""
    published = [(name, port) for name, service in rendered()["services"].items() for port in service.get("ports", ())]

    assert published
    assert [(name, port) for name, port in published if port.get("host_ip") != "127.0.0.1"] == []


def test_containers_talk_on_the_internal_network() -> None:
    """Servers are on nothing else; no other network lets anything out, unless its name says so."""
    networks = rendered()["networks"]
    for name, service in rendered()["services"].items():
        assert service.get("network_mode") == "none" or service["networks"], name
    assert networks["data"]["internal"] is True
    leading_out = {
        name
        for name, network in networks.items()
        if not network.get("internal")
        and network.get("driver_opts", {}).get("com.docker.network.bridge.enable_ip_masquerade") != "false"
    }
    assert leading_out <= OPEN_TO_THE_INTERNET
    for server in ("cdb_redis", "cdb_postgres"):
        assert set(rendered()["services"][server]["networks"]) == {"data"}


def test_what_is_mounted_from_the_machine_cannot_be_written() -> None:
    """Folders of the repository are mounted read-only; the socket of Docker is in no container."""
    mounts = [
        (name, mount)
        for name, service in rendered()["services"].items()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind"
    ]

    assert [(name, mount["source"]) for name, mount in mounts if not mount.get("read_only")] == []
    assert [name for name, mount in mounts if "docker.sock" in mount["source"]] == []


def test_images_of_others_have_a_version() -> None:
    """`latest` is ours alone, built here."""
    for name, service in rendered()["services"].items():
        image, _, tag = service["image"].rpartition(":")
        assert image, name
        assert tag != "latest" or image == "claire_de_binare", name


def test_the_overlay_for_live_trading_opens_one_way_for_one_container() -> None:
    """cdb_execution alone gets the network to the exchange and the keys, as files; nothing else differs."""
    plain, live = rendered()["services"], rendered("backoffice/docker/live.yml")["services"]
    assert {name for name in live if live[name] != plain.get(name)} == {"cdb_execution"}
    before, after = plain["cdb_execution"], live["cdb_execution"]

    assert set(after["networks"]) - set(before["networks"]) == {"exchange"}
    assert {secret["source"] for secret in after["secrets"]} == {"mexc_api_key", "mexc_api_secret"}
    assert after["environment"]["MEXC_API_KEY_FILE"] == "/run/secrets/mexc_api_key"
    assert {name for name in before if before[name] != after.get(name)} == {"networks", "environment"}


def test_the_overlay_for_addresses_of_people_gives_them_to_the_notifier_as_a_file() -> None:
    """Nothing but cdb_notifier differs, and in it only where the addresses are read."""
    plain, changed = rendered()["services"], rendered("backoffice/docker/notify.yml")["services"]
    assert {name for name in changed if changed[name] != plain.get(name)} == {"cdb_notifier"}
    notifier = changed["cdb_notifier"]

    assert notifier["environment"]["NOTIFY_URLS_FILE"] == "/run/secrets/notify_urls"
    assert [secret["source"] for secret in notifier["secrets"]] == ["notify_urls"]
    assert {name for name in plain["cdb_notifier"] if plain["cdb_notifier"][name] != notifier[name]} <= {"environment"}


def test_without_the_overlay_only_who_must_can_leave() -> None:
    """cdb_ws reaches the exchange and the notifier the internet; nobody with a key or a password of a server does."""
    leaving = {
        name: set(service.get("networks") or ()) & OPEN_TO_THE_INTERNET
        for name, service in rendered()["services"].items()
    }

    assert {name: ways for name, ways in leaving.items() if ways} == {
        "cdb_ws": {"exchange"}, "cdb_notifier": {"internet"},
    }  # fmt: skip
