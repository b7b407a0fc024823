"""Films that `hlclip highlight` cuts: one of all moments, or one of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip
from hlclip.cli.scoring import recorded
from hlclip.cli.showing import span
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from hlclip.highlights import Answer, FileStems, Moment


Range = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Cutting:
    """How films are cut: the options of `--cut` and `--cut-each`."""

    exact: bool
    vertical: bool
    force: bool
    max_seconds: float | None
    min_seconds: float
    window: int
    """Pooling window in clips, with which the moments were found."""
    quiet: bool

    def film(self, video: Path, moments: "list[Moment]", film: Path) -> list[Range]:
        """Make a film; print and return the ranges that it shows, in seconds."""
        ranges = hlclip.cut_moments(
            video,
            moments,
            film,
            exact=self.exact or self.max_seconds is not None,
            vertical=self.vertical,
            overwrite=self.force,
        )
        if not self.quiet:
            echo(f"{film}: " + ", ".join(span(*seconds) for seconds in ranges))
        return ranges


def check_films(
    videos: list[Path], cut: Path | None, cut_each: Path | None, cutting: Cutting
) -> None:
    """Refuse options of films that cannot be right before the model is loaded."""
    from hlclip.highlights import check_film

    if cut is not None:
        if len(videos) > 1:
            raise HlclipError(
                f"--cut {cut}: makes a film of one video, got {len(videos)}",
                "--cut-each FOLDER makes a film of each moment of each video",
            )
        check_film(videos[0], cut, overwrite=cutting.force)
    if cut_each is not None and cut_each.exists() and not cut_each.is_dir():
        raise HlclipError(f"--cut-each {cut_each}: is a file, expected a folder")
    longest, shortest = cutting.max_seconds, cutting.min_seconds
    given = {
        "--exact": cutting.exact,
        "--vertical": cutting.vertical,
        "--max-seconds": longest is not None,
        "--force": cutting.force,
    }
    if any(given.values()) and cut is None and cut_each is None:
        names = ", ".join(name for name in given if given[name])
        raise HlclipError(
            f"{names}: says how films are cut, but none is",
            "give --cut OUT.mp4 or --cut-each FOLDER too",
        )
    if longest is not None and longest < shortest:
        raise HlclipError(
            f"--max-seconds {longest:g}: is below --min-seconds {shortest:g}",
            f"give --min-seconds {longest:g} too",
        )


def cut_films(
    answers: "list[Answer]",
    cut: Path | None,
    cut_each: Path | None,
    stems: "FileStems",
    failed: dict[str, str],
    cutting: Cutting,
) -> dict[Path, list[Range]]:
    """Make the film of all moments of one video, and those of each moment.

    Returns:
        The films, each with the ranges that it shows. Where nothing was found there is no film.
    """
    films: dict[Path, list[Range]] = {}
    if any(answer.moments for answer in answers):
        if cut is not None:
            films[cut] = _cut_all(answers, cut, cutting)
        if cut_each is not None:
            films |= _cut_each(answers, cut_each, stems, failed, cutting)
    elif answers:
        for wanted in filter(None, (cut, cut_each)):
            echo(f"{wanted}: no film, nothing was found", err=True)
    return films


def _cut_all(answers: "list[Answer]", cut: Path, cutting: Cutting) -> list[Range]:
    from hlclip.highlights import within

    ranked = [(n, a.curve, m) for a in answers for n, m in enumerate(a.moments)]
    ranked.sort(key=lambda each: each[0])
    kept = _above_zero([moment for _, _, moment in ranked], cut)
    if cutting.max_seconds is not None:
        pairs = [(curve, moment) for _, curve, moment in ranked if moment in kept]
        kept = within(
            pairs, cutting.max_seconds, shortest=cutting.min_seconds, window=cutting.window
        )
    return cutting.film(answers[0].curve.video, kept, cut)


def _cut_each(
    answers: "list[Answer]",
    folder: Path,
    stems: "FileStems",
    failed: dict[str, str],
    cutting: Cutting,
) -> dict[Path, list[Range]]:
    from hlclip.highlights import check_film, clip_suffix, shortened

    films: dict[Path, tuple[Path, Moment]] = {}
    for answer in answers:
        curve, stem = answer.curve, stems.query(answer)
        kept = _above_zero(answer.moments, folder / stem)
        for rank, moment in enumerate(answer.moments, start=1):
            if moment in kept:
                shown = moment
                if cutting.max_seconds is not None:
                    shown = shortened(curve, moment, cutting.max_seconds, window=cutting.window)
                time = _time(shown.start_seconds)
                name = f"{stem}-{rank:02}-{time}{clip_suffix(curve.video)}"
                films[folder / name] = (curve.video, shown)
    for film, (video, _) in films.items():
        check_film(video, film, overwrite=cutting.force)  # all, before the first is written
    made: dict[Path, list[Range]] = {}
    for film, (video, moment) in films.items():
        with recorded(failed, video):
            made[film] = cutting.film(video, [moment], film)
    return made


def _above_zero(moments: "list[Moment]", cut: Path) -> "list[Moment]":
    """The moments for a film, and a line on stderr where some or all of them score below 0."""
    below = [moment for moment in moments if moment.doubtful]
    if below and len(below) == len(moments):
        echo(f"{cut}: every moment scores below 0; the film shows them nevertheless", err=True)
        return moments
    if below:
        spans = ", ".join(span(moment.start_seconds, moment.end_seconds) for moment in below)
        echo(f"{cut}: left out, because they score below 0: {spans}", err=True)
    return [moment for moment in moments if not moment.doubtful]


def _time(seconds: float) -> str:
    """A time in the name of a file, where a colon is not allowed everywhere: `0h07m12s`."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}h{minutes % 60:02}m{second:02}s"
