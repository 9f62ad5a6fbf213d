"""The command line.

What a command does not need it does not import: `demo-server` is an MCP server that
starts as often as a client wants one, and `check` and `--help` should answer at once.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO

from mcpgw import __version__
from mcpgw.errors import ConfigError, StartFailed

if TYPE_CHECKING:
    from mcpgw.config.load import Override
    from mcpgw.config.schema import Config, ServerSpec

OK: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
"""Wrong arguments or a wrong configuration."""

INTERRUPTED: Final = 130
"""What shells say for Ctrl-C."""

_USAGE: Final = """mcpgw --config FILE [--host ADDRESS] [--port PORT] [--log-level LEVEL] ...
       mcpgw check --config FILE
       mcpgw runner --config FILE --socket PATH [--allow-uid UID]... [--group GROUP]
       mcpgw doctor [--config FILE] [--public URL [--header 'NAME: VALUE']...] [--json]
       mcpgw key new NAME [--expires DATE]
       mcpgw schema | demo-server | --help | --version"""

_OVERRIDES: Final = {
    "host": ("listen", "host"),
    "port": ("listen", "port"),
    "log_level": ("log", "level"),
    "log_format": ("log", "format"),
}
"""Which key of the configuration a flag takes the place of."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status; `--help` and misuse exit by themselves."""
    parser = _build_parser()
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0].endswith((".yaml", ".yml")):
        parser.error(f"a configuration needs the word before it: --config {words[0]}")
    arguments = parser.parse_args(words)
    try:
        status = _run(arguments, parser)
        sys.stdout.flush()
    except ConfigError as exc:
        _say(str(exc), sys.stderr)
        return MISUSED
    except BrokenPipeError:  # nobody reads our output any more: not worth a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcpgw",
        usage=_USAGE,
        description="Serve stdio MCP servers over HTTP, as a configuration file lists them.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mcpgw {__version__}")
    _add_config(parser)
    flags = parser.add_argument_group("instead of what the file says")
    flags.add_argument("--host", help="address to listen on", metavar="ADDRESS")
    flags.add_argument("--port", help="port to listen on; 0 takes a free one", type=int)
    flags.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    flags.add_argument("--log-format", choices=["auto", "console", "json"])
    _add_commands(parser)
    return parser


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(
        dest="command", title="instead of serving", metavar="COMMAND", prog="mcpgw"
    )
    check = commands.add_parser("check", help="say what is wrong with a configuration, and stop")
    _add_config(check)
    runner = commands.add_parser("runner", help="start instances for a gateway that may not")
    _add_config(runner)
    _add_runner(runner)
    key = commands.add_parser("key", help="make a key for a client")
    _add_key(key)
    doctor = commands.add_parser("doctor", help="look for what keeps a gateway from working")
    _add_config(doctor)
    _add_doctor(doctor)
    commands.add_parser("schema", help="print the JSON Schema of the configuration")
    commands.add_parser("demo-server", help="be a small MCP server on stdin and stdout")


def _add_config(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: or the default of a subcommand would undo what was given before its name.
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the configuration; - reads it from stdin",
    )


def _add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", required=True, metavar="PATH", help="where to listen")
    parser.add_argument(
        "--allow-uid",
        action="append",
        type=int,
        default=[],
        metavar="UID",
        help="whose gateway may ask, besides root and oneself; may be repeated",
    )
    parser.add_argument("--group", metavar="GROUP", help="which group the socket belongs to")


