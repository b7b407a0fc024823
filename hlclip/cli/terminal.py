"""How commands meet a person: errors are lines on stderr, the exit code is then 2."""

import errno
from collections.abc import Generator
from contextlib import contextmanager

import typer

from hlclip.system import Options, print_error

MODEL_OPTIONS: Options = {"encoder.model": "--model", "encoder.pretrained": "--pretrained"}
"""Parameters for which a command that loads a model has options."""


@contextmanager
def plain_errors(
    context: typer.Context, *, options: Options | None = None
) -> Generator[None, None, None]:
    """Report what is wrong with the input as lines on stderr and exit with 2.

    A traceback comes with `--debug`, and with what is not the input's fault: a bug, exit code 1.

    Args:
        options: of this command, in place of parameters.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise  # typer's own ways to end
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # the reader of our output has left, as in `hlclip ... | head`
        status = print_error(error, status=2, debug=bool(context.obj), options=options)
        raise typer.Exit(status) from None
