"""Checks of the machine: ffmpeg, git and DVC, the device, the store. They change nothing."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from hlclip.doctor.finding import Check, Finding
from hlclip.model import DeviceError, pick_device
from hlclip.system import HlclipError, free_bytes, in_words, nearest_folder
from hlclip.video import ffmpeg_executable


def check_ffmpeg() -> Check[None]:
    """Does ffmpeg start, and does it decode the usual codecs?"""
    try:
        executable = ffmpeg_executable()
        version = _output([executable, "-version"]).split(" Copyright")[0]
        decoders = _output([executable, "-hide_banner", "-decoders"]).split()
    except (HlclipError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        remedy = "reinstall imageio-ffmpeg (`pip install --force-reinstall imageio-ffmpeg`)"
        yield Finding("ffmpeg", "problem", f"does not run: {error}", remedy)
        return
    absent = [codec for codec in ("h264", "hevc", "vp9", "av1") if codec not in decoders]
    if absent:
        found = f"{version}; cannot decode {', '.join(absent)}: {executable}"
        yield Finding("ffmpeg", "note", found)
    else:
        yield Finding("ffmpeg", "ok", f"{version}, {executable}")


def check_repository() -> Check[None]:
    """Is this a repository of git and DVC, does it have changes, does another run lock it?"""
    try:
        changed = _output(["git", "--no-optional-locks", "status", "--porcelain"]).splitlines()
    except (OSError, subprocess.CalledProcessError):
        found = "this is no git repository, DVC's experiments need one"
        remedy = "`git init && git add --all && git commit -m start`, or work in a clone of hlclip"
        yield Finding("git", "problem", found, remedy)
        return
    if changed:
        found = f"{len(changed)} changed files; an experiment includes them"
        yield Finding("git", "note", found, names=changed)
    else:
        yield Finding("git", "ok", "nothing changed since the last commit")
    missing = [name for name in (".dvc", "dvc.yaml") if not Path(name).exists()]
    lock = Path(".dvc/tmp/rwlock")
    if missing:
        remedy = "run it in the folder that holds dvc.yaml, after `dvc init` if .dvc is missing"
        yield Finding("DVC", "problem", f"no {' and no '.join(missing)} here", remedy)
    elif lock.exists() and lock.read_text(encoding="utf-8").strip() not in ("", "{}"):
        found = "DVC is running, or it was killed and left .dvc/tmp/rwlock"
        yield Finding("DVC", "note", found, "if DVC is not running, remove that file")
    else:
        yield Finding("DVC", "ok", "no other run is active")


def check_device(name: str) -> Check[torch.device | None]:
    """Which device does `train.device` mean on this machine?"""
    try:
        device = pick_device(name)
    except DeviceError as error:
        remedy = "-S train.device=auto, or a torch build for this machine's driver"
        yield Finding("device", "problem", error.reason, remedy)
        return None
    if device.type == "cpu":
        found = f"CPU, {os.cpu_count()} cores ({platform.machine()}); no CUDA, which is slower"
        yield Finding("device", "note", found)
    else:
        facts = torch.cuda.get_device_properties(device)
        memory = in_words(facts.total_memory)
        yield Finding("device", "ok", f"{facts.name}, {memory}, CUDA {torch.version.cuda}")
    return device


def check_store(store: Path) -> Check[None]:
    """Can the store be written?"""
    existing = nearest_folder(store)
    if os.access(existing, os.W_OK):
        yield Finding("store", "ok", f"{store}, {in_words(free_bytes(store))} free")
    else:
        remedy = "make it writable, or set HLCLIP_STORE to another folder"
        yield Finding("store", "problem", f"{existing} cannot be written", remedy)


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
