"""The command line: what a person runs. A module per command; heavy imports wait inside them."""

from typing import Annotated

import typer

from hlclip.cli.evaluate import evaluate
from hlclip.cli.report import report

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def hlclip(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """HL-CLIP: CLIP fine-tuned for video highlight detection.

    \b
    Examples:
      hlclip evaluate predictions.jsonl highlight_val_release.jsonl
      hlclip --debug evaluate ...      to see where an error comes from
      hlclip evaluate --help           what a command wants, with examples
    """
    context.obj = debug


app.command()(evaluate)
app.command()(report)
