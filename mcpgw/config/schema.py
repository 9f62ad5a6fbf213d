"""The configuration as frozen values, with every default and its reason.

The field descriptions are the reference: the example file and the JSON Schema
are checked against them.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from mcpgw.config import addresses, containers
from mcpgw.config.auth import ApiKey, Auth, Name
from mcpgw.config.containers import ContainerKeys, EngineKeys, Mount, Runner, Tls
from mcpgw.config.units import format_duration
from mcpgw.config.values import ByName, Count, Deadline, Duration, Filename, Frozen, Size
from mcpgw.units import MIB, Bytes, Seconds

# Sections of other modules that are part of the file: the JSON Schema finds them here.
__all__ = ["ApiKey", "Mount", "Runner", "Tls"]

SERVER_NAME = r"^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$"


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


class Timeouts(Frozen):
    """Deadlines of one tool."""

    probe: Deadline = Seconds(10)
    """How long a server may take to answer `server/discover` before it counts as legacy."""

    start: Deadline = Seconds(60)
    """How long an instance may take from spawn to a completed handshake."""

    call: Deadline = Seconds(120)
    """How long a request may go without an answer or progress."""

    call_max: Deadline = Seconds(3600)
    """How long a request may take in all, progress or not."""

    input: Deadline = Seconds(600)
    """How long a question of the server's to the user may stay unanswered."""

    stop: Duration = Seconds(5)
    """How long an instance may take to exit after its stdin closes, before SIGTERM."""

    term: Duration = Seconds(2)
    """How long it may take to exit after SIGTERM, before SIGKILL."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.call > self.call_max:
            raise ValueError(
                f'"call" ({format_duration(self.call)}) is longer than "call_max" '
                f"({format_duration(self.call_max)})"
            )
        return self


class ServerLimits(Frozen):
    """Bounds of one tool."""

    line: Size = Bytes(64 * MIB)
    """The longest line (one message) the server may write; beyond it the instance is killed."""

    stderr_rate: Count = 100
    """How many stderr lines per second and instance reach the log; the rest is counted."""


class Launcher(Frozen):
    """Settings of `mode: launcher`."""

    per: Per = Per.SESSION
    """`session`: one instance per legacy session; `request`: a fresh one for every request.
    Modern clients always get a fresh instance per request."""

    warm: Annotated[int, Field(ge=0)] = 0
    """How many never-used instances to keep started and ready."""

    max: Count = 16
    """How many instances may exist at once, warm ones included."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warm > self.max:
            raise ValueError(f'"warm" ({self.warm}) is more than "max" ({self.max})')
        return self


class Backoff(Frozen):
    """How restarts are spaced after failures."""

    initial: Duration = Seconds(1)
    """The wait after the first failure; it doubles with each further one."""

    max: Deadline = Seconds(60)
    """The longest wait."""

    failures: Count = 5
    """After so many failures in a row the tool is `failed`: requests are refused at once,
    but for one trial each `max`."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.initial > self.max:
            raise ValueError(
                f'"initial" ({format_duration(self.initial)}) is longer than "max" '
                f"({format_duration(self.max)})"
            )
        return self


class Daemon(Frozen):
    """Settings of `mode: daemon`."""

    min: Annotated[int, Field(ge=0)] = 0
    """How many instances to keep running even when idle."""

    max: Count = 4
    """How many instances may exist at once."""

    max_in_flight: Count = 64
    """How many requests one instance may work on at once."""

    idle_timeout: Duration = Seconds(300)
    """How long an instance beyond `min` may be idle before it is stopped."""

    max_age: Deadline | None = None
    """When an instance is replaced for its age; null means never."""

    max_requests: Count | None = None
    """When an instance is replaced for the requests it served; null means never."""

    backoff: Backoff = Backoff()
    """How restarts are spaced after failures."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f'"min" ({self.min}) is more than "max" ({self.max})')
        return self


class Queue(Frozen):
    """Where requests wait for an instance."""

    size: Count = 256
    """How many requests may wait; one more is answered 429."""

    timeout: Duration = Seconds(30)
    """How long a request may wait; then it is answered 503."""


