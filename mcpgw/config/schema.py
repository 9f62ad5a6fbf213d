"""The configuration as frozen values, with every default and its reason.

The field descriptions are the reference: the example file and the JSON Schema
are checked against them.
"""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mcpgw.config.units import parse_duration, parse_size
from mcpgw.units import MIB, Bytes, Seconds

Duration = Annotated[Seconds, BeforeValidator(parse_duration)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
Count = Annotated[int, Field(ge=1)]

SERVER_NAME = r"^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$"


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True
    )


class RuntimeKind(StrEnum):
    """How instances are made."""

    NATIVE = "native"
    CONTAINER = "container"


class Mode(StrEnum):
    """When instances live."""

    LAUNCHER = "launcher"
    DAEMON = "daemon"


class ProtocolChoice(StrEnum):
    """Which era the server is spoken to in."""

    AUTO = "auto"
    LEGACY = "legacy"
    MODERN = "modern"


class Per(StrEnum):
    """How long a launcher's instance serves a legacy client."""

    SESSION = "session"
    REQUEST = "request"


class Timeouts(_Frozen):
    """Deadlines of one tool."""

    probe: Duration = Seconds(10)
    """How long a server may take to answer `server/discover` before it counts as legacy."""

    start: Duration = Seconds(60)
    """How long an instance may take from spawn to a completed handshake."""

    call: Duration = Seconds(120)
    """How long a request may go without an answer or progress."""

    call_max: Duration = Seconds(3600)
    """How long a request may take in all, progress or not."""

    stop: Duration = Seconds(5)
    """How long an instance may take to exit after its stdin closes, before SIGTERM."""

    term: Duration = Seconds(2)
    """How long it may take to exit after SIGTERM, before SIGKILL."""


class ServerLimits(_Frozen):
    """Bounds of one tool."""

    line: Size = Bytes(64 * MIB)
    """The longest line (one message) the server may write; beyond it the instance is killed."""

    stderr_rate: Count = 100
    """How many stderr lines per second and instance reach the log; the rest is counted."""


class Launcher(_Frozen):
    """Settings of `mode: launcher`."""

    per: Per = Per.SESSION
    """`session`: one instance per legacy session; `request`: a fresh one for every request.
    Modern clients always get a fresh instance per request."""

    warm: Annotated[int, Field(ge=0)] = 0
    """How many never-used instances to keep started and ready."""

    max: Count = 16
    """How many instances may exist at once, warm ones included."""


class Backoff(_Frozen):
    """How restarts are spaced after failures."""

    initial: Duration = Seconds(1)
    """The wait after the first failure; it doubles with each further one."""

    max: Duration = Seconds(60)
    """The longest wait."""

    failures: Count = 5
    """After so many failures in a row the tool is `failed`: requests are refused at once,
    but for one trial each `max`."""


class Daemon(_Frozen):
    """Settings of `mode: daemon`."""

    min: Annotated[int, Field(ge=0)] = 0
    """How many instances to keep running even when idle."""

    max: Count = 4
    """How many instances may exist at once."""

    max_in_flight: Count = 64
    """How many requests one instance may work on at once."""

    idle_timeout: Duration = Seconds(300)
    """How long an instance beyond `min` may be idle before it is stopped."""

    max_age: Duration | None = None
    """When an instance is replaced for its age; null means never."""

    max_requests: Count | None = None
    """When an instance is replaced for the requests it served; null means never."""

    backoff: Backoff = Backoff()
    """How restarts are spaced after failures."""


class Queue(_Frozen):
    """Where requests wait for an instance."""

    size: Count = 256
    """How many requests may wait; one more is answered 429."""

    timeout: Duration = Seconds(30)
    """How long a request may wait; then it is answered 503."""


