"""A stand-in for the Hugging Face hub: what its client asks for when it fetches a file, no more.

As on the hub, large files are redirected to another host (which takes ranges) and small ones to
another path; errors carry the hub's headers. `faults` makes it misbehave; `asked` is what it was
asked.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 10_000

Fault = Literal["404", "500", "401", "gated", "hangs", "cut once", "cut", "short"]


class Hub(ThreadingHTTPServer):
    """Serves `files`, (repository, name) -> content; large ones from its second address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[tuple[str, str], bytes | Path] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[str] = []
        """Method and path of each request; with a range, where it starts."""
        self.free = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client may hang up."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage(self) -> str:
        return f"http://localhost:{self.server_port}"

    def add(self, repo: str, folder: Path) -> None:
        """Serve all files of a folder as a repository."""
        for path in sorted(folder.iterdir()):
            self.files[repo, path.name] = path


@contextmanager
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.free.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride] (only a Hub makes it)
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(self.path)
        if path == "/api/agent-harnesses":  # the client's own, for its progress bars
            self._end(404)
            return
        start = self.headers.get("Range", "")
        self.server.asked.append(f"{self.command} {path} {start}".strip())
        if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/([^/]+)", path):
            self._send(self._content(match[1], match[2]), self.server.faults.get(match[2]))
        elif match := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/\w+/([^/]+)", path):
            self._send(self._content(match[1], match[2]), None)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(main|[0-9a-f]{40})/([^/]+)", path):
            self._resolve(match[1], match[2], match[3])
        else:
            self._end(404)

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        fault = self.server.faults.get(name)
        if fault == "hangs":
            self.server.free.wait(30)
        if fault == "500":
            self._end(500)
        elif fault == "401" or repo not in {known for known, _ in self.server.files}:
            self._end(401, **{"X-Error-Code": "RepoNotFound"})
        elif fault == "gated":
            self._end(403, **{"X-Error-Code": "GatedRepo"})
        elif fault == "404" or (repo, name) not in self.server.files:
            self._end(404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        elif revision not in ("main", COMMIT):
            self._end(404, **{"X-Error-Code": "RevisionNotFound"})
        else:
            content = self._content(repo, name)
            if len(content) < LARGE:
                where = f"/api/resolve-cache/models/{repo}/{COMMIT}/{name}"
                self._end(307, Location=where)
                return
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            facts = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": etag, "X-Linked-Size": len(content)}
            self._end(302, Location=f"{self.server.storage}/storage/{repo}/{name}", **facts)

    def _content(self, repo: str, name: str) -> bytes:
        content = self.server.files[repo, name]
        return content if isinstance(content, bytes) else content.read_bytes()

    def _send(self, content: bytes, fault: Fault | None) -> None:
        """A file or a range of it; its commit and ETag as the hub has them."""
        first = 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first = int(wanted[1])
        half = len(content) // 2
        body = content[first:half] if fault == "short" else content[first:]
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "cut once"):
            if fault == "cut once":
                self.server.faults.clear()
            self.wfile.write(content[first:half])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _end(self, status: int, **headers: str | int) -> None:
        body = b"" if self.command == "HEAD" else json.dumps({"error": status}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
