"""safetensors files with facts and a digest: the checkpoint and the scores.

The facts are JSON in the metadata entry `hlclip`; any safetensors reader opens the arrays. The
format has no checksum, so that a flipped bit would go unnoticed; the facts therefore hold a digest
of everything else.
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
    """The content is not what `write_arrays` wrote; the message is the reason alone."""


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


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The facts, and the arrays by name.

    Raises:
        DamagedFileError: it is not what `write_arrays` wrote.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    return check_facts(content), load(content)


def check_facts(content: bytes) -> dict[str, Any]:
    """The facts of a file, after its digest is compared with all its bytes.

    Raises:
        DamagedFileError: it is not what `write_arrays` wrote.
    """
    try:
        facts, digest = _parse(content)
        written = facts.pop("digest", None)
    except DamagedFileError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"not a whole safetensors file: {error}") from error
    if written != digest:
        raise DamagedFileError("its bytes do not match its digest")
    return facts


def _parse(content: bytes) -> tuple[dict[str, Any], str]:
    """The facts, and the digest of the whole file except their own `digest`."""
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    text = (header.pop("__metadata__", None) or {}).get(KEY)
    if text is None:
        raise DamagedFileError(f"no metadata entry {KEY!r}")
    facts = json.loads(text)
    # JSON has several spellings of the same content, and is padded: one spelling alone is valid.
    if text != json.dumps(facts, sort_keys=True) or not content[8:stop].rstrip(b" ").endswith(b"}"):
        raise DamagedFileError("its header is spelled differently")
    others = {name: fact for name, fact in facts.items() if name != "digest"}
    hashed = xxhash.xxh3_128(json.dumps([header, others], sort_keys=True).encode())
    hashed.update(content[stop:])
    return facts, hashed.hexdigest()
