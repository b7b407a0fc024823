"""`hlclip demo`: a page for people without a terminal."""

import logging
import os
import signal
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

import hlclip
from hlclip.cli.terminal import MODEL_OPTIONS, plain_errors
from hlclip.demo import free_port, is_loopback
from hlclip.system import HlclipError


def demo(
    context: typer.Context,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Tuned weights. Default: outputs/train.safetensors, unless --model is given.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="open_clip model or local-dir:FOLDER; without --checkpoint it is zero-shot.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(metavar="TAG", help="Its weights: open_clip's tag, or a file.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")
    ] = "auto",
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; 0.0.0.0 for all of the network.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="PORT", help="Default: 7860, or the next that is free."
        ),
    ] = None,
    max_mb: Annotated[int, typer.Option(min=1, metavar="MB", help="Largest upload.")] = 500,
    max_minutes: Annotated[
        float, typer.Option(min=0.1, metavar="MINUTES", help="Longest video.")
    ] = 30,
) -> None:
    """Serve a page on which people without a terminal try the model.

    They upload a video, type queries, see the saliency curves, and click through the best moments.
    The model is loaded once; requests are worked off one at a time. Only this machine can open the
    page unless --host says otherwise. Ctrl-C ends it. Needs the extra: pip install 'hlclip[demo]'.

    \b
    Examples:
      hlclip demo                                        the checkpoint of the run here
      hlclip demo --model local-dir:sample/model         zero-shot, the bundled sample's model
      hlclip demo --model ViT-B-32-quickgelu --pretrained openai
      hlclip demo --host 0.0.0.0 --max-mb 200 --max-minutes 10

    Uploads and what is made from them lie in a private temporary folder, which goes at the end; an
    upload is deleted after an hour. The page loads nothing from the internet.
    """
    with plain_errors(context, options=MODEL_OPTIONS):
        if find_spec("gradio") is None:
            raise HlclipError("hlclip demo needs Gradio: pip install 'hlclip[demo]'")
        if not is_loopback(host):
            typer.echo(
                f"--host {host}: whoever reaches this machine can upload videos and use its "
                "processor; there is no password, and nothing is encrypted",
                err=True,
            )
        port = free_port(host, port)
        # Before open_clip sets up another; warnings are lines on stderr.
        logging.basicConfig(format="%(message)s")
        # The folder goes on `kill`, too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt), TemporaryDirectory(prefix="hlclip-demo-") as name:
            folder = Path(name)
            # Gradio reads these at its import.
            os.environ |= {
                "GRADIO_TEMP_DIR": str(folder / "uploads"),
                "GRADIO_ANALYTICS_ENABLED": "False",
                "GRADIO_ALLOWED_PATHS": "",
            }
            from hlclip.demo import serving  # noqa: PLC0415 (torch, Gradio)

            scorer = hlclip.load_scorer(
                checkpoint,
                model=model,
                pretrained=pretrained,
                device=device,
                store=folder / "store",
            )
            with serving(
                scorer, folder, host=host, port=port, max_mb=max_mb, max_minutes=max_minutes
            ) as url:
                typer.echo(f"{url}  (Ctrl-C ends)")
                with suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(1)
