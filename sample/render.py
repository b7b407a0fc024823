"""Render the sample's data set: videos and annotations in the QVHighlights layout.

    python -m sample.render              under a minute on two cores; writes sample/data

The same bytes at every run, with any number of workers and on every x86-64 processor: the films are
encoded by the pinned ffmpeg, not by the one on PATH.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import imageio_ffmpeg
from tqdm import tqdm

from hlclip.system import replacing
from sample.films import FPS, Film, annotate, draw_film, plan_film
from sample.picture import HEIGHT, WIDTH

VIDEOS = {"train": 200, "val": 100, "test": 100}
SEED = 6
"""Drawn again after the world was settled: no choice was made by looking at these films."""
LONG_SECONDS = 150
"""Duration of every split's first film, as in QVHighlights; the others last 60 to 150 s."""
X264_PARAMS = "cpu-independent=1"
"""Without it x264 chooses its algorithms by the processor, and the bytes with them."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the sample's videos and annotations.")
    parser.add_argument("--out", type=Path, default=Path("sample/data"))
    render(parser.parse_args().out, VIDEOS)


def render(out: Path, videos: Mapping[str, int], *, workers: int | None = None) -> None:
    """Render `videos` films of each split into `out`, replacing annotations last.

    Args:
        out: folder that gets `annotations/<split>.jsonl` and `videos/<vid>.mp4`.
        videos: split -> number of films.
        workers: processes; the number of cores by default. The bytes do not depend on it.
    """
    films = {
        split: [
            plan_film(
                f"{split}_{n:04d}", (SEED, position, n), seconds=LONG_SECONDS if n == 0 else None
            )
            for n in range(count)
        ]
        for position, (split, count) in enumerate(videos.items())
    }
    everything = [film for part in films.values() for film in part]
    (out / "videos").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        done = pool.map(partial(encode, folder=out / "videos"), everything)
        list(tqdm(done, total=len(everything), desc="render", unit="video", disable=None))
    qid = 0
    for split, part in films.items():
        with replacing(out / "annotations" / f"{split}.jsonl") as temporary:
            rows = [annotate(film, qid + n) for n, film in enumerate(part)]
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
        qid += len(part)


def encode(film: Film, folder: Path) -> None:
    """Encode a film as H.264: the same film gives the same bytes."""
    with replacing(folder / f"{film.vid}.mp4") as temporary:
        pixels = b"".join(frame.tobytes() for frame in draw_film(film))
        subprocess.run(encoder_command(temporary), input=pixels, check=True)


def encoder_command(out: Path, *, x264_params: str = X264_PARAMS) -> list[str]:
    """Command of the pinned ffmpeg; its stdin is uint8 [frames, height, width, RGB]."""
    return [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS)),
        *("-i", "pipe:0", "-c:v", "libx264", "-preset", "veryfast", "-crf", "30"),
        *("-pix_fmt", "yuv420p", "-threads", "1", "-x264-params", x264_params),
        # No version and no time of day in the file.
        *("-flags", "+bitexact", "-fflags", "+bitexact"),
        *("-f", "mp4", str(out)),
    ]


if __name__ == "__main__":
    main()
