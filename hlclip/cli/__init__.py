"""The command line, one module per command.

    terminal            options, output and errors that commands share
    queries             queries of arguments and of standard input
    highlight_options   options of `hlclip highlight`
    scoring             curves of videos and queries, for `hlclip highlight`
    showing             text, pictures and exports of moments, for `hlclip highlight`
    films               films of moments, for `hlclip highlight`
    next_steps          what to run on a data set, in a clone and outside of one
    benchmarks          commands of `hlclip data` for data sets that are converted
    convert             `hlclip data convert`
    copies              commands of `hlclip store` that copy items
Every other module holds the command of its name; a group's help is its module's docstring.

A command imports other wings inside its function, so that `hlclip --help` loads only Typer.
"""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from hlclip.cli.benchmarks import add_converters
from hlclip.cli.convert import convert
from hlclip.cli.data import data_sets
from hlclip.cli.demo import demo
from hlclip.cli.doctor import doctor
from hlclip.cli.encode import encode
from hlclip.cli.ensemble import ensemble
from hlclip.cli.evaluate import evaluate
from hlclip.cli.highlight import highlight
from hlclip.cli.init import init
from hlclip.cli.models import models
from hlclip.cli.moments import moments
from hlclip.cli.report import report
from hlclip.cli.store import store
from hlclip.cli.table import table
from hlclip.cli.terminal import Command
from hlclip.system import exit_on_signals, quick_process

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """The command `hlclip`."""
    exit_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where the shell has closed it
        # A file's name may have bytes that are not text, and a terminal may know few letters.
        sys.stdout.reconfigure(errors="backslashreplace")
    with quick_process():
        app(prog_name="hlclip")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"hlclip {version('hlclip')}")
        raise typer.Exit


@app.callback()
def hlclip(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """HL-CLIP: CLIP fine-tuned for video highlight detection.

    \b
    Examples:
      hlclip highlight holiday.mp4 "a dog on the beach"
      hlclip evaluate predictions.jsonl highlight_val_release.jsonl
      hlclip moments predictions.jsonl -o with_moments.jsonl
      hlclip ensemble seed0.jsonl seed1.jsonl -o mean.jsonl
      hlclip data qvhighlights --check      which files of QVHighlights are missing
      hlclip init mine                      a project for your own data set
      hlclip models siglip2                 encoders that can be used, and what they cost
      hlclip doctor                         check what would stop a run
      hlclip encode --shard 0/8             a part of the cache, on one of many machines
      hlclip table                          the paper's tables from DVC's experiments
      hlclip store status                   what is cached, and where
      hlclip highlight --help               options and examples of one command
      hlclip --debug evaluate ...           also show the traceback of an error

    \b
    Exit status:
      0    done
      1    done, but not everything: the output names what is left (videos that could not be used,
           missing files, findings of the doctor)
      2    nothing was done: the input or the command is wrong, and the message says what to change
      130  interrupted (Ctrl-C)
    """
    context.obj = debug


add_converters(data_sets)
data_sets.command(cls=Command)(convert)
app.add_typer(data_sets, name="data")
app.add_typer(store, name="store")
for _function in (
    demo,
    doctor,
    encode,
    ensemble,
    evaluate,
    highlight,
    init,
    models,
    moments,
    report,
    table,
):
    app.command(cls=Command)(_function)
