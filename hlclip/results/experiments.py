"""Finished runs of the pipeline, as DVC's experiments remember them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dvc.api
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import SCMError
from ruamel.yaml import YAML

from hlclip.system import HlclipError

SECTIONS = ("data", "frames", "encoder", "train", "pool", "evaluate")

_IRRELEVANT = ("encoder.batch", "train.device")
"""They change speed and memory only."""

Figures = dict[str, dict[str, dict[str, dict[str, float]]]]
"""split -> variant -> level (`VeryGood`) -> `mAP`, `HIT@1` in percent."""


class ExperimentsError(HlclipError):
    """DVC has no finished runs to show, or they cannot stand in one table."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One finished run."""

    name: str
    """Experiment's name, branch, commit, or `workspace`."""
    data: str
    """md5 of the index: the rows and videos that it ran on, wherever they lie."""
    params: dict[str, str]
    """`section.key` -> value: all that its figures depend on, except the data."""
    code: dict[str, str]
    """Source file -> md5."""
    figures: Figures
    queries: dict[str, int]
    """split -> queries."""
    without_video: dict[str, int] = field(default_factory=dict)
    """split -> queries that score 0 because their video is missing."""


def finished_experiments(
    repository: Path, *, revisions: Sequence[str] = (), commits: int = 1
) -> tuple[list[Experiment], list[str]]:
    """Read the runs that DVC knows, and the names of those that are not finished.

    Args:
        repository: folder with dvc.yaml.
        revisions: commits or branches whose experiments are read; HEAD if none.
        commits: so many commits back from each revision; -1 for all.

    Raises:
        ExperimentsError: not a DVC repository, or an unknown revision.
    """
    try:
        rows = dvc.api.exp_show(str(repository), revs=list(revisions) or None, num=commits)
        with Repo.open(str(repository)) as repo:
            locks = {row["rev"]: _locked_params(repo, row) for row in rows if _commit(row)}
    except (DvcException, SCMError) as error:
        raise ExperimentsError(
            f"DVC cannot show experiments of {repository.absolute()}: {error}; run this in a "
            "clone of the repository"
        ) from error
    runs, unfinished = [], []
    for row in rows:
        name = row.get("Experiment") or row["rev"]
        if not row.get("outputs/index.json") or not _figures(row):
            unfinished.append(f"{name}: {(row.get('State') or 'not run').lower()}")
        elif _commit(row) and locks[row["rev"]] != _params(row):
            # An experiment is one commit; here the figures can be older than the parameters.
            unfinished.append(f"{name}: params.yaml has changed since; `dvc exp run` runs it")
        else:
            runs.append(_run(name, row))
    return runs, unfinished


def matching(runs: Sequence[Experiment], conditions: Sequence[str]) -> list[Experiment]:
    """The runs that fulfil all conditions `section.key=value`.

    Raises:
        ExperimentsError: a condition is not of this form, or no run fulfils all.
    """
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise ExperimentsError(f"{condition!r}: expected KEY=VALUE, as in train.blocks=2")
        if runs and not all(key in run.params for run in runs):
            known = ", ".join(sorted(runs[0].params))
            raise ExperimentsError(f"{condition!r}: unknown parameter, expected one of {known}")
        kept = [run for run in runs if run.params[key] == value]
        if runs and not kept:
            there = ", ".join(sorted({run.params[key] for run in runs}))
            raise ExperimentsError(f"no run with {condition}; there are {key} = {there}")
        runs = kept
    return list(runs)


def _run(name: str, row: Mapping[str, Any]) -> Experiment:
    def counts(what: str) -> dict[str, int]:
        return {split: int(row[f"{split}.{what}"]) for split in figures}

    figures = _figures(row)
    return Experiment(
        name=name,
        data=row["outputs/index.json"],
        params={
            key: value
            for key, value in _params(row).items()
            if not key.startswith("data.") and key not in _IRRELEVANT
        },
        code={key: value for key, value in row.items() if key.endswith(".py") and value},
        figures=figures,
        queries=counts("queries"),
        without_video=counts("without video"),
    )


def _commit(row: Mapping[str, Any]) -> bool:
    """A commit or the workspace, not an experiment."""
    return row.get("Experiment") is None


def _params(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: _shown(value)
        for key, value in row.items()
        if key.partition(".")[0] in SECTIONS and value is not None
    }


def _locked_params(repo: Repo, row: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that the figures of a commit or of the workspace were made with."""
    lock = Path(repo.root_dir) / "dvc.lock"
    if row["rev"] == "workspace":
        text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    else:
        files = repo.scm.get_fs(row["rev"])
        name = str(lock.relative_to(repo.scm.root_dir))
        text = files.open(name, "r").read() if files.exists(name) else ""
    content = YAML(typ="safe").load(text) or {"stages": {}}
    params: dict[str, str] = {}
    for stage in content["stages"].values():
        for key, value in stage.get("params", {}).get("params.yaml", {}).items():
            params.update(_flat(key, value))
    return params


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _flat(f"{key}.{name}", part)
    else:
        yield key, _shown(value)


def _figures(row: Mapping[str, Any]) -> Figures:
    """metrics.json as DVC flattens it, `val.HL-CLIP-2 (SP).VeryGood.mAP`, put up again."""
    figures: Figures = {}
    for key, value in row.items():
        parts = key.split(".")
        # What another run has and this one lacks is None, or the text "None".
        if len(parts) == 4 and parts[3] in ("mAP", "HIT@1") and isinstance(value, float):
            split, variant, level, metric = parts
            levels = figures.setdefault(split, {}).setdefault(variant, {})
            levels.setdefault(level, {})[metric] = float(value)
    return figures


def _shown(value: object) -> str:
    """A parameter as text: DVC hands on all numbers as floats."""
    return f"{value:g}" if isinstance(value, float | int) else str(value)
