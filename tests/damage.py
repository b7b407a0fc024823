"""What can happen to a file of the store."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from hlclip.store.item_file import item_bytes, open_item
from hlclip.store.store import FORMAT_VERSION

Random = np.random.Generator


def flipped(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    content[random.integers(len(content))] ^= int(random.integers(1, 256))
    path.write_bytes(content)


def in_the_array(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    start = json.loads(content[: content.index(b"\0")])["start"]
    content[start + random.integers(12)] ^= 1 << int(random.integers(8))
    path.write_bytes(content)


def truncated(path: Path, random: Random) -> None:
    path.write_bytes(path.read_bytes()[: random.integers(1, path.stat().st_size)])


def emptied(path: Path, random: Random) -> None:
    path.write_bytes(b"")


def longer(path: Path, random: Random) -> None:
    path.write_bytes(path.read_bytes() + random.bytes(int(random.integers(1, 5000))))


def of_another_key(path: Path, random: Random) -> None:
    others = sorted(p for p in path.parent.parent.glob("*/*.h5") if p != path and p.is_file())
    path.write_bytes(others[random.integers(len(others))].read_bytes())


def made_otherwise(path: Path, version: int, **changes: str) -> None:
    """A whole file, with its checksums, under the name of another."""
    header = {**open_item(path).header, **changes}
    path.write_bytes(item_bytes(np.ones((3, 4), np.float16), header, format_version=version))


def of_another_format(path: Path, random: Random) -> None:
    made_otherwise(path, FORMAT_VERSION + int(random.choice([-1, 1])))


def of_another_model(path: Path, random: Random) -> None:
    made_otherwise(path, FORMAT_VERSION, model="other", weights="cd" * 32)


def without_a_seal(path: Path, random: Random) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = np.ones((3, 4), np.float16)


def a_folder(path: Path, random: Random) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path, random: Random) -> None:
    target = path.parent / "elsewhere"
    if random.integers(2):
        path.rename(target)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


DAMAGES: list[Callable[[Path, Random], None]] = [
    flipped,
    in_the_array,
    truncated,
    emptied,
    longer,
    of_another_key,
    of_another_format,
    of_another_model,
    without_a_seal,
    a_link,
]
"""All but a folder, which runs leave to the user."""