class ServerSpec(ContainerKeys):
    """One MCP server, as configured: an entry under `tools:`."""

    name: Annotated[SkipJsonSchema[str], Field(exclude=True)] = ""
    """Its key under `tools:`, filled in by the loader."""

    runtime: RuntimeKind = RuntimeKind.NATIVE
    """`native`: a local process; `container`: one container per instance."""

    mode: Mode = Mode.LAUNCHER
    """`launcher`: a fresh instance per request or session; `daemon`: instances kept alive."""

    cmd: str | None = None
    """The program of a native tool: looked up on PATH, then under `tools_root`; a relative
    path with a slash is relative to the config file. `mcpgw` is this very program."""

    args: tuple[str, ...] = ()
    """Its arguments."""

    env: ByName[str] = Field(default_factory=dict, repr=False)
    """Environment variables to give it, beside PATH, HOME, LANG and TMPDIR. `${VAR}` takes a
    variable of the gateway's own environment, `file:/path` the content of a file, `$$` is a
    dollar sign."""

    cwd: Filename | None = None
    """Its working directory, relative to the config file; default: the config file's directory.
    Of a container: a path inside it; default: what its image says."""

    workspace: Annotated[str, AfterValidator(containers.subfolder)] | None = None
    """Its own folder under `workspace_root`; default: its name. Containers see it as
    `/workspaces`, and nothing else of this machine."""

    allow: tuple[Name, ...] | None = None
    """Who may use it, by their names or groups; null is everybody whom `auth` knows."""

    protocol: ProtocolChoice = ProtocolChoice.AUTO
    """Which era the server is spoken to in: `auto` finds out, `legacy` and `modern` pin it."""

    interactive: bool | None = None
    """Whether the server may ask the user (elicitation, sampling, roots). A legacy server that
    may works on one call at a time in each instance, since its questions name no call, and
    clients that can be asked different things get different instances. So null means yes, but
    for a legacy server with `daemon: {max: 1}`."""

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

    @property
    def asks(self) -> bool:
        """Whether a modern server may ask the user."""
        return self.interactive is not False

    @property
    def asks_as_legacy(self) -> bool:
        """Whether a legacy server may."""
        if self.interactive is not None:
            return self.interactive
        return self.mode is Mode.LAUNCHER or self.daemon.max > 1


class Listen(Frozen):
    """Where the gateway listens."""

    host: Annotated[str, AfterValidator(addresses.bindable)] = "127.0.0.1"
    """The address to bind. Anything but loopback needs authentication or `allow_anonymous`."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port; 0 takes a free one and logs it."""


class Log(Frozen):
    """What the gateway says about itself, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious level to write."""

    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""

    access: bool = True
    """Whether each HTTP request gets a line."""


class Limits(Frozen):
    """Bounds of the gateway as a whole."""

    body: Size = Bytes(4 * MIB)
    """The largest request body; beyond it 413."""

    sessions: Count = 10_000
    """How many legacy sessions may be open at once; one more is refused with 429."""

    stream_buffer: Size = Bytes(MIB)
    """How many bytes may wait for a slow reader of one event stream before it is dropped; of a
    stream that can be resumed, the last bytes up to twice as many are kept."""

    replay: Size = Bytes(128 * MIB)
    """How many bytes of event streams are kept for clients that may resume them, in all; beyond
    it those that nobody reads are forgotten, the oldest first."""

    subscriptions: Count = 2000
    """How many `subscriptions/listen` streams may be open at once; one more gets 429."""

    suspended: Count = 256
    """How many calls of 2026-07-28 clients may wait for an answer of their user at once."""

    in_flight_per_session: Count = 256
    """How many requests one legacy session may have in flight."""


class Config(EngineKeys):
    """The whole file."""

    listen: Listen = Listen()
    """Where the gateway listens."""

    public_url: Annotated[str, AfterValidator(addresses.base_url)] | None = None
    """The URL clients use, path prefix included, e.g. `https://mcp.example.com/mcp`; its host
    is accepted in `Host` and its origin in `Origin`."""

    auth: Auth = Auth()
    """How the gateway knows who is calling."""

    allow_anonymous: bool = False
    """Whether a bind beyond loopback may go without authentication."""

    allowed_hosts: tuple[Annotated[str, AfterValidator(addresses.host)], ...] = ()
    """Further values accepted in `Host` (name or name:port); `*` accepts any."""

    allowed_origins: tuple[Annotated[str, AfterValidator(addresses.origin)], ...] = ()
    """Further origins accepted in `Origin`, e.g. `https://app.example.com`; `*` accepts any."""

    workspace_root: Filename = Path("/workspaces")
    """The folder under which each tool has its own."""

    tools_root: Filename = Path("/tools")
    """Where `cmd` is looked up after PATH."""

    shutdown_grace: Duration = Seconds(30)
    """How long requests in flight may take to finish after SIGTERM."""

    session_idle: Deadline = Seconds(1800)
    """How long a legacy session may be idle before it ends."""

    resume_window: Duration = Seconds(300)
    """How long an event stream that is over can still be resumed by a client that missed its
    end. One that waits for an answer can be resumed until then, and for so long after it."""

    keep_alive: Deadline = Seconds(15)
    """How often a quiet event stream carries a comment, so that proxies keep it open."""

    instance_headers: bool = True
    """Whether answers name the server, instance and queue time in `Mcpgw-*` headers."""

    log: Log = Log()
    """What the gateway says about itself."""

    limits: Limits = Limits()
    """Bounds of the gateway as a whole."""

    tools: ByName[ServerSpec] = Field(default_factory=dict)
    """The MCP servers, by name: lower-case letters, digits, `-` and `_`."""

    base_dir: Annotated[SkipJsonSchema[Path], Field(exclude=True)] = Path()
    """The folder of the file, filled in by the loader."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the listener."""
        return addresses.is_loopback(self.listen.host)
