"""Find in minutes what would stop a run after hours; nothing is changed."""

import math
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from tqdm.contrib.concurrent import thread_map

from hlclip.datasets import ANNOTATIONS, identify_release
from hlclip.doctor.forecast import Rows, forecast_seconds, store_bytes
from hlclip.doctor.machine import Check, Finding, check_device, check_ffmpeg
from hlclip.doctor.repository import check_last_run, check_project, check_repository
from hlclip.formats import Annotation, AnnotationError, read_annotations
from hlclip.model import Encoder, EncoderError, untrained_encoder, weights_status
from hlclip.params import DataParams, EncoderParams, Params
from hlclip.store import find_store, store_root
from hlclip.system import free_bytes, in_words, memory_bytes, nearest_folder, peak_bytes
from hlclip.video import DataError, VideoError, find_videos, probe

_MEASURED_VIDEOS = 4
_SAMPLE = Path("sample/data")
_LESS_MEMORY = "-S train.micro_batch=25, then a lower train.batch"


def examine(params: Params, *, measured: bool = True) -> Check[None]:
    """Check everything that a run needs, cheap checks first.

    Args:
        measured: also decode a few videos and make a training step, to forecast time and memory.
    """
    yield from check_ffmpeg()
    yield from check_repository()
    yield from check_project()
    yield from check_last_run(params)
    yield from _check_sample(Path(params.data.root))
    device = yield from check_device(params.train.device)
    yield from _check_store(store_root(), find_store().why)
    yield from _check_weights(params.encoder)
    encoder = yield from _check_model(params)
    if not _SAMPLE.exists() and _draws_sample(Path(params.data.root)):
        return
    rows = yield from _check_annotations(params.data)
    videos = yield from _check_videos(params.data, rows)
    if encoder is None or device is None or not rows:
        return
    yield from _check_disk(store_bytes(rows, params, encoder), store_root())
    if measured:
        yield from _forecast(params, encoder, rows, videos, device)


def examine_machine() -> Check[None]:
    """Check what your own videos need, outside of a project."""
    yield from check_ffmpeg()
    yield from check_device("auto")
    place = find_store()
    yield from _check_store(place.root, place.why)


def _check_sample(root: Path) -> Check[None]:
    """Is the bundled sample made? DVC asks for it in some commands, wherever the data are."""
    folders = (_SAMPLE, _SAMPLE.with_name("model-gap"))
    missing = ", ".join(str(folder) for folder in folders if not folder.exists())
    if not missing or not (_SAMPLE.parent / "dvc.yaml").exists():
        return
    if _draws_sample(root):
        yield Finding("sample", "note", f"not there yet: {missing}; the first run makes it")
    else:
        found = (
            f"not there: {missing}; `dvc checkout`, `dvc commit`, `dvc exp apply` and "
            "`dvc exp save` end with an error of DVC"
        )
        yield Finding("sample", "note", found, "`dvc repro sample/dvc.yaml` makes it")


def _draws_sample(root: Path) -> bool:
    """Whether a run on these data draws the sample first."""
    return root == _SAMPLE and (_SAMPLE.parent / "dvc.yaml").exists()


def _check_store(store: Path, why: str) -> Check[None]:
    """Can the store be written?"""
    existing = nearest_folder(store)
    if os.access(existing, os.W_OK):
        yield Finding("store", "ok", f"{store} ({why}), {in_words(free_bytes(store))} free")
    else:
        remedy = "make it writable, or set HLCLIP_STORE to another folder"
        yield Finding("store", "problem", f"{existing} cannot be written", remedy)


def _check_weights(params: EncoderParams) -> Check[None]:
    """Are the weights on this machine, or can they be fetched?"""
    status = weights_status(params.model, params.pretrained)
    size = "" if status.size is None else f", {in_words(status.size)}"
    if status.place == "nowhere":
        yield Finding("weights", "problem", status.where, status.remedy)
    elif status.place == "hub":
        found = f"not on this machine yet; the first run fetches {status.where}{size}"
        yield Finding("weights", "note", found)
    else:
        yield Finding("weights", "ok", f"{status.where}{size}")


def _check_model(params: Params) -> Check[Encoder | None]:
    """Can the model be cut, and are the frames in the form that it takes?"""
    model = params.encoder.model
    try:
        encoder = untrained_encoder(
            model, params.encoder.pretrained, cached_blocks=params.encoder.cached_blocks
        )
        settings = encoder.preprocess.corrections(params.frames.model_dump())
    except EncoderError as error:
        models = "`hlclip models` lists those that can be used"
        yield Finding("model", "problem", error.reason, error.remedy() or models)
        return None
    if settings:
        remedy = " ".join(f"-S {key}={value}" for key, value in settings.items())
        yield Finding("model", "problem", f"{model} takes other frames than frames says", remedy)
        return None
    tokens, width = encoder.image_shape
    yield Finding("model", "ok", f"{model}, {tokens} tokens of width {width} a frame")
    return encoder


