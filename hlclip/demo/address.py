"""Where the page is served, and who can reach it there."""

import errno
import os
import socket
from ipaddress import ip_address

from hlclip.system.errors import HlclipError

_PORTS = range(7860, 7960)
"""Tried one after another where none is asked for."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, port: int | None) -> int:
    """The port asked for, else the first free one, tried by listening there.

    Raises:
        HlclipError: nothing can listen at this host and port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = "none is free"
    for candidate in _PORTS if port is None else [port]:
        try:
            with socket.create_server((host, candidate), family=family):
                return candidate
        except OSError as error:
            unknown = isinstance(error, socket.gaierror)
            problem = error.strerror if unknown else os.strerror(error.errno or 0)
            if error.errno != errno.EADDRINUSE:
                break  # the host, not the port
    ports = f"ports {_PORTS[0]} to {_PORTS[-1]}" if port is None else f"port {port}"
    raise HlclipError(f"cannot listen at {host}, {ports} ({problem}); see --host and --port")
