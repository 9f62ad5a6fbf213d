"""An engine that is reached over TCP, with TLS and without."""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mcpgw.aio import background
from mcpgw.config.schema import Config, Timeouts
from mcpgw.errors import EngineUnavailable
from mcpgw.runtimes.containers.runtime import open_containers
from mcpgw.units import MIB, Seconds
from tests.containers.conftest import Box, opened_box
from tests.runtimes.conftest import Recorder
from tests.testbed.engine import Engine

pytestmark = pytest.mark.docker

PATIENT = Timeouts(stop=Seconds(30), term=Seconds(30))


class Certificates:
    """An authority, and what it signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca",
                  "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
        for name in ("server", "client", "stranger"):
            self._run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
            (folder / "ext").write_text("subjectAltName=IP:127.0.0.1")
            self._run("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.pem",
                      "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext",
                      "-out", f"{name}.pem")  # fmt: skip

    def _run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def keys(self, name: str = "client") -> dict[str, Path]:
        """What `docker_tls` has."""
        return {
            "ca": self.folder / "ca.pem",
            "cert": self.folder / f"{name}.pem",
            "key": self.folder / f"{name}.key",
        }

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem", self.folder / "server.key")
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def forwarded(
    engine: Engine,
    context: ssl.SSLContext | None,
    opened: list[asyncio.StreamWriter] | None = None,
) -> AsyncIterator[int]:
    """A port that leads to the engine's socket, as `dockerd -H tcp://` would have it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(engine.path))
        if opened is not None:
            opened.append(writer)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            if target.can_write_eof():
                with contextlib.suppress(OSError):
                    target.write_eof()

        # What the engine says last is the end of it all, as it is without anything between.
        try:
            async with background(pump(reader, inner_writer), name="in"):
                await pump(inner_reader, writer)
            writer.close()
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()
        finally:
            inner_writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        sock: socket.socket = server.sockets[0]
        yield sock.getsockname()[1]


@pytest.fixture(params=["plain", "tls"])
async def remote(
    request: pytest.FixtureRequest, engine: Engine, certificates: Certificates, tmp_path: Path
) -> AsyncIterator[Box]:
    context = certificates.context() if request.param == "tls" else None
    tls = certificates.keys() if request.param == "tls" else None
    async with (
        forwarded(engine, context) as port,
        opened_box(engine, tmp_path, docker_tls=tls, host=f"tcp://127.0.0.1:{port}") as box,
    ):
        yield box
    assert engine.containers(run=box.runtime.engine.run) == []


async def test_a_conversation_works(remote: Box) -> None:
    receiver = Recorder()
    spec = remote.spec("while read -r l; do echo $l; done", timeouts=PATIENT)
    async with remote.runtime.start(spec, receiver) as instance:
        instance.write(b"hello\n")
        await receiver.received(b"hello\n")
    assert receiver.exit.reason in ("exited with code 0", "was cut off: its streams ended")


async def test_much_arrives_whole(remote: Box) -> None:
    said, exit = await remote.run(f"head -c {5 * MIB} /dev/zero; exit 3")
    assert len(said) == 5 * MIB
    assert exit.code == 3


async def test_streams_that_are_cut_are_told_at_once_and_the_container_goes(
    engine: Engine, tmp_path: Path
) -> None:
    opened: list[asyncio.StreamWriter] = []
    async with (
        forwarded(engine, None, opened) as port,
        opened_box(engine, tmp_path, host=f"tcp://127.0.0.1:{port}") as box,
    ):
        receiver = Recorder()
        script = "echo up; trap '' TERM; while :; do sleep 9 & wait $!; done"
        async with box.runtime.start(box.spec(script), receiver):
            await receiver.received(b"up")
            for writer in opened:
                writer.transport.abort()
            exit = await receiver.ended(within=5)
            assert exit.reason == "was cut off: its streams ended while its container goes on"
            assert len(engine.containers(run=box.runtime.engine.run)) == 1
        assert engine.containers(run=box.runtime.engine.run) == []


async def test_a_certificate_of_somebody_else_is_refused_in_words(
    engine: Engine, certificates: Certificates, tmp_path: Path
) -> None:
    other = await asyncio.to_thread(_other, tmp_path)
    async with (
        forwarded(engine, other.context()) as port,
        opened_box(
            engine, tmp_path, docker_tls=certificates.keys(), host=f"tcp://127.0.0.1:{port}"
        ) as box,
    ):
        with pytest.raises(EngineUnavailable, match="certificate"):
            await box.run("true")


async def test_files_that_are_not_there_are_named(engine: Engine, tmp_path: Path) -> None:
    keys = dict.fromkeys(("ca", "cert", "key"), tmp_path / "none.pem")
    address = "tcp://127.0.0.1:1"
    async with opened_box(engine, tmp_path, docker_tls=keys, host=address) as box:
        with pytest.raises(EngineUnavailable, match="docker_tls: a file cannot be used"):
            await box.run("true")


async def test_an_address_of_another_kind_is_refused_in_words(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://somewhere")
    async with open_containers(Config(base_dir=tmp_path), "run") as runtime:
        with pytest.raises(EngineUnavailable, match="ssh://somewhere cannot be used"):
            await runtime.engine.facts()


def _other(folder: Path) -> Certificates:
    (folder / "other").mkdir()
    return Certificates(folder / "other")