def _check_annotations(data: DataParams) -> Check[dict[str, list[Annotation]]]:
    """Is each annotation file well-formed, and the release if it has a release's name?"""
    rows: dict[str, list[Annotation]] = {}
    for split, name in data.annotations.items():
        path = Path(data.root) / name
        about = f"annotations {split}"
        remedy = (
            "`hlclip data --help` lists the data sets whose files it downloads or converts; "
            "hlclip's docs/data.md shows the format of your own"
        )
        try:
            rows[split] = read_annotations(path, data.clip_seconds)
            identified = identify_release(path)
        except OSError as error:
            remedy += "; a split that the data set lacks is null in data.annotations"
            yield Finding(about, "problem", f"{path}: {error.strerror}", remedy)
            continue
        except AnnotationError as error:
            names = str(error).splitlines()
            yield Finding(about, "problem", f"{path} is malformed", remedy, names)
            continue
        namesake = next((release for release in ANNOTATIONS if release.name == path.name), None)
        size = f"{len(rows[split])} rows on {len({row.vid for row in rows[split]})} videos"
        if identified is not None:
            yield Finding(about, "ok", f"{size}, the release of QVHighlights ({identified.name})")
        elif namesake is not None:
            found = (
                f"{path}: {size}, not the release of this name ({namesake.rows} rows on "
                f"{namesake.vids} videos, sha256 {namesake.sha256[:12]}...)"
            )
            remedy = "download the file again, or give it another name"
            yield Finding(about, "problem", found, remedy)
        else:
            yield Finding(about, "ok", f"{size}, {path.name}")
    vids = {split: {row.vid for row in part} for split, part in rows.items()}
    shared = sorted(vids.get("train", set()) & (vids.get("val", set()) | vids.get("test", set())))
    if shared:
        found = f"{len(shared)} videos are in train and in val or test: figures will be too high"
        yield Finding("annotations", "note", found, names=shared)
    return rows


def _check_videos(data: DataParams, rows: Rows) -> Check[dict[str, Path]]:
    """Does every video exist with a readable container? Nothing is decoded."""
    vids = {row.vid for part in rows.values() for row in part}
    folder = Path(data.root) / data.videos
    try:
        files = find_videos(folder, vids)
    except (OSError, DataError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        number = f"{len(vids)} of them" if vids else "the annotations name them"
        remedy = f"put the videos there as <vid>.<extension>, {number}"
        yield Finding("videos", "problem", f"{folder}: {reason}", remedy)
        return {}
    if folder.is_symlink():
        remedy = "make it a folder and link the files in it"
        yield Finding("videos", "note", f"{folder} is a link: DVC does not follow it", remedy)
    reasons = thread_map(_unreadable, files.values(), desc="videos", unit="video", disable=None)
    unreadable = {vid: reason for vid, reason in zip(files, reasons, strict=True) if reason}
    readable = {vid: path for vid, path in files.items() if vid not in unreadable}
    unusable = {vid: f"no file {data.videos}/{vid}.*" for vid in vids - files.keys()} | unreadable
    share = len(unusable) / max(len(vids), 1)
    missing = len(unusable) - len(unreadable)
    found = f"{missing} of {len(vids)} missing, {len(unreadable)} unreadable ({share:.2%})"
    names = [f"{vid}: {unusable[vid]}" for vid in sorted(unusable)]
    remedy = "add or repair them"
    if readable:
        tolerant = math.ceil(share * 1e4) / 1e4  # rounded up, so that the advice works
        remedy += f", or go on without: -S data.max_missing={tolerant:g}, their rows then score 0"
    if not vids:
        found = f"not looked for in {folder}: no row of the annotations could be read"
        yield Finding("videos", "note", found)
    elif not unusable:
        yield Finding("videos", "ok", f"all {len(vids)} found in {folder}")
    elif share <= data.max_missing:
        yield Finding("videos", "note", f"{found}; tolerated", names=names)
    else:
        yield Finding("videos", "problem", found, remedy, names)
    return readable


def _unreadable(path: Path) -> str | None:
    try:
        probe(path)
    except VideoError as error:
        return str(error)
    return None


def _check_disk(needed: Mapping[str, int], store: Path) -> Check[None]:
    """Is there room for the whole data set in the store?"""
    total, free = sum(needed.values()), free_bytes(store)
    held = sum(path.stat().st_size for kind in needed for path in store.glob(f"{kind}/*/*.h5"))
    found = (
        f"{in_words(total)} for the whole data set (frames {in_words(needed['frames'])}, "
        f"activations {in_words(needed['images'])}, queries {in_words(needed['texts'])}); the "
        f"store holds {in_words(held)}, {in_words(free)} are free"
    )
    if total - held > free:
        remedy = f"free {in_words(total - held - free)}, or set HLCLIP_STORE to a larger disk"
        yield Finding("disk", "problem", found, remedy)
    else:
        yield Finding("disk", "ok", found)


def _forecast(
    params: Params, encoder: Encoder, rows: Rows, videos: Mapping[str, Path], device: torch.device
) -> Check[None]:
    """Forecast time and memory from a few videos across the data set and one training step."""
    every = [videos[vid] for vid in sorted(videos)]
    sample = every[:: max(1, len(every) // _MEASURED_VIDEOS)][:_MEASURED_VIDEOS]
    encoder.model.to(device)
    try:
        seconds = forecast_seconds(sample, rows, params, encoder, device)
    except VideoError as error:
        yield Finding("time", "problem", f"a video cannot be decoded: {error}", "replace it")
        return
    except torch.OutOfMemoryError as error:
        yield Finding("memory", "problem", str(error).splitlines()[0], _LESS_MEMORY)
        return
    stages = ", ".join(f"{stage} {timedelta(seconds=round(s))}" for stage, s in seconds.items())
    basis = f"{len(sample)} videos and a training step"
    if not sample:
        basis = "a training step; without a video there is no forecast for frames"
    yield Finding("time", "ok", f"about {stages} for the whole data set, from {basis}")
    peak, memory = peak_bytes(), memory_bytes()
    found = f"{in_words(peak)} for a step of {params.train.batch} videos, of {in_words(memory)}"
    if peak > memory:
        yield Finding("memory", "problem", found, _LESS_MEMORY)
    else:
        yield Finding("memory", "ok", found)
