"""A real server of the S3 protocol on this machine, and a network to it that breaks on request."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import requests
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "word",  # pragma: allowlist secret
    "AWS_REGION": "us-east-1",
}


@contextmanager
def serving() -> Iterator[str]:
    """Serve S3; the address."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@dataclass
class Network:
    """A way to a server, connection by connection."""

    url: str = ""
    cuts: list[int | None] = field(default_factory=list)
    """Break the next connections off after so many bytes of the answer; None: not at all."""
    asked: bytearray = field(default_factory=bytearray)
    """All that clients sent."""


@contextmanager
def network(server: str) -> Iterator[Network]:
    """Forward connections to a server until the block ends; then the address refuses them."""
    host, _, port = server.removeprefix("http://").partition(":")
    listening = socket.create_server(("127.0.0.1", 0))
    way = Network(f"http://127.0.0.1:{listening.getsockname()[1]}")

    def accept() -> None:
        with suppress(OSError):  # the block has ended
            while True:
                client, _ = listening.accept()
                there = socket.create_connection((host, int(port)))
                left = way.cuts.pop(0) if way.cuts else None
                for arguments in ((client, there, None, way.asked), (there, client, left, None)):
                    threading.Thread(target=_forward, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield way
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def _forward(
    source: socket.socket, target: socket.socket, left: int | None, copy: bytearray | None
) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if copy is not None:
                copy += data
            target.sendall(data[:left])
            if left is not None and (left := left - len(data)) <= 0:
                break
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def real_credentials(server: str) -> Iterator[None]:
    """The server knows no key from here on, as the real one."""
    requests.post(f"{server}/moto-api/reset-auth", data="0", timeout=5)
    try:
        yield
    finally:
        requests.post(f"{server}/moto-api/reset-auth", data="inf", timeout=5)
