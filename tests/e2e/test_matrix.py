"""Every official client, with every real server behind the gateway, in both modes."""

from collections.abc import Callable

import pytest

from tests.e2e.checks import Check
from tests.e2e.conftest import World, require
from tests.e2e.world import MODES, SERVERS, ServerKind, filled
from tests.testbed.clients import CLIENTS, Answer, ClientKind, Driver

pytestmark = pytest.mark.sdk

LEGACY = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
def test_client_holds_a_whole_conversation(
    client: str, server: str, mode: str, world: World, driver: Callable[[str], Driver]
) -> None:
    kind, speaker = SERVERS[server], driver(client)
    require(kind.part)
    checks = _checks(kind, CLIENTS[client], mode)
    url = world.gateway.url(f"{server}-{mode}")
    answer = speaker.talk(url, *(filled(check.step, world.folder) for check in checks))
    _greeted(answer, CLIENTS[client])
    wrong = _wrong(checks, answer, CLIENTS[client])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("server", [kind.name for kind in SERVERS.values() if kind.cancellable])
@pytest.mark.parametrize("client", CLIENTS)
def test_cancellation_reaches_the_server_and_nothing_else(
    client: str, server: str, mode: str, world: World, driver: Callable[[str], Driver]
) -> None:
    speaker = driver(client)
    require(SERVERS[server].part)
    name = f"{client}/{server}/{mode}"
    cancel = {"do": "cancel", "name": "slow", "args": {"name": name}}
    # A session's end would cancel the call as well, so the server is asked before that.
    confirm = {"do": "call", "name": "confirm", "args": {"name": name}}
    echo = {"do": "call", "name": "echo", "args": {"still": "here"}}
    last = echo if CLIENTS[client].modern else confirm
    answer = speaker.talk(world.gateway.url(f"{server}-{mode}"), cancel, last)
    cancelled, answered = answer.results()
    assert cancelled == {"cancelled": True}
    assert ("here" if last is echo else "cancelled") in answered["content"][0]["text"]
    world.gateway.wait_for(lambda entry: f"cancelled {name}" in str(entry.values()))


def _checks(server: ServerKind, client: ClientKind, mode: str) -> list[Check]:
    # A launcher starts a process for each modern request: there the short version must do.
    brief = client.modern and mode == "launcher"
    return [check for check in server.checks if check.brief or not brief]


def _greeted(answer: Answer, client: ClientKind) -> None:
    assert answer.connected is not None, f"not connected: {answer.died}"
    revision = answer.connected["protocolVersion"]
    assert (revision == "2026-07-28") if client.modern else (revision in LEGACY)
    assert answer.connected["serverInfo"]["name"]
    assert "tools" in answer.connected["capabilities"]


def _wrong(checks: list[Check], answer: Answer, client: ClientKind) -> list[str]:
    found = [f"the client died: {answer.died}"] if answer.died else []
    if len(answer.outcomes) < len(checks):
        found.append(f"{len(checks) - len(answer.outcomes)} steps were not reached")
    for check, outcome in zip(checks, answer.outcomes, strict=False):
        if not _holds(check, outcome, client):
            found.append(f"{dict(check.step)} gave {str(outcome)[:600]}")
    return found


def _holds(check: Check, outcome: dict[str, object] | object, client: ClientKind) -> bool:
    try:
        return check.holds(outcome, client)  # type: ignore[arg-type]
    except (KeyError, IndexError, TypeError, ValueError):
        return False  # the outcome has another shape than the check looks into
