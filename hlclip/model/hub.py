"""Files of the Hugging Face hub, read from its cache or else downloaded whole.

A file in the cache is used without asking the network, so weights never change between two runs;
delete it to download it again. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` have the
meaning that the hub's own client gives them. Every failure is a `WeightsError`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from hlclip.model.borrowed import HF_SAFE_WEIGHTS_NAME
from hlclip.model.weight_files import WeightsError, short_reason

CONFIG_NAME = "open_clip_config.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the hub; the first of `names` that exists is used."""

    repo: str
    """ORG/NAME"""
    names: tuple[str, ...]
    setting: Literal["encoder.model", "encoder.pretrained"]
    """The parameter that can name a local copy: of the model's folder, or of this file."""
    revision: str = constants.DEFAULT_REVISION

    def url(self, name: str) -> str:
        """Address of the file under one of its names."""
        return hf_hub_url(self.repo, name, revision=self.revision)


def cached(file: HubFile) -> Path | None:
    """Path of the file in the hub's cache, or None."""
    for name in file.names:
        path = try_to_load_from_cache(file.repo, name, revision=file.revision)
        if isinstance(path, str):
            return Path(path)
    return None


def fetch(file: HubFile) -> Path:
    """Path of the file in the hub's cache, downloaded whole if it is not there."""
    if path := cached(file):
        return path
    # One request first: the client's own download retries for half a minute before it fails.
    name, _ = find_on_hub(file, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    log.info("fetching %s from %s", name, file.url(name))
    try:
        return Path(hf_hub_download(file.repo, name, revision=file.revision))
    except (httpx2.HTTPError, OSError) as error:  # the hub's own errors are one or the other
        raise _fetch_error(file, name, error) from error


def find_on_hub(file: HubFile, *, timeout: float) -> tuple[str, int | None]:
    """Name and bytes of a file on the hub, by one request a name of at most `timeout` seconds."""
    for name in file.names:
        try:
            return name, get_hf_file_metadata(file.url(name), timeout=timeout).size
        except EntryNotFoundError:
            continue
        except (httpx2.HTTPError, OSError) as error:
            raise _fetch_error(file, name, error) from error
    reason = f"{constants.ENDPOINT}/{file.repo}: has no {' or '.join(file.names)}"
    raise _with_remedy(reason, file, file.names[0])


def _fetch_error(file: HubFile, name: str, error: Exception) -> WeightsError:
    host = urlsplit(constants.ENDPOINT).netloc
    match error:
        case OfflineModeIsEnabled():
            reason = "it is not in the cache, and HF_HUB_OFFLINE forbids to ask"
        case GatedRepoError():
            reason = "its terms must be accepted on its page first, then `hf auth login`"
        case RepositoryNotFoundError():
            reason = f"{host} has no such repository, or it is private (`hf auth login`)"
        case HfHubHTTPError():
            reason = f"{host} answers {error.response.status_code} {error.response.reason_phrase}"
        case httpx2.TimeoutException():
            reason = f"{host} does not answer in time"
        case httpx2.TransportError():
            reason = f"the connection to {host} failed ({short_reason(error)})"
        case _:
            reason = short_reason(error)
    return _with_remedy(f"{file.url(name)}: cannot be fetched: {reason}", file, name)


def _with_remedy(reason: str, file: HubFile, name: str) -> WeightsError:
    if file.setting == "encoder.pretrained":
        source, value = file.url(name), f"/path/to/{name}"
    else:
        page = f"{constants.ENDPOINT}/{file.repo}/tree/{file.revision}"
        source = f"{CONFIG_NAME} and {HF_SAFE_WEIGHTS_NAME} of {page} into a folder"
        value = "local-dir:/path/to/folder"
    remedy = f"on a machine that can, download {source}, copy it here and run with"
    return WeightsError(reason, remedy, settings={file.setting: value})
