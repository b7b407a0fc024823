"""Small disks that can be full or read-only, and permissions that bind root, too."""

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CAPABILITY_VERSION = 0x20080522
"""Linux's third, of 64 bits: see capset(2)."""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes at `folder`, which is made; the test skips where nobody may mount."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, check=False, capture_output=True)
    if not mounted or mounted.returncode != 0:
        pytest.skip("NOT TESTED: a disk's faults. A tmpfs cannot be mounted here; run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a store may be held still


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def make_writable(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Fill the disk but for `leave` bytes; returns what to delete to make room."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free - leave
    ballast.write_bytes(b"\0" * (free - free % 4096))
    return ballast


def be_bound_by_permissions() -> None:
    """Give up for good, in this process, what root may do and others may not."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), "capset")
