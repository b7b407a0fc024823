"""One file over HTTP: resumed where it was cut, never spliced, verified before it has its name.

`<name>.part` holds what came so far, `<name>.part.json` what it came from. A range is asked for
with `If-Range`, and the answer is compared with what came before: when the file on the server has
changed, the download begins anew. Proxies and certificates are those of the environment
(`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE`), as `requests` reads them.
"""

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import BaseHTTPResponse, Retry
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

from hlclip.system import HlclipError, require_space, sole_writer, write_json

log = logging.getLogger(__name__)


class Patience(Retry):
    """urllib3's retries, told: where nothing answers they take a minute."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        left = super().increment(method, url, response, error, _pool, _stacktrace)
        why = _reason(error) if response is None else f"the server answers {response.status}"
        log.warning("%s: %s; trying again", url, why)
        return left


PATIENT = Patience(
    total=7,  # without a byte between them: pauses of 0, 1, 2, 4, 8, 16 and 32 seconds
    backoff_factor=0.5,
    retry_after_max=300,
    status_forcelist=(408, 429, 500, 502, 503, 504),
    raise_on_status=False,  # the last answer is worth more in a message
)
_TIMEOUT_SECONDS = (15, 60)  # to connect; between two bytes
_CHUNK = 1 << 16


class DownloadError(HlclipError):
    """A file could not be obtained, or it is not what it should be; says what to do."""


@dataclass(frozen=True)
class _Source:
    """What the bytes of a `.part` came from."""

    url: str
    validator: str | None
    """Strong ETag or date; without one nothing can be resumed."""
    size: int | None
    """Bytes of the whole file, where the server says."""


def download(url: str, path: Path, *, sha256: str | None = None, retry: Patience = PATIENT) -> None:
    """Download `url` to `path`, going on where an earlier call was cut or killed.

    A `path` that is there is left as it is. Otherwise it appears whole and verified or not at all:
    by its checksum where one is given, else by its length alone.

    Args:
        sha256: hexadecimal; a file with another checksum is removed.
        retry: how often and how patiently; tries count anew when bytes have come in between.

    Raises:
        DownloadError: the server has no such file, stays unreachable, or sends another one.
        DiskError: no room for what is still to come, or another run is at it.
    """
    part = path.with_name(f"{path.name}.part")
    with sole_writer(path):
        if path.exists():
            return
        try:
            with requests.Session() as session:
                adapter = HTTPAdapter(max_retries=retry)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
                _fetch(session, url, part, retry=retry, checked=sha256 is not None)
        except (requests.RequestException, HTTPError) as error:
            came = part.stat().st_size if part.exists() else 0
            kept = f"; run again to go on from byte {came:,}" if came else ""
            raise DownloadError(f"{url}: {_reason(error)}{kept}") from error
        if sha256 is not None:
            _verify(part, sha256, url)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        _note(part).unlink(missing_ok=True)


def _fetch(
    session: requests.Session, url: str, part: Path, *, retry: Patience, checked: bool
) -> None:
    """Complete `part`. The session repeats requests; bodies that break off are resumed here."""
    patience = retry
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _go_on(session, url, part, checked=checked):
                return
        except HTTPError as error:
            fresh = part.stat().st_size > before
            patience = (retry if fresh else patience).increment("GET", url, error=error)
            patience.sleep()


def _go_on(session: requests.Session, url: str, part: Path, *, checked: bool) -> bool:
    """One request, for what `part` still lacks or for the whole file; is `part` whole then?"""
    begun = _begun(part, url, checked=checked)
    offset = part.stat().st_size if begun is not None else 0
    if begun is not None and offset == begun.size:
        return True
    # Compressed on the way, a range would be one of other bytes.
    headers = {"Accept-Encoding": "identity"}
    if begun is not None and begun.validator is not None and offset > 0:
        headers |= {"Range": f"bytes={offset}-", "If-Range": begun.validator}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        if response.status_code == 200:
            source = _source(response, url)
            if offset > 0:
                why = "does not resume it" if source == begun else "has another file now"
                log.warning("%s: the server %s; beginning anew", url, why)
            offset = 0
            part.write_bytes(b"")
            write_json(_note(part), asdict(source))
        elif begun is not None and response.status_code in (206, 416):
            if response.status_code == 416 or not _continues(response, begun, offset):
                log.warning("%s: the server has another file now; beginning anew", url)
                part.unlink()
                return False
            source = begun
        else:
            raise DownloadError(
                f"{url}: the server answers {response.status_code} ({response.reason})"
            )
        if source.size is None and not checked:
            raise DownloadError(
                f"{url}: the server does not say how long the file is, so nobody could tell "
                "whether all of it has come; take the file from another place"
            )
        if source.size is not None:
            require_space(part.parent, source.size - offset, f"downloading {url}")
        _append(response, part, offset=offset, size=source.size)
    return True


def _append(response: requests.Response, part: Path, *, offset: int, size: int | None) -> None:
    with (
        part.open("ab") as file,
        tqdm(
            desc=part.stem, initial=offset, total=size, unit="B", unit_scale=True, disable=None
        ) as bar,
    ):
        # Undecoded: some servers label a .gz as an encoding, and its bytes are what is wanted.
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            file.write(chunk)
            bar.update(len(chunk))


def _continues(response: requests.Response, begun: _Source, offset: int) -> bool:
    """Is this the rest of what was begun? Not every server heeds If-Range."""
    if begun.size is None:
        return False
    rest = f"bytes {offset}-{begun.size - 1}/{begun.size}"
    same = _validator(response) in (None, begun.validator)
    return same and response.headers.get("Content-Range") == rest


def _source(response: requests.Response, url: str) -> _Source:
    length = response.headers.get("Content-Length", "")
    return _Source(url, _validator(response), int(length) if length.isdecimal() else None)


def _validator(response: requests.Response) -> str | None:
    """A strong ETag, else the date; a weak ETag (`W/`) promises no equal bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified") or None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _begun(part: Path, url: str, *, checked: bool) -> _Source | None:
    """What `part` is the beginning of; None where it has to be begun anew."""
    if not part.exists() or not _note(part).exists():
        return None
    try:
        begun = _Source(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        log.warning("%s is not readable; beginning anew", _note(part))
        return None
    if begun.url == url:
        return begun
    if checked:
        return None
    raise DownloadError(
        f"{part} was begun from {begun.url}: go on from there, or delete it to begin anew "
        f"from {url}"
    )


def _verify(part: Path, sha256: str, url: str) -> None:
    with part.open("rb") as file:
        came = hashlib.file_digest(file, "sha256").hexdigest()
    if came != sha256:
        size = part.stat().st_size
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise DownloadError(
            f"{url}: {size:,} bytes with sha256 {came} came, expected {sha256}; they were removed. "
            "Run again, or take the file from another place"
        )


def _reason(error: Exception | None) -> object:
    """The cause under the wrappings that requests and urllib3 put around it."""
    inner = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    cause = inner.reason if isinstance(inner, MaxRetryError) else inner
    # An error of a body that breaks off is a pair: words, and what they are about.
    return cause.args[0] if isinstance(cause, ProtocolError) else cause
