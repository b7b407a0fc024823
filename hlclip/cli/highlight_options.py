"""Options of `hlclip highlight` alone: their types, limits and help."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

Format = StrEnum("Format", ["otio", "xml", "edl", "vtt", "chapters", "csv"])
"""What `--export` writes. Typer takes no list of literals."""

Video = Annotated[Path, Argument(metavar="VIDEO", help="A video, or a folder of videos.")]
Queries = Annotated[
    list[str] | None,
    Argument(
        metavar="[QUERY]...",
        help="What to look for, in quotes. Default: read from standard input, one per line.",
    ),
]
QueryFile = Annotated[
    Path | None,
    Option(
        "--queries",
        metavar="FILE.csv",
        help="Queries with names, which files and summaries show: CSV whose first line is "
        "name,query or query.",
    ),
]
Generic = Annotated[
    bool,
    Option(
        "--generic",
        help="Highlights without a query: clips that are most like the whole video. A fixed rule, "
        "not learned from highlights.",
    ),
]
More = Annotated[
    list[Path] | None,
    Option("--video", "-v", metavar="VIDEO", help="One more video or folder; repeatable."),
]
Top = Annotated[int, Option(min=1, metavar="N", help="Most moments per query.")]
MinSeconds = Annotated[float, Option(min=0.1, metavar="SECONDS", help="Shortest moment.")]
Window = Annotated[
    int | None,
    Option(min=1, metavar="CLIPS", help="Pooling window; odd, 1 for no pooling. Default: 3."),
]
RuleName = Annotated[
    Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks"],
    Option(
        help="How scores become moments: consensus finds their ends best, peaks finds more "
        "and shorter ones."
    ),
]
MinRating = Annotated[
    float | None,
    Option(
        min=0,
        max=4,
        metavar="RATING",
        help="Lowest expected rating of a moment, where ratings are known: nothing is found of "
        "a query without such a moment. Default: 1.",
    ),
]
MinScore = Annotated[
    float | None,
    Option(metavar="SCORE", help="Lowest score of a moment, of any model. Default: no limit."),
]
Out = Annotated[
    Path,
    Option(
        metavar="FOLDER",
        help="Folder for the files; existing files of the same name are replaced.",
    ),
]
Plot = Annotated[bool, Option("--plot", help="Chart of each query's saliency, frames underneath.")]
Sheet = Annotated[bool, Option("--sheet", help="Contact sheet of each query's best moments.")]
Summary = Annotated[
    bool,
    Option(
        "--summary",
        help="Best moments of all videos, per query: a table, summary.csv and summary.html.",
    ),
]
Cut = Annotated[
    Path | None,
    Option(
        metavar="OUT.mp4",
        help="Film of the moments with their sound. Copies the streams where that is safe, so "
        "each moment may begin a few seconds early, at a key frame; see --exact.",
    ),
]
CutEach = Annotated[
    Path | None,
    Option(
        metavar="FOLDER",
        help="A film of each moment of each video, named after video, query, rank and time.",
    ),
]
Exact = Annotated[
    bool,
    Option(
        "--exact",
        help="With --cut and --cut-each: re-encode, so that moments begin and end at the exact "
        "frame.",
    ),
]
Vertical = Annotated[
    bool,
    Option(
        "--vertical",
        help="With --cut and --cut-each: the middle of each picture, 9:16. Implies --exact.",
    ),
]
MaxSeconds = Annotated[
    float | None,
    Option(
        min=0.1,
        metavar="SECONDS",
        help="With --cut and --cut-each: longest film. Implies --exact.",
    ),
]
Force = Annotated[
    bool, Option("--force", help="With --cut and --cut-each: replace films that exist.")
]
Export = Annotated[
    list[Format] | None,
    Option(
        "--export",
        help="Moments for other programs; repeatable. For editors: otio (OpenTimelineIO), xml "
        "(Final Cut Pro 7, Premiere, Resolve), edl (CMX 3600). Also vtt (WebVTT), chapters "
        "(YouTube), csv.",
    ),
]
Scenes = Annotated[
    bool,
    Option(
        "--scenes",
        help="Moments begin and end at a cut of the video, where one is less than half a clip "
        "away. Decodes the whole video.",
    ),
]
