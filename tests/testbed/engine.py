"""Real Docker engines: the machine's, or one of our own that may be restarted and killed."""

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.testbed.images import Image
from tests.testbed.parts import CACHE

DEFAULT: Final = Path(os.environ.get("MCPGW_TEST_ENGINE", "/var/run/docker.sock"))
"""Another one, Podman's for instance, can be tried with MCPGW_TEST_ENGINE."""

_START: Final = 60.0
_ANSWER: Final = 120.0


def obstacle() -> str | None:
    """Why this machine can have no engine of its own, or None."""
    if _answers(DEFAULT):
        return None
    if os.geteuid() != 0:
        return "no Docker engine answers, and only root can start one"
    return None if shutil.which("dockerd") else "no Docker engine answers or is installed"


class Engine:
    """An engine that answers."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.host: Final = f"unix://{path}"
        self._loaded: set[str] = set()

    def load(self, image: Image) -> str:
        """Have an image there; give its tag."""
        if image.name not in self._loaded:
            identity, archive = image.archive()
            if not self._has(image.tag, identity):
                status, said = self.ask("POST", "/images/load", archive)
                assert status == 200, said
            self._loaded.add(image.name)
        return image.tag

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Ask its API; give the status, and the JSON or text of the answer."""
        connection = http.client.HTTPConnection("localhost", timeout=_ANSWER)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_ANSWER)
        try:
            connection.sock.connect(str(self.path))
            connection.request(method, path, body, {"Content-Type": "application/x-tar"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """Give every container of ours with these labels, running or not."""
        wanted = [f"io.mcpgw.{name}={value}" for name, value in labels.items()]
        filters = quote(json.dumps({"label": wanted or ["io.mcpgw.run"]}))
        status, found = self.ask("GET", f"/containers/json?all=1&filters={filters}")
        assert status == 200, found
        containers: list[dict[str, Any]] = found
        return containers

    def inspect(self, name: str) -> dict[str, Any]:
        """Give what it says of a container."""
        status, found = self.ask("GET", f"/containers/{name}/json")
        assert status == 200, found
        described: dict[str, Any] = found
        return described

    def docker(self, *words: str) -> str:
        """Run the command line client against it."""
        done = subprocess.run(
            ["docker", "-H", self.host, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_ANSWER,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def _has(self, tag: str, identity: str) -> bool:
        status, found = self.ask("GET", f"/images/{tag}/json")
        return status == 200 and found["Id"] == identity


_INIT: Final = """
import ctypes, os, subprocess, sys, threading
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
engine = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)
print(engine.pid, flush=True)
def reap():
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return
        if pid == engine.pid:
            print("ended", flush=True)
threading.Thread(target=reap, daemon=True).start()
sys.stdin.read()
os._exit(0)
"""
"""Adopts and reaps what an engine leaves, which would else be ours, as the tests' processes are."""


class OwnEngine(Engine):
    """An engine that nobody else uses, so that it may be stopped."""

    def __init__(self, folder: Path, number: int, *, alone: bool) -> None:
        super().__init__(folder / "docker.sock")
        self._alone = alone
        self._folder = folder
        self._number = number
        self._data = CACHE / f"docker-{number}"
        self._inits: list[subprocess.Popen[bytes]] = []
        self._pid: int | None = None
        # Its images are kept from run to run, but nothing else.
        shutil.rmtree(self._data / "containers", ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # A bridge of its own: an engine without one would remove that of the machine's engine.
        bridge = f"mcpgwt{self._number}"
        _make_bridge(bridge, f"10.213.{self._number}.1/24")
        command = [
            "dockerd",
            f"--host={self.host}",
            f"--data-root={self._data}",
            f"--exec-root={self._folder / 'exec'}",
            f"--pidfile={self._folder / 'pid'}",
            f"--bridge={bridge}",
            # The names of containers in a network take rules of the firewall; two engines would
            # take each other's away.
            *([] if self._alone else ["--iptables=false", "--ip6tables=false"]),
        ]
        with (self._folder / "log").open("ab") as log:
            init = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _INIT, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._inits.append(init)
        assert init.stdout is not None
        self._pid = int(init.stdout.readline())
        deadline = time.monotonic() + _START
        while not _answers(self.path):
            assert not self._has_ended(0), (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the engine does not answer"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal, and wait until it has ended; its containers go with SIGTERM."""
        self._send(number)
        assert self._has_ended(_START), "the engine does not end"
        self._pid = None
        if number is signal.SIGKILL:  # nor could another engine use what it has left
            noted = self._folder / "exec/containerd/containerd.pid"
            with suppress(ProcessLookupError):
                os.kill(int(noted.read_text()), signal.SIGKILL)
            noted.unlink()

    def pause(self) -> None:
        """Have it answer nothing from now on."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it answer again."""
        self._send(signal.SIGCONT)

    def close(self) -> None:
        """End it and what it runs."""
        if self._pid is not None:
            self.resume()
            with suppress(OSError, AssertionError):
                for container in self.ask("GET", "/containers/json?all=1")[1]:
                    self.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
            self.stop()
        _end_leftovers(self._folder, self._data)
        for init in self._inits:
            init.communicate(timeout=_START)

    def _send(self, number: signal.Signals) -> None:
        assert self._pid is not None
        os.kill(self._pid, number)

    def _has_ended(self, within: float) -> bool:
        output = self._inits[-1].stdout
        assert output is not None
        readable, _, _ = select.select([output], [], [], within)
        return bool(readable)


@contextmanager
def own_engine(number: int = 7, *, alone: bool = False) -> Iterator[OwnEngine]:
    """An engine of our own, for the length of the block.

    `number` tells several apart; `alone` says that no other one may be there.
    """
    with tempfile.TemporaryDirectory(prefix="mcpgw-engine-") as folder:
        engine = OwnEngine(Path(folder), number, alone=alone)
        try:
            engine.start()
            yield engine
        finally:
            engine.close()


@contextmanager
def shared_engine() -> Iterator[Engine]:
    """The machine's engine if it answers, else one of our own."""
    if _answers(DEFAULT):
        yield Engine(DEFAULT)
        return
    with own_engine(1, alone=True) as engine:
        yield engine


def _answers(path: Path) -> bool:
    try:
        return Engine(path).ask("GET", "/_ping")[0] == 200
    except OSError:
        return False


def _make_bridge(name: str, address: str) -> None:
    if not Path("/sys/class/net", name).exists():
        for words in (
            ["link", "add", name, "type", "bridge"],
            ["addr", "add", address, "dev", name],
        ):
            subprocess.run(["ip", *words], check=True, capture_output=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True, capture_output=True)


def _end_leftovers(folder: Path, data: Path) -> None:
    """End what a killed engine has left running, and unmount what it had mounted."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _names(process, str(folder)):
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
    mounts: Sequence[str] = Path("/proc/self/mounts").read_text().splitlines()
    for line in reversed(mounts):
        if str(folder) in line or f"{data}/" in line or f" {data} " in line:
            subprocess.run(["umount", "-l", line.split()[1]], capture_output=True)


def _names(process: Path, text: str) -> bool:
    try:
        return text in (process / "cmdline").read_text()
    except OSError:
        return False
