"""Everything that can go wrong, named by what it means to the person reading the log.

GatewayError
  ConfigError            the operator's file is wrong
  Refused                we will not serve this request
    Unauthenticated        we do not know who is asking
    TooManyCredentials     we cannot tell which credentials are meant
    Forbidden              we know, and they may not
    UnknownServer          no server of that name is configured
    UnknownMethod          nobody behind this endpoint knows the method
    NotBridged             the feature does not cross the gateway
    UnknownSession         the session ended, or never was
    EventsGone             what came after that event is not kept
    DuplicateId            the id is already in flight in this session
    SessionLimit           too many sessions
    QueueFull              too many requests wait for this server
    TooManySuspended       too many calls wait for their users
    TooManyListens         too many clients listen
  Unavailable            we cannot serve this request now
    StartFailed            an instance could not be started or did not become ready
      EngineUnavailable      the container engine, or the runner, does not answer
      ImageUnavailable       the image is not there, or not yet
    QueueTimeout           no instance came free in time
    ShuttingDown           the gateway is draining
  ServerFailed           the MCP server broke its side of the conversation
    InstanceExited         it exited with requests in flight
    LineTooLong            it wrote a line beyond the limit
    ProtocolViolation      it wrote something that is not MCP
  DeadlineExceeded       no response before the request's deadline

Exceptions carry facts, never status codes: `mcpgw.edge.wire_errors` is the one
place that decides what a client sees. A message is one sentence that names the
server and what to do; `stderr` holds the instance's last lines for whoever may
see them.
"""

from mcpgw.units import Seconds


class GatewayError(Exception):
    """Base class of every error this package raises on purpose."""

    retry_after: Seconds | None = None
    """When trying again may help, if that is known."""

    stderr: tuple[str, ...] = ()
    """The last lines the instance wrote to stderr, oldest first."""


class ConfigError(GatewayError):
    """The configuration is wrong; the message lists every problem, one a line."""


class Refused(GatewayError):
    """The request is not acceptable, now or later, as it stands."""


class Unauthenticated(Refused):
    """Nobody we know is asking."""

    def __init__(self, message: str, *, shown: bool = False) -> None:
        super().__init__(message)
        self.shown = shown
        """Whether credentials were shown that are no good."""


class TooManyCredentials(Refused):
    """Several credentials were shown at once."""


class Forbidden(Refused):
    """Whoever is asking may not use that."""


class UnknownServer(Refused):
    """No server of that name is configured."""


class UnknownMethod(Refused):
    """Nobody behind this endpoint knows the method."""


class NotBridged(Refused):
    """The feature does not cross the gateway."""


class UnknownSession(Refused):
    """The session ended, or never was, or is somebody else's."""


class EventsGone(Refused):
    """What came after that event is not kept any more, or never was."""


class DuplicateId(Refused):
    """The request id is already in flight in this session."""


class SessionLimit(Refused):
    """As many sessions are open as the configuration allows."""

    retry_after = Seconds(30)


class QueueFull(Refused):
    """As many requests wait for this server as its queue may hold."""

    retry_after = Seconds(1)


class TooManySuspended(Refused):
    """As many calls wait for their users' answers as the configuration allows."""

    retry_after = Seconds(30)


class TooManyListens(Refused):
    """As many clients listen for changes as the configuration allows."""

    retry_after = Seconds(30)


class Unavailable(GatewayError):
    """The request is fine, but cannot be served now."""


class StartFailed(Unavailable):
    """An instance could not be started, or never became ready."""

    def __init__(
        self,
        message: str,
        *,
        stderr: tuple[str, ...] = (),
        retry_after: Seconds | None = None,
    ) -> None:
        super().__init__(message)
        self.stderr = stderr
        self.retry_after = retry_after


class EngineUnavailable(StartFailed):
    """The container engine, or the runner, does not answer."""


class ImageUnavailable(StartFailed):
    """The image of the container is not there, or not yet."""


class QueueTimeout(Unavailable):
    """No instance came free before the queue deadline."""

    retry_after = Seconds(1)


class ShuttingDown(Unavailable):
    """The gateway is draining and takes no new work."""

    retry_after = Seconds(5)


class ServerFailed(GatewayError):
    """The MCP server broke its side of the conversation."""

    def __init__(self, message: str, *, stderr: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.stderr = stderr


class InstanceExited(ServerFailed):
    """The instance went away with this request in flight."""


class LineTooLong(ServerFailed):
    """The instance wrote a line beyond the limit, and was killed for it."""


class ProtocolViolation(ServerFailed):
    """The instance answered with something that is not MCP."""


class DeadlineExceeded(GatewayError):
    """No response arrived before the request's deadline."""
