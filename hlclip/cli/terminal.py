"""How commands meet a person: errors are lines on stderr, the exit code is then 2."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import typer

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
    """Report what is wrong with the input as lines on stderr and exit with 2, unless `--debug`.

    Args:
        options: words of the library -> words of this command.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if context.obj:
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}"
        for word, option in (options or {}).items():
            message = message.replace(word, option)
        typer.echo(message, err=True)
        raise typer.Exit(2) from None
