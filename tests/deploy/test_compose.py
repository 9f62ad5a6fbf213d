"""`compose.yaml` is valid, and closes what it should."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcpgw.config.load import load
from tests.testbed import find, why_not

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
STACK: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
EXAMPLE = (ROOT / ".env.example").read_text()


def test_it_is_valid_for_compose_itself() -> None:
    """Which checks it against the JSON Schema of the specification, and more."""
    place = find("compose")
    if place is None:
        pytest.skip(why_not("compose"))
    command = [str(place / "docker-compose"), "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert not {"privileged", "devices", "pid", "ipc"} & set(service)
    assert "healthcheck" in service or name == "caddy"


def test_only_the_runner_has_dockers_socket_and_it_has_no_network() -> None:
    holders = {
        name
        for name, service in SERVICES.items()
        if any("docker.sock" in str(volume) for volume in service.get("volumes", ()))
    }
    assert holders == {"runner"}
    assert SERVICES["runner"]["network_mode"] == "none"


def test_the_gateway_runs_as_nobody_special_and_sees_only_the_proxy() -> None:
    gateway = SERVICES["gateway"]
    assert gateway["user"].partition(":")[0] not in ("0", "root")
    assert gateway["networks"] == ["inside"]
    assert STACK["networks"]["inside"]["internal"] is True
    assert {name for name, s in SERVICES.items() if "inside" in s.get("networks", ())} == {
        *("gateway", "caddy", "cloudflared"),
    }
    assert "ports" not in gateway
    assert not gateway.get("cap_add")


def test_the_users_of_the_processes_differ() -> None:
    users = [SERVICES[name]["user"].partition(":")[0] for name in ("gateway", "runner", "native")]
    assert len(set(users)) == 3


def test_by_default_only_this_machine_can_reach_it() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert list(published) == ["caddy"]
    assert all(port.startswith("${MCPGW_BIND:-127.0.0.1}:") for port in published["caddy"])


def test_versions_are_pinned() -> None:
    images = re.findall(r"image: \$\{\w+:-(\S+)\}", TEXT)
    assert len(images) == 4
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d+(\.\d+){2}[\w.-]*", image), image


def test_every_variable_is_explained() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    named = set(re.findall(r"^#?(\w+)=", EXAMPLE, re.MULTILINE))
    assert used == named


def test_secrets_are_files_that_git_ignores() -> None:
    assert all("file" in secret for secret in STACK["secrets"].values())
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "/secrets/*"} <= set(ignored)


def test_the_gateway_asks_for_a_key_and_alone_has_it() -> None:
    config = load(ROOT / "deploy" / "config.yaml")
    assert [key.key for key in config.auth.keys] == ["file:/run/secrets/mcpgw_key"]
    assert config.allow_anonymous is False
    holders = {name for name, s in SERVICES.items() if "mcpgw_key" in s.get("secrets", ())}
    assert holders == {"gateway"}


def test_its_configuration_loads_and_starts_nothing_itself() -> None:
    config = load(ROOT / "deploy" / "config.yaml")
    assert config.runner is not None
    sockets = [str(config.runner.socket), str(config.runner.native)]
    for service, path in zip(("runner", "native"), sockets, strict=True):
        assert path in SERVICES[service]["command"]
        assert path in SERVICES[service]["healthcheck"]["test"][-1]
