"""What would stop a run, found in minutes instead of hours; looks, and changes nothing."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import torch
from tqdm import tqdm

from hlclip.datasets import identify, named
from hlclip.doctor.finding import Finding, note, ok, problem
from hlclip.doctor.forecast import Workload, disk_needed, measure, seconds_needed
from hlclip.doctor.machine import (
    check_device,
    check_ffmpeg,
    check_repository,
    check_store,
    held_bytes,
)
from hlclip.formats import Annotation, AnnotationError, read_annotations
from hlclip.model import Encoder, EncoderError, untrained_encoder, weights_status
from hlclip.params import DataParams, EncoderParams, Params
from hlclip.store import store_root
from hlclip.system import free_bytes, in_words, memory_bytes
from hlclip.video import DataError, VideoError, find_videos, probe

_MEASURED_VIDEOS = 4
_LESS_MEMORY = "-S train.micro_batch=25, or lower still"


def examine(params: Params, *, measured: bool = True) -> Iterator[Finding]:
    """Look at everything that a run needs, cheap things first.

    Args:
        params: what is to be run.
        measured: also decode a few videos and make a training step, to foretell time and memory.
    """
    yield check_ffmpeg()
    yield from check_repository()
    found, device = check_device(params.train.device)
    yield found
    yield check_store(store_root())
    yield _check_weights(params.encoder)
    found, encoder = _check_model(params)
    yield found
    findings, rows = _check_annotations(params.data)
    yield from findings
    findings, videos = _check_videos(params.data, rows)
    yield from findings
    if encoder is None or device is None or not rows:
        return
    work = _workload(params, rows)
    yield _check_disk(params, encoder, work)
    if measured:
        yield from _foretell(params, encoder, work, videos, device)


def _check_weights(given: EncoderParams) -> Finding:
    """Are the weights here, or at least within reach."""
    status = weights_status(given.model, given.pretrained)
    if status.place == "nowhere":
        return problem("weights", status.where, status.remedy)
    size = "" if status.size is None else f", {in_words(status.size)}"
    if status.place == "hub":
        return note("weights", f"not here yet; the first run fetches {status.where}{size}")
    return ok("weights", f"{status.where}{size}")


def _check_model(params: Params) -> tuple[Finding, Encoder | None]:
    """Can the model be cut, and are the frames those that it takes."""
    given = params.encoder
    try:
        encoder = untrained_encoder(
            given.model, given.pretrained, cached_blocks=given.cached_blocks
        )
        wanted = encoder.preprocess
    except EncoderError as error:
        remedy = "`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists models"
        return problem("model", str(error), remedy), None
    differing = {
        f"frames.{name}": getattr(wanted, name)
        for name in ("size", "resize", "interpolation")
        if getattr(params.frames, name) != getattr(wanted, name)
    }
    if differing:
        remedy = " ".join(f"-S {key}={value}" for key, value in differing.items())
        return problem("model", f"{given.model} takes other frames than frames says", remedy), None
    tokens, width = encoder.image_shape
    return ok("model", f"{given.model}, {tokens} tokens of width {width} a frame"), encoder


def _check_annotations(data: DataParams) -> tuple[list[Finding], dict[str, list[Annotation]]]:
    """Every annotation file: there, well-formed, and a known release where it bears its name."""
    findings: list[Finding] = []
    rows: dict[str, list[Annotation]] = {}
    for split, name in data.annotations.items():
        path = Path(data.root) / name
        about = f"annotations {split}"
        remedy = (
            f"`hlclip data qvhighlights {data.root}` gets QVHighlights'; docs/data.md shows the "
            "format of your own"
        )
        try:
            rows[split] = read_annotations(path, data.clip_seconds)
            release, meant = identify(path), named(path.name)
        except OSError as error:
            findings.append(problem(about, f"{path}: {error.strerror}", remedy))
            continue
        except AnnotationError as error:
            found = f"{path} is malformed"
            findings.append(problem(about, found, remedy, str(error).splitlines()))
            continue
        size = f"{len(rows[split])} rows on {len({row.vid for row in rows[split]})} videos"
        if release is not None:
            findings.append(ok(about, f"{size}, the release of QVHighlights ({release.name})"))
        elif meant is not None:
            findings.append(
                problem(
                    about,
                    f"{path}: {size}, not the release of this name ({meant.rows} rows on "
                    f"{meant.vids} videos, sha256 {meant.sha256[:12]}...)",
                    "get the file again, or give it a name of its own",
                )
            )
        else:
            findings.append(ok(about, f"{size}, {path.name}"))
    vids = {split: {row.vid for row in part} for split, part in rows.items()}
    shared = sorted(vids.get("train", set()) & (vids.get("val", set()) | vids.get("test", set())))
    if shared:
        found = f"{len(shared)} videos are in train and in val or test: figures will flatter"
        findings.append(note("annotations", found, names=shared))
    return findings, rows


def _check_videos(
    data: DataParams, rows: Mapping[str, list[Annotation]]
) -> tuple[list[Finding], dict[str, Path]]:
    """Every video's container; decoding is left to the run."""
    vids = {row.vid for part in rows.values() for row in part}
    folder = Path(data.root) / data.videos
    try:
        files = find_videos(folder, vids)
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        wanted = f"{len(vids)} of them" if vids else "the annotations say which"
        remedy = f"put the videos there as <vid>.<extension>, {wanted}"
        return [problem("videos", f"{folder}: {reason}", remedy)], {}
    reasons = {vid: f"no file {data.videos}/{vid}.*" for vid in vids - files.keys()}
    with ThreadPoolExecutor() as pool:
        answers = pool.map(_reason, files.values())
        bar = tqdm(answers, total=len(files), desc="videos", unit="video", disable=None)
        unreadable = {vid: reason for vid, reason in zip(files, bar, strict=True) if reason}
    reasons |= unreadable
    good = {vid: path for vid, path in files.items() if vid not in unreadable}
    linked = []
    if folder.is_symlink():
        remedy = "make it a folder and link the files in it"
        linked = [note("videos", f"{folder} is a link: DVC does not look behind it", remedy)]
    if not reasons:
        return [*linked, ok("videos", f"all {len(vids)} found in {folder}")], good
    share = len(reasons) / len(vids)
    missing = len(reasons) - len(unreadable)
    found = f"{missing} of {len(vids)} missing, {len(unreadable)} unreadable ({share:.2%})"
    names = [f"{vid}: {reasons[vid]}" for vid in sorted(reasons)]
    if share <= data.max_missing:
        return [*linked, note("videos", f"{found}; tolerated", names=names)], good
    remedy = "add or repair them"
    if good:
        tolerant = math.ceil(share * 1e4) / 1e4  # rounded up, so that the advice works
        remedy += f", or go on without: -S data.max_missing={tolerant:g}, their rows then score 0"
    return [*linked, problem("videos", found, remedy, names)], good


