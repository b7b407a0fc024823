"""A real HTTP server of files, with ranges and validators, that misbehaves on request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BLOCK = 1 << 14
_LONG_AGO = 1_700_000_000


@dataclass
class Web:
    """What the server holds, how it behaves, and the requests that it saw."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    then: dict[str, bytes] = field(default_factory=dict)
    """What it holds after the next answer."""
    requests: list[tuple[str, Message]] = field(default_factory=list)
    """Path and headers, in order."""
    statuses: list[int] = field(default_factory=list)
    """Answer the next requests with these, then properly."""
    cuts: list[int] = field(default_factory=list)
    """Break off the bodies of the next answers after so many bytes."""
    ranges: bool = True
    if_range: bool = True
    """False: a range is answered even when the file has changed."""
    etag: bool = True
    last_modified: int = _LONG_AGO
    length: bool = True
    """False: the end of the body is the end of the connection."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent instead of the proper ones."""
    block_seconds: float = 0
    """Pause after every 16 KiB."""

    def asked_ranges(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.requests]


@contextmanager
def serving(**files: bytes) -> Iterator[Web]:
    """Serve these files on a port of this machine until the block ends."""
    web = Web(files=dict(files))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, web)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def _answer(request: BaseHTTPRequestHandler, web: Web) -> None:
    name = request.path.removeprefix("/")
    web.requests.append((name, request.headers))
    content = web.files.get(name)
    web.files |= web.then
    status = web.statuses.pop(0) if web.statuses else 404 if content is None else 200
    if content is None or status != 200:
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    etag, modified = f'"{md5(content).hexdigest()}"', formatdate(web.last_modified, usegmt=True)
    validators = {"Last-Modified": modified} | ({"ETag": etag} if web.etag else {})
    headers = dict(validators)
    asked, condition = request.headers["Range"], request.headers["If-Range"]
    if asked and web.ranges and (not web.if_range or condition in (None, *validators.values())):
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), int(last) + 1 if last else len(content)
        status = 206 if start < len(content) else 416
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        content = content[start:stop]
    if web.length:
        headers["Content-Length"] = str(len(content))
    else:
        headers["Connection"] = "close"
    request.send_response(status)
    for header, value in (headers | web.headers).items():
        request.send_header(header, value)
    request.end_headers()
    cut = web.cuts.pop(0) if web.cuts else None
    request.close_connection = request.close_connection or cut is not None
    try:
        for start in range(0, len(content[:cut]), _BLOCK):
            request.wfile.write(content[:cut][start : start + _BLOCK])
            time.sleep(web.block_seconds)
    except (BrokenPipeError, ConnectionResetError):
        request.close_connection = True  # the client was killed
