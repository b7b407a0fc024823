"""How commands meet a person: errors are lines on stderr, the exit code is then 2."""

import errno
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import typer

from hlclip.system.endings import report

MODEL_OPTIONS = {
    "-S encoder.model=": "--model ",
    "-S encoder.pretrained=": "--pretrained ",
    "encoder.model": "--model",
    "encoder.pretrained": "--pretrained",
}
"""What errors call parameters, where a command has options instead."""


@contextmanager
def plain_errors(
    context: typer.Context, *, options: Mapping[str, str] | None = None
) -> Generator[None, None, None]:
    """Report what is wrong with the input as lines on stderr and exit with 2.

    A traceback comes with `--debug`, and with what is not the input's fault: a bug, exit code 1.

    Args:
        options: words of the library -> words of this command.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise  # typer's own ways to end
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # the reader of our output has left, as in `hlclip ... | head`
        status = report(error, status=2, debug=bool(context.obj), words=options)
        raise typer.Exit(status) from None
