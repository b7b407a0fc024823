"""Frames of many H.264 videos against the field's convention, one ffmpeg after another."""

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ffmpeg
import numpy as np

from bench.pairs import Pair, cpu_seconds
from hlclip.video import Decoder, extract_frames, ffmpeg_executable, frames_header

SIZE, SECONDS, VIDEOS = 224, 150, 4
HEADER = frames_header(size=SIZE, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
PICTURES = {"360p": ("640x360", "600k"), "720p": ("1280x720", "2M"), "1080p": ("1920x1080", "4M")}
"""Size, and a rate of bits as on video platforms."""
TARGETS: dict[Decoder, float] = {"ffmpeg": 1.4, "pyav": 2.4}


def cases(folder: Path) -> Iterator[Pair]:
    for name, (size, rate) in PICTURES.items():
        videos = draw(folder / "videos", name, size, rate)
        for decoder, least in TARGETS.items():
            ours = our_way(videos, decoder)
            for found, expected in zip(ours(), convention(videos)(), strict=True):
                np.testing.assert_array_equal(found, expected)
            yield Pair(
                f"frames of {VIDEOS} videos of {SECONDS} s, {name}, decoder: {decoder}",
                "ffmpeg-python, fps, scale, crop, one after another",
                ours,
                convention(videos),
                least_ratio=least,
                rounds=3,
            )
        yield Pair(
            f"CPU time of the same, {name}, decoder: pyav",
            "decoding alone: ffmpeg -f null",
            our_way(videos, "pyav"),
            lambda videos=videos: [decode(video) for video in videos],
            least_ratio=1.0,
            rounds=3,
            timer=cpu_seconds,
        )


def draw(folder: Path, name: str, size: str, rate: str) -> list[Path]:
    """One drawn video, under several names: a moving pattern with noise, B-pyramid, GOPs of 5 s."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / f"{name}-0.mp4"
    if not first.exists():
        half = folder / f".{name}.mp4"
        picture = f"testsrc2=s={size}:r=30:d={SECONDS},noise=alls=6:allf=t:all_seed=1"
        options = ("-c:v", "libx264", "-preset", "veryfast", "-b:v", rate, "-bf", "3", "-g", "150")
        command = [ffmpeg_executable(), "-y", "-nostdin", "-loglevel", "error"]
        command += ["-f", "lavfi", "-i", picture, *options, "-pix_fmt", "yuv420p", str(half)]
        subprocess.run(command, check=True)
        half.rename(first)
    videos = [folder / f"{name}-{number}.mp4" for number in range(VIDEOS)]
    for video in videos[1:]:
        if not video.exists():
            os.link(first, video)
    return videos


def our_way(videos: list[Path], decoder: Decoder) -> Callable[[], list[np.ndarray]]:
    """As the `frames` stage does it."""

    def extract() -> list[np.ndarray]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda video: extract_frames(video, HEADER, decoder), videos))

    return extract


def convention(videos: list[Path]) -> Callable[[], list[np.ndarray]]:
    """As the field's feature extractors do it, with ffmpeg's own choice of threads."""

    def one(video: Path) -> np.ndarray:
        picture = (
            ffmpeg.input(str(video))
            .filter("fps", fps=0.5)
            .filter("scale", f"if(lt(iw,ih),{SIZE},-1)", f"if(lt(iw,ih),-1,{SIZE})")
            .filter("crop", SIZE, SIZE)
            .output("pipe:", format="rawvideo", pix_fmt="rgb24")
        )
        pixels, _ = picture.run(cmd=ffmpeg_executable(), capture_stdout=True, quiet=True)
        return np.frombuffer(pixels, np.uint8).reshape(-1, SIZE, SIZE, 3)

    return lambda: [one(video) for video in videos]


def decode(video: Path) -> None:
    command = [ffmpeg_executable(), "-nostdin", "-loglevel", "error", "-threads", "1"]
    subprocess.run([*command, "-i", str(video), "-map", "0:v", "-f", "null", "-"], check=True)
