"""What every command shares: options, JSON on stdout, errors as lines on stderr."""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Abort, BadParameter, Exit, Option, echo
from typer.core import TyperCommand

from hlclip.system import HlclipError, print_error

Checkpoint = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="Fine-tuned weights. Default: outputs/train.safetensors, unless --model is given.",
    ),
]
Model = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="open_clip model or local-dir:FOLDER; zero-shot unless --checkpoint is given.",
    ),
]
Pretrained = Annotated[
    str | None, Option(metavar="TAG", help="Weights of --model: open_clip's tag, or a file.")
]
Device = Annotated[str, Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[
    Literal["float16", "bfloat16", "float32"] | None,
    Option(
        help="Precision of the stored tokens. Default: that of the checkpoint's training, else "
        "float16."
    ),
]
Calibration = Annotated[
    Path | None,
    Option(
        metavar="FILE",
        help="What scores are worth, measured by a run. Default: calibration.json next to the "
        "checkpoint, if it is there.",
    ),
]
StoreFolder = Annotated[
    Path | None,
    Option(
        "--store",
        metavar="FOLDER",
        help="Keep features here. Default: $HLCLIP_STORE, else the project's store, else your own "
        "(hlclip store status).",
    ),
]
Json = Annotated[
    bool, Option("--json", help="Print JSON instead of text, with all names and unrounded figures.")
]

Check = Annotated[bool, Option("--check", help="Change nothing; exit with 1 if a file is missing.")]
SubmissionOut = Annotated[
    Path,
    Option("--out", "-o", metavar="OUT", help="Submission file to write; replaced if it exists."),
]

_SHOWN_NAMES = 5

_OPTIONS = {
    "encoder.model": "--model",
    "encoder.pretrained": "--pretrained",
    "encoder.dtype": "--dtype",
}
"""Key of params.yaml -> the option that replaces it in commands that load a model."""


class Command(TyperCommand):
    """A command that reports an error as lines on stderr and exits with status 2.

    `hlclip --debug` adds the traceback. A bug always shows its traceback and exits with status 1.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Typer has no names for types
        with self._reporting(ctx):
            for before, argument in zip(["", *args], args, strict=False):
                # Not where it is used: `Path` takes a slash from a URL.
                found = re.fullmatch(r"(?:(--?[a-z-]+)=)?([a-z][a-z0-9+.-]*://.*)", argument, re.I)
                urls = self._url_options()
                if found and not urls & {"url", found[1] or before}:
                    raise HlclipError(
                        f"{found[2]}: is a URL, expected a path on this machine",
                        "download it, and name the file",
                    )
        try:
            return super().parse_args(ctx, args)
        except BadParameter as error:
            _reword(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        with self._reporting(ctx):
            return super().invoke(ctx)

    def _url_options(self) -> set[str]:
        """Options that take a URL, and `url` if an argument is one."""
        urls = [each for each in self.params if each.metavar in ("URL", "ADDRESS")]
        return {name for parameter in urls for name in parameter.opts}

    @contextmanager
    def _reporting(self, ctx: Any) -> Iterator[None]:
        try:
            yield
        except (Exit, Abort, BrokenPipeError):
            raise  # an exit status, a question answered with no, or the end of `hlclip ... | head`
        except (Exception, KeyboardInterrupt) as error:
            declared = {name for parameter in self.params for name in parameter.opts}
            options = {key: option for key, option in _OPTIONS.items() if option in declared}
            status = print_error(error, status=2, debug=bool(ctx.obj), options=options)
            raise Exit(status) from None


def _reword(error: BadParameter) -> None:
    """Say which value came and what was expected; some versions of Typer quote pydantic."""
    from pydantic import ValidationError

    from hlclip.formats import problems_of

    if isinstance(error.__cause__, ValidationError):
        error.message = problems_of(error.__cause__)[0]


def refuse_input(option: str, out: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to replace one of the files that are read; `option` names the one that is written."""
    read = [path for path in inputs if path is not None and path.exists()]
    if out.exists() and any(out.samefile(path) for path in read):
        raise HlclipError(f"{option} {out}: is an input", "give another name")


def some(names: Collection[str]) -> str:
    """The first names in the order of the alphabet, and the number of the others."""
    shown, more = ", ".join(sorted(names)[:_SHOWN_NAMES]), len(names) - _SHOWN_NAMES
    return f"{shown} and {more:,} more" if more > 0 else shown


def print_json(content: object) -> None:
    """Print JSON in UTF-8. Bytes of a file name that are not UTF-8 become escapes."""
    text = json.dumps(content, indent=1, ensure_ascii=False, default=os.fspath)
    echo(text.encode(errors="backslashreplace"))
