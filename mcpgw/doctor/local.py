"""What can be seen on this machine: tools, runner, engine, images, workspaces."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

from mcpgw.config.schema import Config, RuntimeKind, ServerSpec
from mcpgw.doctor.findings import Finding, ok, problem, skipped, warning
from mcpgw.errors import GatewayError
from mcpgw.runtimes.channel import LONGEST
from mcpgw.runtimes.containers.body import relaxations
from mcpgw.runtimes.containers.runtime import ContainerRuntime, new_run, open_containers, user_of
from mcpgw.runtimes.remote import connect
from mcpgw.sandbox.doubts import doubts
from mcpgw.sandbox.workspace import folder_name
from mcpgw.units import Seconds

_ANSWER: Final = Seconds(10)


async def local_findings(config: Config) -> list[Finding]:
    """Look at everything that the configuration names, and start nothing."""
    findings = list(_tools(config))
    if config.runner is not None:
        findings.append(await _runner("runner", config.runner.socket, config))
        if isinstance(native := config.runner.native, Path):
            findings.append(await _runner("native runner", native, config))
        findings.append(skipped("engine", "the runner has it; ask there: mcpgw doctor --config …"))
    elif _contained(config):
        findings += [finding async for finding in _engine(config)]
    return findings


def _contained(config: Config) -> list[ServerSpec]:
    return [spec for spec in config.tools.values() if spec.runtime is RuntimeKind.CONTAINER]


def _tools(config: Config) -> Iterator[Finding]:
    for name, spec in config.tools.items():
        check = f"tool {name}"
        found = [problem(check, doubt.removeprefix(f"{name}: ")) for doubt in doubts(config, spec)]
        if spec.runtime is RuntimeKind.CONTAINER:
            found += [warning(check, relaxed) for relaxed in relaxations(spec)]
        yield from found or [ok(check, f"{spec.runtime}, {spec.mode}")]


async def _runner(check: str, path: Path, config: Config) -> Finding:
    try:
        status = await asyncio.to_thread(_ask_runner, path)
    except GatewayError as exc:
        return problem(check, str(exc), f"start it: mcpgw runner --config … --socket {path}")
    except (OSError, ValueError):
        return problem(
            check, f"{path} does not answer us", "start it with --allow-uid and our user id"
        )
    if missing := [name for name in config.tools if name not in status["tools"]]:
        names = ", ".join(missing)
        return problem(check, f"it does not know {names}", "give both the same configuration")
    return ok(check, f"version {status['version']}, engine {status['engine']}")


def _ask_runner(path: Path) -> dict[str, Any]:
    with connect(path) as sock:
        sock.settimeout(_ANSWER)
        sock.send(b'{"status": true}')
        status: dict[str, Any] = json.loads(sock.recv(LONGEST))["status"]
        return status


async def _engine(config: Config) -> AsyncIterator[Finding]:
    async with open_containers(config, new_run(), only_look=True) as runtime:
        url = runtime.engine.address.url
        try:
            facts = await runtime.engine.facts()
        except GatewayError as exc:
            yield problem("engine", str(exc), "start it, or set docker_host")
            return
        api = ".".join(map(str, facts.api))
        yield ok("engine", f"{url}, version {facts.version}, API {api}")
        name = facts.installation.removesuffix(f"-{runtime.engine.run}")  # we are not it
        yield ok("installation", f"its containers are labelled {name}")
        yield ok("paths", facts.translation.how)
        for spec in _contained(config):
            yield await _image(runtime, spec)
            yield await _workspace(config, runtime, spec)


async def _image(runtime: ContainerRuntime, spec: ServerSpec) -> Finding:
    check = f"image {spec.name}"
    try:
        there = await runtime.images.has(spec.image or "")
    except GatewayError as exc:
        return problem(check, str(exc))
    if there:
        return ok(check, f"{spec.image} is there; it runs as {user_of(spec)}")
    if spec.pull == "never":
        return problem(check, f"{spec.image} is not there", f"run: docker pull {spec.image}")
    return warning(check, f"{spec.image} is not there; it is pulled when mcpgw starts")


async def _workspace(config: Config, runtime: ContainerRuntime, spec: ServerSpec) -> Finding:
    check = f"workspace {spec.name}"
    try:
        source = await runtime.workspace_source(spec)
    except GatewayError as exc:
        return problem(check, str(exc))
    if source is None:
        return ok(check, f"none: there is no {config.workspace_root}, and it names none")
    return ok(check, f"{config.workspace_root / folder_name(spec)} is {source} for the engine")
