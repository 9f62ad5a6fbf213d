"""What the load generator can be asked to do, and what it tells of it."""

import msgspec


class HttpJob(msgspec.Struct, tag="http", frozen=True):
    """Send requests on some connections, the next one when the answer is there."""

    port: int
    requests: list[str]
    """Whole HTTP requests; connection `i` always sends number `i` modulo their count."""
    connections: int = 1
    seconds: float = 1.0
    count: int | None = None
    """How many requests to send in all, instead of for how long."""
    warmup: float = 0.2
    """How long to send without measuring; with `count`, nothing is sent before."""
    pause: float = 0.0
    """How long a connection waits between an answer and its next request."""
    watch: list[int] = []
    """Processes whose CPU time is told."""


class PipeJob(msgspec.Struct, tag="pipe", frozen=True):
    """Write lines to a program's stdin, the next one when the answer is there."""

    command: list[str]
    line: str
    in_flight: int = 1
    seconds: float = 1.0
    warmup: float = 0.2


class SpawnJob(msgspec.Struct, tag="spawn", frozen=True):
    """Start a program, write it lines, read as many, stop it; and again."""

    command: list[str]
    lines: list[str]
    seconds: float = 1.0


Job = HttpJob | PipeJob | SpawnJob


class Outcome(msgspec.Struct, frozen=True):
    """What came of a job; times in seconds."""

    count: int
    seconds: float
    p50: float
    p99: float
    slowest: float
    bytes: int
    own_cpu: float
    cpu: list[float] = []
    """CPU time of each watched process."""
    problem: str = ""
    """Why the job was given up, if it was."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.count / self.seconds
