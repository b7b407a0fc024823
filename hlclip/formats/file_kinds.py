"""What a file is that should be JSONL, one JSON object a line, and is not."""

import json
from contextlib import suppress
from pathlib import Path

_STARTS = {
    b"\x1f\x8b": ("compressed with gzip", "unpack it (`gunzip`)"),
    b"BZh": ("compressed with bzip2", "unpack it (`bunzip2`)"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it (`unxz`)"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "unpack it (`unzstd`)"),
    b"PK\x03\x04": ("a zip archive", "unpack it and name the file in it"),
    b"\xff\xfe": ("text in UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "save it as UTF-8"),
    b"version https://git-lfs": ("a pointer of Git LFS", "run `git lfs pull` where it lies"),
    b"<": ("HTML or XML", "download the file itself"),
}
"""First bytes of a file -> what it is, and what to do."""


def other_kind(path: Path, content: bytes) -> tuple[str, str] | None:
    """What the file is instead of JSONL, and what to do; None if that cannot be told."""
    for start, kind in _STARTS.items():
        if content.startswith(start):
            return kind
    if b"\0" in content[:4096]:
        return "no text", "name a JSONL file"
    with suppress(ValueError, RecursionError):  # no JSON, or no UTF-8
        text = content.decode().strip()
        document, end = json.JSONDecoder().raw_decode(text)
        if end == len(text) and _is_rows(document):
            return "one JSON list", f"write an entry a line: `jq -c '.[]' {path} > rows.jsonl`"
        if isinstance(document, dict) and "\n" in text[:end]:
            return (
                "JSON with an object over several lines",
                f"write an object a line: `jq -c . {path} > rows.jsonl`",
            )
    return None


def _is_rows(document: object) -> bool:
    return isinstance(document, list) and all(isinstance(entry, dict) for entry in document)
