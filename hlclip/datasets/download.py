"""Download one file over HTTP: resumed after an interruption, verified before it gets its name.

`<name>.part` holds the bytes received so far, and `<name>.part.json` says which file they are the
beginning of. A range is requested with `If-Range`, and the answer must continue exactly that file.
If the file on the server has changed, the download starts over. Proxies and certificates are those
of the environment (`HTTPS_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE`), as `requests` reads them.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3 import Retry
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

from hlclip.system import HlclipError, require_space, sha256_of, sole_writer, write_json

log = logging.getLogger(__name__)

PATIENT = Retry(
    total=7,  # consecutive failures without a new byte: pauses of 0, 1, 2, 4, 8, 16, 32 seconds
    backoff_factor=0.5,
    retry_after_max=300,
    status_forcelist=(408, 429, 500, 502, 503, 504),
)
_TIMEOUT_SECONDS = (15, 60)  # to connect; between two bytes
_CHUNK = 1 << 16
_FAILURES = (requests.ConnectionError, requests.Timeout, requests.HTTPError, HTTPError)
"""What another try may help against, unless the server's answer is final."""


class DownloadError(HlclipError):
    """A file could not be downloaded, or its bytes are not the expected ones."""


@dataclass(frozen=True)
class _Source:
    """The file on a server that a `.part` is the beginning of."""

    url: str
    validator: str
    """Strong ETag or date."""
    size: int
    """Bytes of the whole file."""


def download(url: str, path: Path, *, sha256: str | None = None, retry: Retry = PATIENT) -> None:
    """Download `url` to `path`, and resume what an earlier call left unfinished.

    An existing `path` is left as it is. Otherwise `path` appears whole and verified, or not at all:
    verified by its checksum if one is given, else by its length.

    Args:
        sha256: hexadecimal; a file with another checksum is removed.
        retry: how often to try again, and after which pauses. The count restarts whenever new
            bytes have arrived.

    Raises:
        DownloadError: the server has no such file, stays unreachable, or sends another file.
        DiskError: too little room for the rest of the file, or another process downloads it.
    """
    part = path.with_name(f"{path.name}.part")
    with sole_writer(path):
        if path.exists():
            return
        try:
            _complete(url, part, retry=retry, checked=sha256 is not None)
        except (requests.RequestException, HTTPError) as error:
            size = _size(part)
            remedy = f"run again to go on from byte {size:,}" if size else ""
            raise DownloadError(f"{url}: {_cause(error)}", remedy) from error
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if sha256 and (actual := sha256_of(part)) != sha256:
            size = _size(part)
            part.unlink()
            _note(part).unlink(missing_ok=True)
            raise DownloadError(
                f"{url}: received {size:,} bytes with sha256 {actual}, expected {sha256}; they "
                "were removed",
                "run again, or take the file from another place",
            )
        os.replace(part, path)
        _note(part).unlink(missing_ok=True)


def _complete(url: str, part: Path, *, retry: Retry, checked: bool) -> None:
    """Send requests until `part` is complete, or as long as `retry` allows."""
    attempts = retry
    while True:
        before = _size(part)
        try:
            if _request(url, part, checked=checked):
                return
        except _FAILURES as error:
            response = error.response if isinstance(error, requests.HTTPError) else None
            if response is not None and response.status_code not in retry.status_forcelist:
                raise
            attempts = retry if _size(part) > before else attempts
            if not attempts.total:
                raise
            log.warning("%s: %s; trying again", url, _cause(error))
            attempts = attempts.increment("GET", url, error=error)
            attempts.sleep(None if response is None else response.raw)


def _request(url: str, part: Path, *, checked: bool) -> bool:
    """Request the rest of `part`, or the whole file; False if the rest is of another file."""
    begun = _begun(part, url, checked=checked)
    offset = _size(part) if begun else 0
    if begun and offset == begun.size:
        return True
    headers = {"Accept-Encoding": "identity"}  # a range of compressed content is other bytes
    if begun and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": begun.validator}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        if begun and response.status_code in (206, 416):
            # Some servers ignore If-Range: the answer itself must continue the file that was begun.
            rest = f"bytes {offset}-{begun.size - 1}/{begun.size}"
            same_file = _validator(response) in (None, begun.validator)
            if not same_file or response.headers.get("Content-Range") != rest:
                log.warning("%s: the server has another file now; starting over", url)
                part.unlink()
                return False
            size = begun.size
        elif response.status_code == 200:
            size, offset = _start(response, url, part, begun), 0
        else:
            reason = f"the server answers {response.status_code} ({response.reason})"
            raise requests.HTTPError(reason, response=response)
        if size is None and not checked:
            raise DownloadError(
                f"{url}: the server does not say how long the file is, so a download that was cut "
                "off could not be told from a complete one",
                "take the file from another place",
            )
        if size is not None:
            require_space(part.parent, size - offset, f"downloading {url}")
        with (
            part.open("ab") as file,
            tqdm(
                desc=part.stem, initial=offset, total=size, unit="B", unit_scale=True, disable=None
            ) as bar,
        ):
            # Not decoded: some servers label a .gz file itself as a content encoding.
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                bar.update(len(chunk))
    return True


def _start(response: requests.Response, url: str, part: Path, begun: _Source | None) -> int | None:
    """Empty `part` and write down its new source; the size of the file, if the server says it."""
    length, validator = response.headers.get("Content-Length", ""), _validator(response)
    size = int(length) if length.isdecimal() else None
    source = _Source(url, validator, size) if validator and size else None
    if begun and _size(part):
        reason = "does not resume it" if source == begun else "has another file now"
        log.warning("%s: the server %s; starting over", url, reason)
    part.write_bytes(b"")
    if source:
        write_json(_note(part), asdict(source))
    else:  # without a validator and a size nothing can be resumed
        _note(part).unlink(missing_ok=True)
    return size


def _validator(response: requests.Response) -> str | None:
    """A strong ETag, else the date; a weak ETag (`W/`) does not promise equal bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified") or None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _begun(part: Path, url: str, *, checked: bool) -> _Source | None:
    """The file that `part` is the beginning of; None if the download has to start over."""
    try:
        begun = _Source(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # a note of another form was not written here
    if begun.url == url:
        return begun
    if checked:
        return None
    raise DownloadError(
        f"{part} was begun from {begun.url}",
        f"finish it from there, or delete it to start over from {url}",
    )


def _cause(error: Exception) -> object:
    """The cause inside the exceptions that requests and urllib3 wrap around it."""
    inner = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    cause = inner.reason if isinstance(inner, MaxRetryError) else inner
    # The error of a body that breaks off is a pair: a text and the error that it describes.
    return cause.args[0] if isinstance(cause, ProtocolError) else cause
