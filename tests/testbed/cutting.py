"""A proxy that breaks a connection at the worst moment, once."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

_CHUNK: Final = 65536
_END_SECONDS: Final = 10.0


class CuttingProxy:
    """Passes bytes on, and cuts the connection that first carries `marker` back to a client.

    What holds the marker is passed on, nothing after it. Leaving the context closes every
    connection.
    """

    def __init__(self, target: str, marker: bytes) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._path = parts.path
        self._marker = marker
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.cuts = 0
        """How many connections were cut."""

    @property
    def url(self) -> str:
        """The target's URL, by way of the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{self._path}"

    def __enter__(self) -> "CuttingProxy":
        self._start(self._accept)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in tuple(self._open):
            self._close(sock)
        for thread in self._threads:
            thread.join(_END_SECONDS)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open |= {client, server}
                self._start(self._pass, client, server, None)
                self._start(self._pass, server, client, self._marker)

    def _pass(self, source: socket.socket, sink: socket.socket, marker: bytes | None) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                sink.sendall(data)
                if marker is not None and marker in data and self._may_cut():
                    break
        self._close(source)
        self._close(sink)

    def _may_cut(self) -> bool:
        with self._lock:
            if self.cuts:
                return False
            self.cuts = 1
            return True

    def _start(self, target: object, *args: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _close(sock: socket.socket) -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
