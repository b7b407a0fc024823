"""`hlclip init`: a project for your own data."""

import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo


def init(
    folder: Annotated[Path, Argument(metavar="FOLDER", help="Folder of the project.")],
    preset: Annotated[
        str, Option(metavar="NAME", help="Parameters to begin with; see below.")
    ] = "own-data",
    data: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Folder of the data set. Default: data in the project."),
    ] = None,
) -> None:
    """Make a project: parameters and pipeline for a data set of your own.

    The folder gets params.yaml, dvc.yaml, requirements.txt, README.md and the files of git and DVC.
    The stages come with the installed hlclip, so the project holds no code. Existing files are
    never replaced.

    \b
    Presets:
      own-data                   a data set of your own
      qvhighlights               the paper's set-up, with OpenAI's CLIP
      qvhighlights-dfn2b-b16  qvhighlights-pe-core-b16  qvhighlights-siglip2-b32
                                 the same with other encoders
      tvsum  youtube-highlights  charades-sta

    \b
    Examples:
      hlclip init mine
      hlclip init mine --data /data/mine
      hlclip init tvsum --preset tvsum --data /data/tvsum
    """
    from hlclip.params import load_params
    from hlclip.project import make_project

    folder = folder.resolve()  # `..` of `../mine` leads out of a repository
    data = folder / "data" if data is None else data.resolve()
    repository = make_project(folder, preset, data)
    named = load_params(folder / "params.yaml").data
    git = [
        f"  it lies in the git repository {repository}, so git init was not run;",
        "  DVC is set up in this folder (as by dvc init --subdir)",
    ]
    if repository is None:
        git = [
            "  DVC is set up; it needs git, which is not installed. Install it, then run git init"
        ]
    elif repository == folder:
        git = ["  git and DVC are set up (git init, dvc init)"]
    lines = [
        f"{folder}: a project with the parameters of {preset}",
        *git,
        "\nNext",
        f"  put the annotations into {data}/: {', '.join(named.annotations.values())}",
        "  a split that the data set lacks: write null for it in params.yaml, data.annotations",
        f"  put the videos there, as {named.videos}/<vid>.<extension>",
        f"  cd {shlex.quote(str(folder))}",
        "  git add --all && git commit -m start",
        "  hlclip doctor     # what is missing, and what a run will cost",
        "  dvc repro         # runs every stage; README.md goes on from there",
    ]
    echo("\n".join(lines))
