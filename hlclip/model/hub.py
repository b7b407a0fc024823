"""Files of the Hugging Face hub: from its cache without the network, else fetched whole.

What is in the cache is used as it is, so weights never change between two runs; delete it to fetch
anew. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` mean what they do to the hub's client.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
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

from hlclip.model.weight_files import WeightsError, first_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the hub, under the first of its names that is there."""

    repo: str
    """ORG/NAME"""
    names: tuple[str, ...]
    remedy: str
    """What to do when the hub does not give it; `{url}` and `{page}` are filled in."""
    setting: tuple[str, str]
    """The parameter that the remedy sets, and its value; `{name}` is filled in."""
    revision: str = constants.DEFAULT_REVISION


def cached(file: HubFile) -> Path | None:
    """Path of the file in the hub's cache, None where it is not."""
    for name in file.names:
        path = try_to_load_from_cache(file.repo, name, revision=file.revision)
        if isinstance(path, str):
            return Path(path)
    return None


def in_cache(path: Path) -> bool:
    """Whether a file lies in the hub's cache."""
    return path.resolve().is_relative_to(Path(constants.HF_HUB_CACHE).resolve())


def fetch(file: HubFile) -> Path:
    """Path of the file in the hub's cache, downloaded if need be: whole, or not there at all.

    Raises:
        WeightsError: the hub is out of reach, refuses, or sends half a file.
    """
    path = cached(file)
    if path is not None:
        return path
    # Asked before, once: the client's own download tries for half a minute before it gives up.
    name, _ = ask(file, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    log.info("fetching %s from %s", name, url(file, name))
    try:
        return Path(hf_hub_download(file.repo, name, revision=file.revision))
    except (httpx2.HTTPError, OSError) as error:  # the hub's own errors are one or the other
        raise _not_fetched(file, name, error) from error


def ask(file: HubFile, *, timeout: float) -> tuple[str, int | None]:
    """Name and bytes of a file on the hub; one request where it has the first name, no retry.

    Args:
        timeout: seconds to wait for an answer.

    Raises:
        WeightsError: the hub is out of reach, refuses, or has no such file.
    """
    for name in file.names:
        try:
            return name, get_hf_file_metadata(url(file, name), timeout=timeout).size
        except EntryNotFoundError:
            continue
        except (httpx2.HTTPError, OSError) as error:
            raise _not_fetched(file, name, error) from error
    name = file.names[0]
    raise _refused(
        file, name, f"{constants.ENDPOINT}/{file.repo}: has no {' or '.join(file.names)}"
    )


def url(file: HubFile, name: str) -> str:
    """Address of the file under one of its names."""
    return hf_hub_url(file.repo, name, revision=file.revision)


def _not_fetched(file: HubFile, name: str, error: Exception) -> WeightsError:
    return _refused(file, name, f"{url(file, name)}: cannot be fetched: {_reason(error)}")


def _refused(file: HubFile, name: str, reason: str) -> WeightsError:
    page = f"{constants.ENDPOINT}/{file.repo}/tree/{file.revision}"
    remedy = file.remedy.format(url=url(file, name), page=page)
    key, value = file.setting
    return WeightsError(reason, remedy, settings={key: value.format(name=name)})


def _reason(error: Exception) -> str:
    """Why the hub gave nothing, in one line."""
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
            reason = f"the connection to {host} failed ({first_line(error)})"
        case _:
            reason = first_line(error)
    return reason
