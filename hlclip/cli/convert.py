"""`hlclip data convert`: ratings of your own clips, from CSV to annotation rows."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from hlclip.cli.terminal import refuse_input
from hlclip.system import HlclipError


def convert(
    ratings: Annotated[Path, Argument(metavar="RATINGS.csv", help="A line for each rating.")],
    out: Annotated[
        Path, Option("-o", "--out", metavar="OUT.jsonl", help="Annotation file; it is replaced.")
    ],
    videos: Annotated[
        Path, Option(metavar="FOLDER", help="Folder of the videos, whose duration is read.")
    ],
    clip_seconds: Annotated[
        float, Option(min=0.1, metavar="SECONDS", help="Length of a clip (data.clip_seconds).")
    ] = 2.0,
) -> None:
    """Convert a CSV of ratings to annotation rows in the QVHighlights format.

    \b
      video,query,clip,annotator,rating
      holiday,a dog on the beach,3,Ann,4
      holiday,a dog on the beach,3,Ben,3

    \b
      video      name of the file in FOLDER, with or without its extension
      query      free text
      clip       number of the clip, counted from 0; or two columns instead, start and end, in
                 seconds (75.5 or 1:15.5): all clips whose middle is in this range
      annotator  name
      rating     0 (very bad), 1, 2 (fair), 3 (good) or 4 (very good)

    Each query needs the same number of annotators, and each of them rates the same clips of it.
    Clips that nobody rated count as 0. Commas, semicolons or tabs separate the columns.

    \b
    Examples:
      hlclip data convert ratings.csv --videos mine/videos -o mine/annotations/train.jsonl
    """
    from hlclip.datasets import named_videos, read_ratings, write_rows
    from hlclip.video import VideoError, find_videos, probe

    refuse_input("--out", out, [ratings])
    if not videos.is_dir():
        raise HlclipError(f"--videos {videos}: no such folder, expected the folder of the videos")
    named = named_videos(ratings)
    durations: dict[str, float] = {}
    for vid, path in find_videos(videos, named | {Path(name).stem for name in named}).items():
        try:
            durations[vid] = probe(path).duration
        except VideoError as error:
            raise HlclipError(f"{path}: {error}", "replace the video") from error
    read = read_ratings(ratings, durations, clip_seconds=clip_seconds)
    rows = read.rows(durations, clip_seconds=clip_seconds, place=ratings)
    write_rows(out, rows)
    values = Counter(
        rating for row in rows for clip in row.saliency_scores or () for rating in clip
    )
    counts = ", ".join(f"{values[rating]} of {rating}" for rating in sorted(values))
    echo(
        f"{out}: {len(rows)} queries on {len({row.vid for row in rows})} videos, annotators of "
        f"each query: {rows[0].annotators}; ratings: {counts}"
    )
