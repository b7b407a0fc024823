"""`hlclip demo`: a page for people without a terminal."""

import logging
import signal
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from typer import Option, echo

import hlclip
from hlclip.cli.terminal import Calibration, Checkpoint, Device, Dtype, Model, Pretrained
from hlclip.system import HlclipError


def demo(
    checkpoint: Checkpoint = None,
    model: Model = None,
    pretrained: Pretrained = None,
    device: Device = "auto",
    dtype: Dtype = None,
    calibration: Calibration = None,
    host: Annotated[
        str, Option(metavar="HOST", help="Address to listen at; 0.0.0.0 for the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        Option(min=1, max=65535, metavar="PORT", help="Default: 7860, or the next free port."),
    ] = None,
    max_mb: Annotated[int, Option(min=1, metavar="MB", help="Largest upload.")] = 500,
    max_minutes: Annotated[float, Option(min=0.1, metavar="MINUTES", help="Longest video.")] = 30,
    annotations: Annotated[
        Path | None,
        Option(metavar="OUT.jsonl", help="Add a tab to rate clips; rows go to this file."),
    ] = None,
    video: Annotated[
        list[Path] | None,
        Option(
            "--video",
            "-v",
            metavar="VIDEO",
            help="With --annotations: a video or folder to rate; repeatable. Default: the folder "
            "videos next to the folder of OUT.jsonl.",
        ),
    ] = None,
    annotators: Annotated[
        int, Option(min=1, metavar="N", help="With --annotations: people who rate each query.")
    ] = 3,
) -> None:
    """Serve a web page to try the model, and to rate clips, without a terminal.

    Visitors upload a video, type queries, see the saliency curves, and click through the best
    moments. The model is loaded once; requests are answered one at a time. Without --host, only
    this machine can open the page. Ctrl-C ends the server. Needs the extra: pip install
    'hlclip[demo]'.

    \b
    Examples:
      hlclip demo                                        the checkpoint of the run in this folder
      hlclip demo --checkpoint other/outputs/train.safetensors
      hlclip demo --model ViT-B-32-quickgelu --pretrained openai
      hlclip demo --host 0.0.0.0 --max-mb 200 --max-minutes 10
      hlclip demo --annotations mine/annotations/train.jsonl --annotators 1

    Uploads and the features made from them are kept in a private temporary folder, which is deleted
    at the end; an upload is deleted after an hour. The page loads nothing from the internet.

    With --annotations a second tab shows VIDEO in clips of two seconds. People rate each clip for a
    query, 0 (very bad) to 4 (very good). Each rating is saved at once, in OUT.ratings.csv.
    OUT.jsonl has the queries that N people have rated in full, as QVHighlights rows.
    """
    if find_spec("gradio") is None:
        raise HlclipError("hlclip demo needs Gradio", "pip install 'hlclip[demo]'")
    from hlclip.demo import annotating, free_port, is_loopback, serving
    from hlclip.highlights import model_in_words

    if annotations is None and video:
        raise HlclipError("--video is an option of --annotations", "give --annotations OUT.jsonl")

    if not is_loopback(host):
        echo(
            f"--host {host}: everyone who can reach this machine can upload videos and use its "
            "processor; there is no password, and nothing is encrypted",
            err=True,
        )
    port = free_port(host, port)
    # Before open_clip adds its own handler: warnings are lines on stderr.
    logging.basicConfig(format="%(message)s")
    # `kill`, too, must end in the removal of the folder.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hlclip-demo-")))
        rated = None
        if annotations is not None:
            videos = video or [annotations.absolute().parent.parent / "videos"]
            rated = stack.enter_context(annotating(annotations, videos, annotators=annotators))
        scorer = hlclip.load_scorer(
            checkpoint,
            model=model,
            pretrained=pretrained,
            device=device,
            dtype=dtype,
            calibration=calibration,
            store=folder / "store",
        )
        echo(f"model: {model_in_words(scorer.model)}", err=True)
        url = stack.enter_context(
            serving(
                scorer,
                folder,
                host=host,
                port=port,
                max_mb=max_mb,
                max_minutes=max_minutes,
                annotating=rated,
            )
        )
        echo(f"{url}  (Ctrl-C ends)")
        while True:  # a longer wait would miss a signal that another thread receives
            time.sleep(1)
