"""`hlclip data tvsum` and the other data sets that are converted from the user's own files."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Typer, echo

from hlclip.cli.next_steps import next_steps
from hlclip.cli.terminal import Check, Command, Json, print_json, some
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from hlclip.datasets import Conversion, ConversionStatus, PublishedData

TITLES = {
    "tvsum": "TVSum",
    "youtube-highlights": "YouTube Highlights",
    "charades-sta": "Charades-STA",
    "tacos": "TACoS",
    "activitynet": "ActivityNet Captions",
}

_HELP = """\
Convert the published annotations of {title}, or show which of its files are missing.

\b
  ROOT/published/      put the published annotation files here
  ROOT/annotations/    hlclip writes its annotation files here
  ROOT/videos/         put the videos here, as <vid>.<extension>

Annotations: {annotations}.

Videos: {videos}.

{terms} Whether your use is allowed is for you to decide. hlclip downloads nothing.

\b
Examples:
  hlclip data {name} data/{name}
  hlclip data {name} data/{name} --check      change nothing
"""


class _Converter(Command):
    """Reads the facts in its help only when the help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        benchmark = _benchmark(str(self.name))
        self.help = _HELP.format(**vars(benchmark))
        super().format_help(ctx, formatter)


def add_converters(data_sets: Typer) -> None:
    """Add a command for each data set to `hlclip data`."""
    for name, title in TITLES.items():
        short = f"Convert the published annotations of {title}."
        data_sets.command(name, cls=_Converter, short_help=short)(_command(name))


def _command(name: str) -> Callable[..., None]:
    def convert(
        root: Annotated[Path, Argument(metavar="ROOT", help="Folder of the data set.")],
        check: Check = False,
        json: Json = False,
    ) -> None:
        _convert(_benchmark(name), root, check=check, json=json)

    return convert


def _benchmark(name: str) -> "PublishedData":
    from hlclip.datasets import PUBLISHED

    return next(benchmark for benchmark in PUBLISHED if benchmark.name == name)


def _convert(benchmark: "PublishedData", root: Path, *, check: bool, json: bool) -> None:
    from hlclip.datasets import conversion_status, write_conversion

    conversion = benchmark.convert(root / "published", lambda vid: _duration(root, vid))
    if not check:
        write_conversion(root, conversion)
    status = conversion_status(root, conversion)
    if json:
        facts = {"root": root, "read": conversion.read, "notes": conversion.notes}
        facts |= {"annotations": status.annotations, "videos named": len(conversion.vids)}
        print_json(facts | {"missing": status.missing, "whole": status.whole})
    else:
        echo("\n".join(_lines(benchmark, root, conversion, status)))
    if check and not status.whole:
        raise Exit(1)


def _lines(
    benchmark: "PublishedData", root: Path, conversion: "Conversion", status: "ConversionStatus"
) -> list[str]:
    lines = [f"{root}: {benchmark.title}, from {', '.join(path.name for path in conversion.read)}"]
    folders = Counter((name.split("/")[0], state) for name, state in status.annotations.items())
    for (name, state), files in folders.items():
        rows = conversion.files.get(name)
        size = f"{files} files" if rows is None else f"{len(rows):,} queries"
        lines.append(f"  annotations/{name}: {size}, {state}")
    lines += [f"  note: {note}" for note in conversion.notes]
    named = len(conversion.vids)
    lines.append(f"  videos/: {named - len(status.missing):,} of the {named:,} that they name")
    if status.missing:
        lines.append(f"    missing: {some(status.missing)}")
    lines += [benchmark.terms, "\nNext" if status.whole else "\nThen"]
    preset = "charades-sta" if benchmark.name in ("tacos", "activitynet") else benchmark.name
    return [*lines, *next_steps(preset, root)]


def _duration(root: Path, vid: str) -> float:
    from hlclip.datasets import videos_in
    from hlclip.video import VideoError, probe

    path = videos_in(root / "videos", {vid}).get(vid)
    if path is None:
        raise HlclipError(
            f"{root / 'videos'}: no file {vid}.*, whose duration these annotations need",
            "add the videos first, or use the files of Lighthouse, which state the frame rate",
        )
    try:
        return probe(path).duration
    except VideoError as error:
        raise HlclipError(f"{path}: {error}", "replace the video") from error