def _add_key(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", required=True, metavar="new", prog="mcpgw key")
    new = what.add_parser("new", help="make one, and print it once")
    new.add_argument("name", metavar="NAME", help="who will show it")
    new.add_argument("--expires", metavar="DATE", help="from when on it is refused")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public", metavar="URL", help="the public URL of a tool, to look at")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="what clients have to send; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if arguments.command == "schema":
        return _print_schema()
    if arguments.command == "demo-server":
        from mcpgw.demo.server import main as serve_demo

        return serve_demo()
    if arguments.command == "key":
        return _make_key(arguments, parser)
    if arguments.command == "doctor":
        return _examine(arguments, parser)
    if "config" not in arguments:
        if arguments.command or _given(arguments):
            parser.error("--config FILE is missing")
        parser.print_usage(sys.stderr)
        return MISUSED
    from mcpgw.config.load import load

    config = load(arguments.config, overrides=_overrides(arguments))
    match arguments.command:
        case "check":
            return _check(config)
        case "runner":
            return _serve_runner(config, arguments, parser)
        case _:
            return _serve(config)


def _overrides(arguments: argparse.Namespace) -> "list[Override]":
    from mcpgw.config.load import Override

    return [
        Override(f"--{name.replace('_', '-')}", _OVERRIDES[name], value)
        for name, value in _given(arguments).items()
    ]


def _given(arguments: argparse.Namespace) -> dict[str, str | int]:
    values = vars(arguments)
    return {name: values[name] for name in _OVERRIDES if values[name] is not None}


def _serve(config: "Config") -> int:
    from mcpgw import app
    from mcpgw.observe import logs

    logs.configure(config.log.level, config.log.format)
    try:
        return app.run(config)
    except OSError as exc:
        _say(f"mcpgw: {_explain(exc, config)}", sys.stderr)
        return FAILED


def _make_key(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import json

    from pydantic import ValidationError

    from mcpgw.access.keys import digest, new_key
    from mcpgw.config.auth import ApiKey

    key = new_key()
    entry = {"name": arguments.name, "key": digest(key), "expires": arguments.expires}
    try:
        ApiKey.model_validate(entry)
    except ValidationError as exc:
        parser.error(exc.errors()[0]["msg"].removeprefix("Value error, "))
    shown = json.dumps({name: value for name, value in entry.items() if value is not None})
    _say("The key, which is shown only now:", sys.stderr)
    _say(key)
    _say(f"For the configuration, under auth: keys:\n  - {shown}", sys.stderr)
    return OK


def _examine(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    import asyncio

    from mcpgw.config.load import load
    from mcpgw.doctor import findings
    from mcpgw.doctor.client import read_header, read_url
    from mcpgw.doctor.local import local_findings
    from mcpgw.doctor.public import public_findings
    from mcpgw.observe import logs

    if "config" not in arguments and arguments.public is None:
        parser.error("doctor needs --config FILE, --public URL, or both")
    try:
        headers = dict(map(read_header, arguments.header))
        url = None if arguments.public is None else read_url(arguments.public)
    except ValueError as exc:
        parser.error(f"doctor: {exc}")
    logs.configure("error", "console")
    found = []
    if "config" in arguments:
        found += asyncio.run(local_findings(load(arguments.config)))
    if url is not None:
        found += asyncio.run(public_findings(url, headers))
    _say(findings.as_json(found) if arguments.json else findings.as_lines(found))
    return FAILED if findings.has_problem(found) else OK


def _serve_runner(
    config: "Config", arguments: argparse.Namespace, parser: argparse.ArgumentParser
) -> int:
    from pathlib import Path

    from mcpgw import app
    from mcpgw.observe import logs
    from mcpgw.runner.app import serve_runner
    from mcpgw.runner.server import Door

    group = None if arguments.group is None else _group(arguments.group, parser)
    door = Door(Path(arguments.socket).absolute(), frozenset(arguments.allow_uid), group)
    logs.configure(config.log.level, config.log.format)
    try:
        return app.run_until_signalled(lambda stop: serve_runner(config, door, stop))
    except OSError as exc:
        text = "another runner does" if exc.errno == errno.EADDRINUSE else exc.strerror
        _say(f"mcpgw: cannot listen at {door.path}: {text}", sys.stderr)
        return FAILED


def _group(name: str, parser: argparse.ArgumentParser) -> int:
    import grp

    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        parser.error(f"--group: there is no group {name}")


def _explain(exc: OSError, config: "Config") -> str:
    host, port = config.listen.host, config.listen.port
    start = f"cannot listen on {host} port {port}"
    if isinstance(exc, socket.gaierror):
        return f"{start}: there is no host of that name"
    match exc.errno:
        case errno.EADDRINUSE:
            return f"{start}: another program does; stop it, or choose another with --port"
        case errno.EADDRNOTAVAIL:
            return f"{start}: this machine does not have that address; see listen.host"
        case errno.EACCES | errno.EPERM:
            return f"{start}: that takes a privilege; choose a port above 1023 with --port"
        case _:
            return str(exc)


def _print_schema() -> int:
    import json

    from mcpgw.config.jsonschema import json_schema

    _say(json.dumps(json_schema(), indent=2))
    return OK


def _check(config: "Config") -> int:
    from mcpgw.access.gate import open_gate
    from mcpgw.runtimes.containers.body import relaxations
    from mcpgw.sandbox.doubts import doubts

    try:
        open_gate(config, os.environ)
    except ConfigError as exc:
        _say(f"warning: {exc}")
    _say("ok")
    width = max(map(len, config.tools), default=0)
    for name, spec in config.tools.items():
        _say(f"  {name:<{width}}  {spec.runtime:<9}  {spec.mode:<8}  {_program(config, spec)}")
        for relaxed in relaxations(spec) if spec.image else ():
            _say(f"  {'':<{width}}  relaxed: {relaxed}")
        for warning in doubts(config, spec):
            _say(f"  {'':<{width}}  warning: {warning}")
    return OK


def _program(config: "Config", spec: "ServerSpec") -> str:
    """Say what a tool would run."""
    from mcpgw.sandbox.environment import SELF, find_command

    if spec.image:
        return spec.image
    roots = {"tools_root": config.tools_root, "base_dir": config.base_dir}
    try:
        command = find_command(spec, **roots, own=os.environ)
    except StartFailed:
        return spec.cmd or "?"
    return "this program" if spec.cmd == SELF else command[0]


def _say(text: str, stream: TextIO | None = None) -> None:
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
