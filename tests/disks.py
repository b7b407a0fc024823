"""Small disks that can be full or read-only, and permissions that bind root, too."""

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_CAPABILITY_VERSION = 0x20080522
"""Linux's third, of 64 bits: see capset(2)."""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes at `folder`, which is made; the test skips where nobody may mount."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _succeeds("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder):
        pytest.skip("NOT TESTED: a disk's faults. A tmpfs cannot be mounted here; run as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a store may be held still


@contextmanager
def disk_with_quota(folder: Path, quota: int) -> Iterator[Path]:
    """A folder that may hold so many bytes, on a disk with more room; skips where it cannot be.

    Btrfs counts what a file refers to, root's too, and knows of freed room after `sync`.
    """
    image, disk = folder.with_suffix(".btrfs"), folder.with_suffix(".disk")
    disk.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(128 * 2**20)
    if not _succeeds("mkfs.btrfs", "-q", image) or not _succeeds(
        "mount", "-o", "loop", image, disk
    ):
        pytest.skip("NOT TESTED: a quota. It needs root, loop devices, btrfs and btrfs-progs")
    try:
        limited = disk / "limited"
        for command in (
            ("quota", "enable", disk),
            ("subvolume", "create", limited),
            ("qgroup", "limit", str(quota), limited),
        ):
            assert _succeeds("btrfs", *command), command
        folder.symlink_to(limited)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
        image.unlink()


@contextmanager
def exhausted(quota: Path) -> Iterator[None]:
    """Within, not a block more may be written below `quota`, a folder of `disk_with_quota`."""
    ballast = quota / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    yield
    ballast.unlink()
    os.sync()


def _succeeds(program: str, *arguments: str | Path) -> bool:
    """Is there such a program, and does it end well?"""
    found = shutil.which(program)
    return (
        bool(found)
        and not subprocess.run([found, *arguments], check=False, capture_output=True).returncode
    )


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
