"""What a run needs of the machine: ffmpeg, git and DVC, a device, room in the store. Only looks."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from hlclip.doctor.finding import Finding, note, ok, problem
from hlclip.model import DeviceError, pick_device
from hlclip.system import HlclipError, free_bytes, in_words, nearest_folder
from hlclip.video import ffmpeg_executable


def check_ffmpeg() -> Finding:
    """Run ffmpeg: does it start, and does it decode what videos are made of."""
    try:
        executable = ffmpeg_executable()
        version = _said([executable, "-version"]).split(" Copyright")[0]
        decoders = _said([executable, "-hide_banner", "-decoders"]).split()
    except (HlclipError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        remedy = "reinstall imageio-ffmpeg (`pip install --force-reinstall imageio-ffmpeg`)"
        return problem("ffmpeg", f"does not run: {error}", remedy)
    absent = [codec for codec in ("h264", "hevc", "vp9", "av1") if codec not in decoders]
    if absent:
        return note("ffmpeg", f"{version}; cannot decode {', '.join(absent)}: {executable}")
    return ok("ffmpeg", f"{version}, {executable}")


def check_repository() -> list[Finding]:
    """git and DVC: is this a repository of both, are there changes, does another run hold locks."""
    findings = []
    try:
        changed = _said(["git", "--no-optional-locks", "status", "--porcelain"]).splitlines()
    except (OSError, subprocess.CalledProcessError):
        remedy = "`git init && git add --all && git commit -m start`, or work in a clone of hlclip"
        return [problem("git", "this is no git repository, DVC's experiments need one", remedy)]
    if changed:
        found = f"{len(changed)} changed files; an experiment takes them along"
        findings.append(note("git", found, names=changed))
    else:
        findings.append(ok("git", "nothing changed since the last commit"))
    missing = [name for name in (".dvc", "dvc.yaml") if not Path(name).exists()]
    if missing:
        remedy = "run it in the folder that holds dvc.yaml, after `dvc init` if .dvc is missing"
        return [*findings, problem("DVC", f"no {' and no '.join(missing)} here", remedy)]
    lock = Path(".dvc/tmp/rwlock")
    if lock.exists() and lock.read_text(encoding="utf-8").strip() not in ("", "{}"):
        found = "a run of DVC is under way, or one was killed and left .dvc/tmp/rwlock"
        findings.append(note("DVC", found, "if none is under way, remove that file"))
    else:
        findings.append(ok("DVC", "no other run is under way"))
    return findings


def check_device(name: str) -> tuple[Finding, torch.device | None]:
    """The device that `train.device` means here."""
    try:
        device = pick_device(name)
    except DeviceError as error:
        remedy = "-S train.device=auto, or a torch build for this machine's driver"
        return problem("device", str(error), remedy), None
    if device.type == "cpu":
        found = f"CPU, {os.cpu_count()} cores ({platform.machine()}); no CUDA: fine, and slower"
        return note("device", found), device
    facts = torch.cuda.get_device_properties(device)
    memory = in_words(facts.total_memory)
    return ok("device", f"{facts.name}, {memory}, CUDA {torch.version.cuda}"), device


def check_store(store: Path) -> Finding:
    """Can the store be written where it is to be."""
    existing = nearest_folder(store)
    if not os.access(existing, os.W_OK):
        remedy = "make it writable, or set HLCLIP_STORE to another folder"
        return problem("store", f"{existing} cannot be written", remedy)
    return ok("store", f"{store}, {in_words(free_bytes(store))} free")


def held_bytes(folder: Path) -> int:
    """Size of all items below a folder of the store."""
    return sum(path.stat().st_size for path in folder.glob("*/*.h5"))


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
