"""The pipeline at QVHighlights' full shape, without its videos and without OpenAI's weights.

All released rows are indexed, encoded as text and evaluated; a few hundred of the videos are
stood in for by drawn ones of the annotated durations; the weights are random, of ViT-B/32's shape.
What that costs is measured stage by stage and extrapolated to the whole data set:

    python -m bench.rehearsal ANNOTATIONS FOLDER --videos 300

ANNOTATIONS holds the released files; FOLDER (some GB) is made, and a second run goes on in it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import ffmpeg
import typer
from ruamel.yaml import YAML
from tabulate import tabulate
from tqdm import tqdm

from hlclip.datasets import ANNOTATIONS, identify_release
from hlclip.formats import Annotation, read_annotations
from hlclip.system import replacing, write_json
from hlclip.video import ffmpeg_executable

ROOT = Path(__file__).parents[1]
MODEL = "ViT-B-32-quickgelu"

GROWS_WITH: dict[str, str] = {
    "index": "videos",
    "frames": "videos",
    "activations: images": "videos",
    "activations: texts": "nothing",
    "train": "train rows",
    "score": "scored rows",
    "evaluate": "nothing",
}
"""What a stage's cost is proportional to; texts and evaluate meet all rows in any case."""

STAGES = ("index", "frames", "activations", "train", "score", "evaluate")


@dataclass(frozen=True)
class Cost:
    """What one stage took, DVC included."""

    stage: str
    wall_seconds: float
    cpu_seconds: float
    """Of all processes and threads: the figure that other work on the machine changes least."""
    peak_rss: int
    """Bytes, of the largest process."""
    store_bytes: int
    """What the store grew by."""


def main(
    annotations: Annotated[Path, typer.Argument(help="Folder of the released annotation files.")],
    folder: Annotated[Path, typer.Argument(help="Where everything is made.")],
    videos: Annotated[int, typer.Option(help="Videos that are drawn, out of 10,148.")] = 300,
    epochs: Annotated[int, typer.Option(help="Epochs of training.")] = 1,
) -> None:
    """Run the pipeline at QVHighlights' shape and report what each stage costs."""
    rows = {r.split: read_annotations(annotations / r.name) for r in ANNOTATIONS}
    unknown = [r.name for r in ANNOTATIONS if identify_release(annotations / r.name) is None]
    if unknown:
        sys.exit(f"{annotations}: {', '.join(unknown)}: not the released files")
    data = folder.absolute() / "data"
    drawn = choose(rows, videos)
    draw_all(drawn, data / "videos")
    (data / "annotations").mkdir(exist_ok=True)
    for release in ANNOTATIONS:
        shutil.copy(annotations / release.name, data / "annotations")
    weights = folder.absolute() / "weights.safetensors"
    if not weights.exists():
        # In a process of its own: the largest memory of a parent counts as that of its children.
        maker = get_context("spawn").Process(target=random_weights, args=(weights,))
        maker.start()
        maker.join()
    project = prepare(folder.absolute() / "project", data, weights, epochs)
    costs = [cost for stage in STAGES for cost in run_stage(project, stage)]
    report = summary(costs, rows, drawn)
    write_json(folder / "rehearsal.json", {"costs": [asdict(c) for c in costs], **report})
    typer.echo(as_table(costs, report))
    run(project, [str(Path(sys.executable).with_name("hlclip")), "table"])


def choose(rows: dict[str, list[Annotation]], count: int) -> dict[str, float]:
    """vid -> seconds for `count` videos: the splits in proportion, spread by a hash of the name."""
    every = {row.vid: row.duration for part in rows.values() for row in part}
    order = sorted(every, key=lambda vid: hashlib.sha256(vid.encode()).hexdigest())
    return {vid: every[vid] for vid in order[:count]}