class ServerSpec(_Frozen):
    """One MCP server, as configured: an entry under `tools:`."""

    name: Annotated[str, Field(exclude=True)] = ""
    runtime: RuntimeKind = RuntimeKind.NATIVE
    """`native`: a local process; `container`: one container per instance."""

    mode: Mode = Mode.LAUNCHER
    """`launcher`: a fresh instance per request or session; `daemon`: instances kept alive."""

    cmd: str | None = None
    """The program of a native tool: looked up on PATH, then under `tools_root`; a relative
    path with a slash is relative to the config file. `mcpgw` is this very program."""

    args: tuple[str, ...] = ()
    """Its arguments."""

    env: Mapping[str, str] = {}
    """Environment variables to give it, beside PATH, HOME, LANG and TMPDIR. `${VAR}` takes a
    variable of the gateway's own environment, `file:/path` the content of a file, `$$` is a
    dollar sign."""

    cwd: Path | None = None
    """Its working directory, relative to the config file; default: the config file's directory."""

    image: str | None = None
    """The image of a container tool."""

    protocol: ProtocolChoice = ProtocolChoice.AUTO
    """Which era the server is spoken to in: `auto` finds out, `legacy` and `modern` pin it."""

    timeouts: Timeouts = Timeouts()
    """Deadlines."""

    limits: ServerLimits = ServerLimits()
    """Bounds."""

    launcher: Launcher = Launcher()
    """Settings of `mode: launcher`."""

    daemon: Daemon = Daemon()
    """Settings of `mode: daemon`."""

    queue: Queue = Queue()
    """Where requests wait for an instance."""


class Listen(_Frozen):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    """The address to bind. Anything but loopback needs authentication or `allow_anonymous`."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port; 0 takes a free one and logs it."""


class Log(_Frozen):
    """What the gateway says about itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious level to write."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""

    access: bool = True
    """Whether each HTTP request gets a line."""


class Limits(_Frozen):
    """Bounds of the gateway as a whole."""

    body: Size = Bytes(4 * MIB)
    """The largest request body; beyond it 413."""

    sessions: Count = 10_000
    """How many legacy sessions may be open at once; one more is refused with 429."""

    stream_buffer: Size = Bytes(MIB)
    """How many bytes may wait for a slow reader of one event stream before it is dropped."""

    in_flight_per_session: Count = 256
    """How many requests one legacy session may have in flight."""


class Config(_Frozen):
    """The whole file."""

    listen: Listen = Listen()
    """Where the gateway listens."""

    public_url: str | None = None
    """The URL clients use, path prefix included, e.g. `https://mcp.example.com/mcp`; its host
    is accepted in `Host` and its origin in `Origin`."""

    allow_anonymous: bool = False
    """Whether a bind beyond loopback may go without authentication."""

    allowed_hosts: tuple[str, ...] = ()
    """Further values accepted in `Host` (name or name:port); `*` accepts any."""

    allowed_origins: tuple[str, ...] = ()
    """Further origins accepted in `Origin`, e.g. `https://app.example.com`; `*` accepts any."""

    workspace_root: Path = Path("/workspaces")
    """The folder under which each tool has its own."""

    tools_root: Path = Path("/tools")
    """Where `cmd` is looked up after PATH."""

    shutdown_grace: Duration = Seconds(30)
    """How long requests in flight may take to finish after SIGTERM."""

    session_idle: Duration = Seconds(1800)
    """How long a legacy session may be idle before it ends."""

    keep_alive: Duration = Seconds(15)
    """How often a quiet event stream carries a comment, so that proxies keep it open."""

    instance_headers: bool = True
    """Whether answers name the server, instance and queue time in `Mcpgw-*` headers."""

    log: Log = Log()
    """What the gateway says about itself."""

    limits: Limits = Limits()
    """Bounds of the gateway as a whole."""

    tools: Mapping[str, ServerSpec] = {}
    """The MCP servers, by name: lower-case letters, digits, `-` and `_`."""

    base_dir: Annotated[Path, Field(exclude=True)] = Path()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the listener."""
        if self.listen.host == "localhost":
            return True
        try:
            return ip_address(self.listen.host).is_loopback
        except ValueError:
            return False
