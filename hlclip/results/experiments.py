"""Finished runs of the pipeline as DVC's experiments record them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
from dvc.dvcfile import LOCK_FILE, Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from dvc.utils.flatten import flatten, unflatten

from hlclip.system import HlclipError

_SECTIONS = ("data.", "frames.", "encoder.", "train.", "pool.", "evaluate.")

METRICS = ("mAP", "HIT@1")
"""The metrics of metrics.json, in percent."""

_CODE = ("hlclip", "stages")
"""Folders of code; dvc.lock has their hashes."""

_WITHOUT_EFFECT = ("data.", "encoder.batch", "train.device")
"""Parameters that change speed and memory only, and the location of the data."""

Figures = dict[str, dict[str, dict[str, dict[str, float]]]]
"""split -> variant -> level (`VeryGood`) -> `mAP`, `HIT@1` in percent."""


class ExperimentsError(HlclipError):
    """DVC has no finished runs, or they cannot stand in one table."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One finished run."""

    name: str
    """Name of the experiment, branch or commit, or `workspace`."""
    data: str
    """md5 of the index, which lists the queries and videos without their location."""
    params: dict[str, str]
    """`section.key` -> value of each parameter that changes the figures, except the data's."""
    code: dict[str, str]
    """Source file or folder -> md5."""
    figures: Figures
    queries: dict[str, int]
    """split -> queries."""
    without_video: dict[str, int]
    """split -> queries that score 0 because their video is missing."""


def finished_experiments(
    repository: Path, *, revisions: Sequence[str] = (), commits: int = 1
) -> tuple[list[Experiment], list[str]]:
    """Read the finished runs that DVC knows, and the names of the unfinished ones.

    Args:
        repository: folder with dvc.yaml.
        revisions: commits or branches whose experiments are read; HEAD if empty.
        commits: number of commits to read back from each revision; -1 for all.

    Raises:
        ExperimentsError: not a DVC repository, or an unknown revision.
    """
    try:
        rows = dvc.api.exp_show(str(repository), revs=list(revisions) or None, num=commits)
        with Repo.open(str(repository)) as repo:
            locks = {
                row["rev"]: _locked_params(repo, row["rev"])
                for row in rows
                if row.get("Experiment") is None  # a commit or the workspace
            }
    except (DvcException, SCMError) as error:
        raise ExperimentsError(
            f"DVC cannot show experiments of {repository.absolute()}: {error}",
            "run this in a clone of the repository",
        ) from error
    experiments, unfinished = [], []
    for row in rows:
        name, figures, params = row.get("Experiment") or row["rev"], _figures(row), _params(row)
        if not row.get("outputs/index.json") or not figures:
            unfinished.append(f"{name}: {(row.get('State') or 'not run').lower()}")
            continue
        # The metrics of an experiment belong to its parameters; those of a commit may be older.
        if locks.get(row["rev"], params) != params:
            unfinished.append(f"{name}: params.yaml has changed since; `dvc exp run` runs it")
            continue
        experiments.append(
            Experiment(
                name=name,
                data=row["outputs/index.json"],
                params={key: params[key] for key in params if not key.startswith(_WITHOUT_EFFECT)},
                code={k: v for k, v in row.items() if v and k.split("/")[0] in _CODE},
                figures=figures,
                queries={split: int(row[f"{split}.queries"]) for split in figures},
                without_video={split: int(row[f"{split}.without video"]) for split in figures},
            )
        )
    return experiments, unfinished


def matching(experiments: Sequence[Experiment], conditions: Sequence[str]) -> list[Experiment]:
    """The experiments that fulfil all conditions `section.key=value`.

    Raises:
        ExperimentsError: a condition is not of this form, or no experiment fulfils all.
    """
    for condition in conditions if experiments else ():
        key, equals, value = condition.partition("=")
        if not equals:
            raise ExperimentsError(f"{condition!r}: expected KEY=VALUE, as in train.blocks=2")
        check_known(experiments, [key])
        values = sorted({experiment.params[key] for experiment in experiments})
        experiments = [each for each in experiments if each.params[key] == value]
        if not experiments:
            raise ExperimentsError(
                f"no run with {condition}; there are {key} = {', '.join(values)}"
            )
    return list(experiments)


def check_known(experiments: Sequence[Experiment], keys: Sequence[str]) -> None:
    """Refuse parameters that some experiment does not have, and list those that all have."""
    known = set.intersection(*(set(experiment.params) for experiment in experiments))
    unknown = [key for key in keys if key not in known]
    if unknown:
        expected = ", ".join(sorted(known))
        raise ExperimentsError(
            f"{', '.join(unknown)}: unknown parameter, expected one of {expected}"
        )


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: _as_text(value)
        for key, value in row.items()
        if key.startswith(_SECTIONS) and value is not None
    }


def _locked_params(repo: Repo, revision: str) -> dict[str, str]:
    """The parameters in dvc.lock, which produced the figures of a commit or of the workspace."""
    with repo.switch(revision):
        lock = Lockfile(repo, repo.fs.join(repo.root_dir, LOCK_FILE)).load()
    return {
        key: _as_text(value)
        for stage in lock.get("stages", {}).values()
        for key, value in flatten(stage.get("params", {}).get("params.yaml", {})).items()
    }


def _figures(row: Mapping[str, Any]) -> Figures:
    """metrics.json again from DVC's flat keys such as `val.HL-CLIP-2 (SP).VeryGood.mAP`."""
    # A metric that only another run has is None here, or the text "None".
    return unflatten(
        {
            key: value
            for key, value in row.items()
            if key.count(".") == 3 and key.split(".")[3] in METRICS and isinstance(value, float)
        }
    )


def _as_text(value: object) -> str:
    """A parameter as text: DVC gives all numbers as floats."""
    return f"{value:g}" if isinstance(value, float | int) else str(value)