def _reason(path: Path) -> str | None:
    try:
        probe(path)
    except VideoError as error:
        return str(error)
    return None


def _workload(params: Params, rows: Mapping[str, list[Annotation]]) -> Workload:
    """The whole data set, also what is not there yet."""
    every = [row for part in rows.values() for row in part]
    return Workload(
        clips={row.vid: row.clips for row in every},
        rows={split: len(part) for split, part in rows.items()},
        queries=sorted({row.query for row in every}),
    )


def _check_disk(params: Params, encoder: Encoder, work: Workload) -> Finding:
    store = store_root()
    needed = disk_needed(work, params, encoder)
    total = needed.frames + needed.images + needed.texts
    held = sum(held_bytes(store / kind) for kind in ("frames", "images", "texts"))
    free = free_bytes(store)
    found = (
        f"{in_words(total)} for the whole data set (frames {in_words(needed.frames)}, activations "
        f"{in_words(needed.images)}, queries {in_words(needed.texts)}); it holds {in_words(held)}, "
        f"{in_words(free)} free"
    )
    if total - held > free:
        remedy = f"free {in_words(total - held - free)}, or set HLCLIP_STORE to a larger disk"
        return problem("disk", found, remedy)
    return ok("disk", found)


def _foretell(
    params: Params,
    encoder: Encoder,
    work: Workload,
    videos: Mapping[str, Path],
    device: torch.device,
) -> Iterator[Finding]:
    """Time and memory, from a few videos out of the whole and one training step."""
    some = [videos[vid] for vid in sorted(videos)[:: max(1, len(videos) // _MEASURED_VIDEOS)]]
    some = some[:_MEASURED_VIDEOS]
    encoder.model.to(device)
    try:
        speeds = measure(some, work, params, encoder, device)
    except VideoError as error:
        yield problem("time", f"a video cannot be decoded: {error}", "replace it")
        return
    except torch.OutOfMemoryError as error:
        yield problem("memory", str(error).splitlines()[0], _LESS_MEMORY)
        return
    seconds = seconds_needed(work, params, speeds)
    shown = ", ".join(f"{stage} {timedelta(seconds=round(s))}" for stage, s in seconds.items())
    basis = f"{len(some)} videos and a training step"
    if not some:
        basis = "a training step; without a video, nothing can be said about frames"
    yield ok("time", f"about {shown} for the whole data set, from {basis}")
    found = f"{in_words(speeds.peak_bytes)} for a step of {params.train.batch} videos"
    if speeds.peak_bytes > memory_bytes():
        yield problem("memory", f"{found}, {in_words(memory_bytes())} there", _LESS_MEMORY)
    else:
        yield ok("memory", f"{found}, {in_words(memory_bytes())} there")
