"""safetensors files with facts and a digest: the checkpoint and the scores.

The facts are JSON in the metadata entry `hlclip`; any safetensors reader opens the arrays. The
format has no checksum, and a flipped bit would be another weight, so the facts hold a digest of
everything else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
from numpy.typing import NDArray
from safetensors.numpy import load, save

from hlclip.system import write_whole

KEY = "hlclip"
"""The metadata entry. Only one: safetensors writes several in an order that changes by run."""


class DamagedFileError(ValueError):
    """The content is not what was written; the message is the reason alone."""


class ForeignFileError(DamagedFileError):
    """A safetensors file of another program."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays and facts, whole or not at all: same content, same bytes.

    Args:
        arrays: name -> contiguous array.
        facts: JSON.
    """

    def content(facts: Mapping[str, Any]) -> bytes:
        return save(dict(arrays), {KEY: json.dumps(facts, sort_keys=True)})

    _, digest = _parse(content(facts))
    write_whole(path, content({**facts, "digest": digest}))


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a file all of whose bytes are checked.

    Raises:
        DamagedFileError, ForeignFileError: it is not what `write_arrays` wrote.
        OSError: the file cannot be read.
    """
    return _checked(path.read_bytes())


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The facts, and the arrays by name.

    Raises:
        DamagedFileError, ForeignFileError, OSError: as `read_facts`.
    """
    content = path.read_bytes()
    return _checked(content), load(content)


def _checked(content: bytes) -> dict[str, Any]:
    try:
        facts, digest = _parse(content)
        written = facts.pop("digest", None)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(f"not a whole safetensors file: {error}") from error
    if written != digest:
        raise DamagedFileError("its bytes do not match its digest")
    return facts


def _parse(content: bytes) -> tuple[dict[str, Any], str]:
    """The facts, and the digest of the whole file except their own `digest`."""
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    written = (header.pop("__metadata__", None) or {}).get(KEY)
    if written is None:
        raise ForeignFileError(f"no metadata entry {KEY!r}")
    facts = json.loads(written)
    # The same JSON can be spelled in several ways, and is padded: only one spelling is whole.
    spelled = json.dumps(facts, sort_keys=True)
    if written != spelled or not content[8:stop].rstrip(b" ").endswith(b"}"):
        raise DamagedFileError("its header is spelled differently")
    others = {name: fact for name, fact in facts.items() if name != "digest"}
    hashed = xxhash.xxh3_128(json.dumps([header, others], sort_keys=True).encode())
    hashed.update(content[stop:])
    return facts, hashed.hexdigest()
