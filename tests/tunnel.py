"""A proxy as companies have them: it answers CONNECT, for whatever host, with a line to one port of this machine."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator


class _Line(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        wanted = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        assert isinstance(self.server, Tunnel)
        self.server.asked.append(wanted[1].decode())
        with socket.create_connection(("127.0.0.1", self.server.to_port)) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(there, self.connection), daemon=True)
            back.start()
            _copy(self.connection, there)
            back.join()


class Tunnel(socketserver.ThreadingTCPServer):
    """The proxy; `asked` is which hosts and ports were asked for."""

    daemon_threads = True

    def __init__(self, to_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Line)
        self.to_port = to_port
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def tunnel(to_port: int) -> Iterator[Tunnel]:
    """A proxy while it is needed."""
    with Tunnel(to_port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
