"""A folder in object storage, through obstore: listed, read and written, its errors explained.

The library finds credentials, region and server in the variables that Amazon's tools read (AWS_*),
or asks Amazon's machines for them. It signs the digest of every part that it sends, so a server
refuses a part that was damaged on its way.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tqdm.contrib.concurrent import thread_map

from hlclip.maintenance.items import TransferError
from hlclip.system import make_folder, system_remedy

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

RETRIES = 8
"""Of a request, after pauses that double from 0.1 s: some 20 s without an answer."""
PART = 8 << 20
"""Bytes of a request; a larger file is sent as parts, and appears when all of them have arrived."""
_TIMEOUT = timedelta(minutes=10)
"""Of a request: sixteen parts at once need 2 Mbit/s."""
_LISTS = 16
"""Requests for lists at the same time."""

_KEYS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for temporary credentials AWS_SESSION_TOKEN, "
    "too; the profiles of ~/.aws are not read: "
    '`eval "$(aws configure export-credentials --format env)"` makes variables of them'
)
_PROBLEMS = (
    (
        r"http://169\.254\.|/latest/(api/token|meta-data)",
        "no credentials are set, and this machine has none of its own",
        f"{_KEYS}; AWS_SKIP_SIGNATURE=true reads a public bucket without any",
    ),
    (
        "NoSuchBucket",
        "there is no such bucket",
        "create it or correct the URL; for a server other than Amazon's set AWS_ENDPOINT_URL",
    ),
    (
        "InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|InvalidClientTokenId",
        "the server refuses the credentials",
        _KEYS,
    ),
    (
        "AccessDenied|401 Unauthorized|403 Forbidden",
        "the credentials lack a right",
        "give them s3:ListBucket and s3:GetObject, to push also s3:PutObject, on this bucket",
    ),
    (
        "PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocation|301 Moved|redirect",
        "the bucket is in another region",
        "set AWS_REGION to the region of the bucket",
    ),
    ("Unable to canonicalize", "there is no such folder", "name a folder that is there"),
    (
        "error sending request|HTTP error|timed out",
        "the server does not answer",
        "check the network and AWS_ENDPOINT_URL, then run again: what is copied is kept",
    ),
)
"""Text of an error of the library -> what happened and what to do; the first that fits."""


class Bucket:
    """The folder `url` in object storage; a name is a path below it.

    Args:
        url: `s3://bucket/folder`, or `file:///folder` for a disk.
        make: make the folder of a `file://` URL if it does not exist.

    Raises:
        TransferError: the URL is not one of these, or obstore is not installed.
    """

    def __init__(self, url: str, *, make: bool = False) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # such as a bracket that no other closes
            parts = urlsplit("")
        local = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if not (local or (parts.scheme == "s3" and parts.netloc)) or parts.query or parts.fragment:
            raise TransferError(
                f"{url}: expected s3://BUCKET or s3://BUCKET/FOLDER, or file:///FOLDER",
                "for a server other than Amazon's, set AWS_ENDPOINT_URL to its address",
            )
        if find_spec("obstore") is None:
            raise TransferError(f"{url}: needs obstore", "pip install 'hlclip[s3]'")
        self.url = url.rstrip("/")
        self._store = self._open(local, make)

    def _open(self, local: bool, make: bool) -> "ObjectStore":
        from obstore.store import LocalStore, S3Store  # noqa: PLC0415 (the extra `s3`)

        if local:
            if make:
                make_folder(Path(unquote(urlsplit(self.url).path)))
            with self._explaining():
                return LocalStore.from_url(f"{self.url}/")
        # Options given here replace those of the environment, so this one is read here, too.
        http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
            address = os.environ.get(name, "")
            if address and not re.match("https?://." if http else "https://.", address):
                raise TransferError(
                    f"{self.url}: {name} is {address!r}, expected https://HOST",
                    "set AWS_ALLOW_HTTP=true for http://HOST if the network up to it is safe",
                )
        retries: RetryConfig = {"max_retries": RETRIES, "retry_timeout": timedelta(minutes=2)}
        options: ClientConfig = {"timeout": _TIMEOUT, "allow_http": http}
        with self._explaining():
            return S3Store.from_url(self.url, retry_config=retries, client_options=options)

    def sizes(self, kinds: tuple[str, ...], folders: set[str] | None = None) -> dict[str, int]:
        """Names and bytes of all objects in the folders `kind/ab`.

        Args:
            folders: only in these.
        """
        with self._explaining():
            found = [
                folder.rstrip("/")
                for kind in kinds
                for folder in self._store.list_with_delimiter(kind)["common_prefixes"]
            ]
        wanted = [folder for folder in found if folders is None or folder in folders]
        lists = thread_map(
            self._list, wanted, desc="list", unit="folder", disable=None, max_workers=_LISTS
        )
        return {name: size for objects in lists for name, size in objects}

    def put(self, name: str, path: Path) -> None:
        """Upload a file; an object of this name is replaced as a whole."""
        with path.open("rb") as file, self._explaining(name):
            self._store.put(name, file, chunk_size=PART, max_concurrency=2)

    def get(self, name: str, size: int, path: Path) -> None:
        """Download an object of `size` bytes to `path`.

        Raises:
            FileNotFoundError: it is not there any more.
        """
        with path.open("wb") as file:
            for start in range(0, size, PART):
                with self._explaining(name):
                    piece = self._store.get_range(name, start=start, end=min(start + PART, size))
                file.write(piece)

    def _list(self, folder: str) -> list[tuple[str, int]]:
        with self._explaining(folder):
            objects = self._store.list(folder, chunk_size=1000).collect()
        return [(each["path"], each["size"]) for each in objects]

    @contextmanager
    def _explaining(self, name: str = "") -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415 (the extra `s3`)

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            where = f"{self.url}/{name}".rstrip("/")
            # A dump of Rust's structures follows.
            text = str(error).partition("\n\nDebug source")[0]
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text:
                raise FileNotFoundError(errno.ENOENT, "there is no such object", where) from error
            raise _explained(where, text) from error


def _explained(where: str, text: str) -> TransferError:
    """The error of a request, from the library's text, in which the server's XML may stand."""
    answer = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL)
    said = " ".join(answer[2].split()) if answer else text.partition("<")[0].strip(" :")
    if number := re.search(r"\(os error (\d+)\)", text):
        return TransferError(f"{where}: {said}", system_remedy(int(number[1])))
    for pattern, what, remedy in _PROBLEMS:
        if re.search(pattern, text):
            return TransferError(f"{where}: {what} ({said})", remedy)
    return TransferError(f"{where}: {said}", "correct that, then run again: what is copied is kept")
