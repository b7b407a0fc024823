"""How commands meet a person: errors are lines on stderr, the exit code is then 2."""

from collections.abc import Generator
from contextlib import contextmanager

import typer


@contextmanager
def plain_errors(context: typer.Context) -> Generator[None, None, None]:
    """Report what is wrong with the input as lines on stderr and exit with 2, unless `--debug`."""
    try:
        yield
    except (ValueError, OSError) as error:
        if context.obj:
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}"
        typer.echo(message, err=True)
        raise typer.Exit(2) from None