def draw_all(durations: dict[str, float], folder: Path) -> None:
    """Draw the videos that are not there yet: H.264, 320 x 180, a key frame every two seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        drawn = pool.map(lambda item: draw(folder / f"{item[0]}.mp4", item[1]), durations.items())
        for _ in tqdm(drawn, total=len(durations), desc="drawing", unit="video", disable=None):
            pass


def draw(path: Path, seconds: float) -> None:
    """Draw one video; its colours depend on its name, so that no two are alike.

    The store knows videos by their content: two that are alike would be decoded once.
    """
    if path.exists():
        return
    hue, saturation = colours(path.stem)
    source = ffmpeg.input(f"testsrc2=size=320x180:rate=5:duration={seconds}", format="lavfi")
    with replacing(path) as temporary:
        (
            source.filter("hue", h=hue, s=saturation)
            .output(str(temporary), vcodec="libx264", preset="ultrafast", g=10, format="mp4")
            .overwrite_output()
            .run(cmd=ffmpeg_executable(), quiet=True)
        )


def colours(vid: str) -> tuple[float, float]:
    """Hue in degrees and saturation, 0.5 to 1.5: different for any two names."""
    digest = hashlib.sha256(vid.encode()).digest()
    hue, saturation = (int.from_bytes(digest[i : i + 3], "big") / 2**24 for i in (0, 3))
    return 360 * hue, 0.5 + saturation


def random_weights(path: Path) -> None:
    """Random weights of ViT-B/32's shape, as a checkpoint of OpenAI's would lie on disk."""
    import open_clip  # noqa: PLC0415 (seconds, and only once)
    import torch  # noqa: PLC0415 (seconds, and only once)
    from safetensors.torch import save_file  # noqa: PLC0415 (imports torch)

    torch.manual_seed(0)
    with replacing(path) as temporary:
        save_file(open_clip.create_model(MODEL).state_dict(), temporary)


def prepare(project: Path, data: Path, weights: Path, epochs: int) -> Path:
    """A clone of this repository with the preset's parameters, but for data and weights."""
    if not project.exists():
        run(ROOT, ["git", "clone", "--quiet", str(ROOT), str(project)])
    yaml = YAML()
    params = yaml.load(ROOT / "presets" / "qvhighlights.yaml")
    params["data"] |= {"root": str(data), "max_missing": 1.0}
    params["encoder"]["pretrained"] = str(weights)
    params["train"]["epochs"] = epochs
    yaml.dump(params, project / "params.yaml")
    return project


def run_stage(project: Path, stage: str) -> list[Cost]:
    """`dvc repro` of one stage, with what it and its children used."""
    store = project / ".hlclip" / "store"
    before = size(store)
    began, start = time.time(), time.perf_counter()
    command = ["dvc", "repro", "--single-item", stage]
    process = subprocess.Popen(command, cwd=project, env=environment(project))
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{stage} failed")
    cost = Cost(
        stage=stage,
        wall_seconds=time.perf_counter() - start,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_rss=used.ru_maxrss * 1024,
        store_bytes=size(store) - before,
    )
    return by_tower(cost, store, began) if stage == "activations" else [cost]


def by_tower(cost: Cost, store: Path, began: float) -> list[Cost]:
    """Images come first, texts after the last image file was written."""
    last_image = max(path.stat().st_mtime for path in (store / "images").rglob("*.h5"))
    share = min(1.0, max(0.0, (last_image - began) / cost.wall_seconds))
    parts = {"images": share, "texts": 1 - share}
    return [
        replace(
            cost,
            stage=f"activations: {tower}",
            wall_seconds=cost.wall_seconds * part,
            cpu_seconds=cost.cpu_seconds * part,
            store_bytes=size(store / tower),
        )
        for tower, part in parts.items()
    ]


def summary(
    costs: list[Cost], rows: dict[str, list[Annotation]], drawn: dict[str, float]
) -> dict[str, Any]:
    """How much more the whole data set is, and what each stage would take on it."""
    present = {split: sum(row.vid in drawn for row in part) for split, part in rows.items()}
    vids = {row.vid for part in rows.values() for row in part}
    more = {
        "videos": len(vids) / len(drawn),
        "train rows": len(rows["train"]) / present["train"],
        "scored rows": len(rows["val"] + rows["test"]) / (present["val"] + present["test"]),
    }
    full = {}
    for cost in costs:
        factor = more.get(GROWS_WITH[cost.stage], 1.0)
        full[cost.stage] = {
            "wall_seconds": cost.wall_seconds * factor,
            "store_bytes": cost.store_bytes * factor,
        }
    return {"rows with a drawn video": present, "extrapolated": full}


def as_table(costs: list[Cost], report: dict[str, Any]) -> str:
    """Markdown."""
    heads = [
        "stage",
        "wall s",
        "CPU s",
        "peak RSS GB",
        "store GB",
        "full: wall h",
        "full: store GB",
    ]
    body = []
    for cost in costs:
        full = report["extrapolated"][cost.stage]
        body.append(
            [
                cost.stage,
                f"{cost.wall_seconds:.0f}",
                f"{cost.cpu_seconds:.0f}",
                f"{cost.peak_rss / 1e9:.2f}",
                f"{cost.store_bytes / 1e9:.2f}",
                f"{full['wall_seconds'] / 3600:.2f}",
                f"{full['store_bytes'] / 1e9:.1f}",
            ]
        )
    return tabulate(body, heads, "github", disable_numparse=True)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.h5"))


def run(folder: Path, command: list[str]) -> None:
    subprocess.run(command, cwd=folder, env=environment(folder), check=True)


def environment(project: Path) -> dict[str, str]:
    """The project's own code and store."""
    kept = {name: value for name, value in os.environ.items() if name != "HLCLIP_STORE"}
    return {**kept, "PYTHONPATH": str(project)}


if __name__ == "__main__":
    typer.run(main)
