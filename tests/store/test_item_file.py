"""An item file: any HDF5 library reads it, and a change of any of its bytes is found."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hlclip.store.item_file import DamagedItemError, item_bytes, open_item, read_checksums

HEADERS: list[dict[str, str | int | float]] = [
    {"size": 4},
    # More than eight attributes: HDF5 keeps them in another structure.
    {**{f"field {n}": n / 7 for n in range(9)}, "model": "ViT-ß", "empty": ""},
]


@pytest.fixture(params=HEADERS, ids=["few fields", "many fields"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "item.h5"
    array = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float16)
    path.write_bytes(item_bytes(array, request.param, format_version=3))
    return path


def test_every_byte_of_the_file_is_covered(path: Path) -> None:
    whole = path.read_bytes()
    masks = np.random.default_rng(1).integers(1, 256, len(whole)).tolist()
    with path.open("r+b", buffering=0) as file:
        for at, mask in enumerate(masks):
            os.pwrite(file.fileno(), bytes([whole[at] ^ mask]), at)
            with pytest.raises(DamagedItemError):
                open_item(path, whole=True)
            os.pwrite(file.fileno(), whole[at : at + 1], at)
    open_item(path, whole=True)


@pytest.mark.parametrize("value", b"07.e- \t\n")
def test_no_other_spelling_of_the_checksum_block_passes(path: Path, value: int) -> None:
    """No digest covers the block itself."""
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at in range(whole.index(b"\0") + 2):
            os.pwrite(file.fileno(), bytes([value]), at)
            if whole[at] != value:
                with pytest.raises(DamagedItemError):
                    open_item(path, whole=True)
            os.pwrite(file.fileno(), whole[at : at + 1], at)


@pytest.mark.parametrize("more", [b"\0", b"x" * 4096])
def test_bytes_behind_the_end(path: Path, more: bytes) -> None:
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(
        DamagedItemError, match=f"has {size + len(more):,} bytes, expected {size:,}"
    ):
        read_checksums(path)


def test_any_hdf5_library_reads_it(path: Path) -> None:
    found = open_item(path)
    places = found.checksums
    with h5py.File(path) as file:
        dataset: Any = file["data"]
        array = dataset[()]
        names = set(dataset.attrs)
    assert names == {*found.header, "format_version", "digest"}
    assert (array.shape, array.dtype) == (found.shape, found.dtype)
    assert path.read_bytes()[places.start : places.stop] == array.tobytes()


def test_plain_hdf5_is_damaged(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(DamagedItemError, match="first bytes are no checksum block"):
        open_item(tmp_path / "plain.h5")


def test_a_file_of_no_bytes_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    with pytest.raises(DamagedItemError, match="empty"):
        read_checksums(tmp_path / "empty.h5")
