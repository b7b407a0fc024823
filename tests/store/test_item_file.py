"""A sealed file: plain HDF5 to everybody, and not one byte of it changes unnoticed."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hlclip.store.item_file import (
    DamagedItemError,
    UnsealedError,
    item_bytes,
    open_item,
    read_checksums,
)

HEADERS: list[dict[str, str | int | float]] = [
    {"size": 4},
    # More than eight attributes: HDF5 keeps them in another structure.
    {**{f"field {n}": n / 7 for n in range(9)}, "model": "ViT-ß", "empty": ""},
]


@pytest.fixture(params=HEADERS, ids=["few fields", "many fields"])
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "item.h5"
    array = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float16)
    path.write_bytes(item_bytes(array, request.param, format_version=3))
    return path


def test_every_byte_of_the_file_is_covered(sealed: Path) -> None:
    whole = sealed.read_bytes()
    masks = np.random.default_rng(1).integers(1, 256, len(whole)).tolist()
    with sealed.open("r+b", buffering=0) as file:
        for at, mask in enumerate(masks):
            os.pwrite(file.fileno(), bytes([whole[at] ^ mask]), at)
            with pytest.raises(DamagedItemError):
                open_item(sealed, whole=True)
            os.pwrite(file.fileno(), whole[at : at + 1], at)
    open_item(sealed, whole=True)


@pytest.mark.parametrize("value", b"07.e- \t\n")
def test_no_other_spelling_of_the_seal_passes(sealed: Path, value: int) -> None:
    """No digest covers the seal itself."""
    whole = sealed.read_bytes()
    with sealed.open("r+b", buffering=0) as file:
        for at in range(whole.index(b"\0") + 2):
            os.pwrite(file.fileno(), bytes([value]), at)
            if whole[at] != value:
                with pytest.raises(DamagedItemError):
                    open_item(sealed, whole=True)
            os.pwrite(file.fileno(), whole[at : at + 1], at)


@pytest.mark.parametrize("more", [b"\0", b"x" * 4096])
def test_bytes_behind_the_end(sealed: Path, more: bytes) -> None:
    size = sealed.stat().st_size
    sealed.write_bytes(sealed.read_bytes() + more)
    with pytest.raises(DamagedItemError, match=f"has {size + len(more):,} bytes, and had {size:,}"):
        read_checksums(sealed)


def test_any_hdf5_library_reads_it(sealed: Path) -> None:
    found = open_item(sealed)
    with h5py.File(sealed) as file:
        dataset: Any = file["data"]
        array = dataset[()]
        names = set(dataset.attrs)
    assert names == {*found.header, "format_version", "digest"}
    assert (array.shape, array.dtype) == (found.shape, found.dtype)
    assert sealed.read_bytes()[found.seal.start : found.seal.stop] == array.tobytes()


def test_what_older_versions_wrote_is_known_as_such(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(UnsealedError, match="older than store format 3"):
        open_item(tmp_path / "old.h5")
