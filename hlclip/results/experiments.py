"""Finished runs of the pipeline as DVC's experiments record them."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.serialize import ExpState
from dvc.scm import SCMError

from hlclip.evaluation import ALL, BENCHMARKS, Benchmark, Groups
from hlclip.formats import (
    LOCK_FILE,
    ZERO_SHOT,
    DamagedFileError,
    RunLock,
    fine_tuned,
    flat,
    parse_lock,
    unpooled,
)
from hlclip.system import HlclipError, is_shallow

METRICS = ("mAP", "HIT@1")
"""The highlight metrics of QVHighlights, in percent."""

WORKSPACE = "workspace"
"""DVC's name of the working folder, between the revisions of git."""

FIGURES_FILE = "outputs/figures.json"

RESTORE = (
    "`dvc checkout` brings the files of dvc.lock back if DVC's cache has them, `dvc repro` makes "
    "those of params.yaml"
)
"""What to do where the files of a working folder are not of the run in dvc.lock."""

_CODE = ("hlclip", "stages")
"""Folders of code; dvc.lock has their hashes."""

_WITHOUT_EFFECT = ("data.", "encoder.batch", "train.device")
"""Parameters that change speed and memory only, and the location of the data."""

Figures = dict[str, dict[str, Groups]]
"""split -> variant -> level (`VeryGood`) -> `mAP`, `HIT@1` in percent; or `moments` -> metrics."""

_REFERENCES = "references"

_ONE_DOMAIN = ("leave-one-out", "per-domain")
"""Protocols in which one run gives the figure of one domain."""


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
    dataset: str = "qvhighlights"
    protocol: str = ""
    """How a data set with domains was split; empty if there is one way only."""
    references: Figures = field(default_factory=dict)
    """split -> reference row -> figures, see `hlclip.evaluation.reference_rows`."""

    @property
    def benchmark(self) -> Benchmark:
        """What the figures are of."""
        return BENCHMARKS[self.dataset]

    @property
    def domain(self) -> str:
        """The domain that this run measures, where the protocol needs a run for each; or empty.

        It is that of test; of val where the run has no test.
        """
        if self.protocol not in _ONE_DOMAIN:
            return ""
        measured = self.figures.get("test") or next(iter(self.figures.values()))
        return ", ".join(name for name in next(iter(measured.values())) if name != ALL)

    @property
    def source(self) -> str:
        """What runs of one table must have in common: the data, or the data set and protocol."""
        if self.domain:
            return f"{self.dataset} {self.protocol}"
        kind = f"{self.dataset} {self.protocol}".strip()
        return self.data if self.benchmark.kind == "levels" else f"{kind} {self.data}"


def finished_experiments(
    repository: Path, *, revisions: Sequence[str] = (), commits: int = 1
) -> tuple[list[Experiment], list[str]]:
    """Read the finished runs that DVC knows, and say of each other run why it is left out.

    dvc.lock of each revision has the parameters of its run and the md5 of its figures, which are
    read from DVC's cache under that md5, or from the working folder.

    Args:
        repository: folder with dvc.yaml.
        revisions: commits or branches whose experiments are read; HEAD if empty.
        commits: number of commits to read back from each revision; -1 for all.

    Returns:
        The runs, the working folder's first, then the newest first; a line for each other run.

    Raises:
        ExperimentsError: not a DVC repository, no commit, or an unknown revision.
    """
    try:
        with Repo.open(str(repository)) as repo:
            states = repo.experiments.show(revs=list(revisions) or None, num=commits)
            if not states:
                raise ExperimentsError(
                    f"{repository.absolute()} has no commit, and DVC's experiments belong to one",
                    "`git add --all && git commit -m start`, then run again",
                )
            runs = [(*run, *_recorded(repo, run[1].rev)) for run in _runs(states)]
        unfinished = []
        if is_shallow(repository):
            unfinished.append(
                "experiments of --temp and --queue: DVC loses them in a shallow clone; "
                "`git fetch --unshallow` gets the whole history"
            )
    except (DvcException, SCMError, OSError, subprocess.CalledProcessError) as error:
        raise ExperimentsError(
            f"DVC cannot show experiments of {repository.absolute()}: {error}",
            "run this in the folder that holds dvc.yaml (`hlclip init FOLDER` makes a project)",
        ) from error
    experiments: list[tuple[bool, float, Experiment]] = []
    for name, state, unfinished_as, lock, written in runs:
        why = unfinished_as or _unusable(state, lock, written)
        if why or lock is None or state.data is None:
            unfinished.append(f"{name}: {why}")
            continue
        created = state.data.timestamp.timestamp() if state.data.timestamp else 0.0
        order = state.rev != WORKSPACE, -created
        experiments.append((*order, _experiment(name, lock, written)))
    experiments.sort(key=lambda each: each[:2])
    return [experiment for *_, experiment in experiments], unfinished


def _runs(states: Sequence[ExpState]) -> Iterator[tuple[str, ExpState, str]]:
    """Name and state of each commit and experiment, and `queued`, `running` or `failed`."""
    for baseline in states:
        name = WORKSPACE if baseline.rev == WORKSPACE else baseline.name or baseline.rev[:7]
        yield name, baseline, ""
        for experiment in baseline.experiments or ():
            state = experiment.revs[0]
            executor = experiment.executor.state if experiment.executor else "success"
            name = experiment.name or state.name or state.rev[:7]
            yield name, state, "" if executor == "success" else executor


def _recorded(repo: Repo, revision: str) -> tuple[RunLock | None, dict[str, Any]]:
    """dvc.lock of a revision or of the workspace and what its figures.json has.

    None without a dvc.lock that can be read; nothing where no file has the md5 of dvc.lock.
    """
    with repo.switch(revision):
        path = repo.fs.join(repo.root_dir, LOCK_FILE)
        try:
            lock = parse_lock(repo.fs.cat_file(path))
        except (FileNotFoundError, DamagedFileError):
            return None, {}
    md5 = lock.outputs.get(FIGURES_FILE, "")
    for path in (repo.cache.local.oid_to_path(md5), repo.fs.join(repo.root_dir, FIGURES_FILE)):
        if md5 and Path(path).is_file():
            content = Path(path).read_bytes()
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                return lock, json.loads(content)
    return lock, {}


def _unusable(state: ExpState, lock: RunLock | None, written: Mapping[str, Any]) -> str:
    """Why the figures of a revision are not those of its parameters; empty if they are."""
    if lock is None or FIGURES_FILE not in lock.outputs:
        return f"not run, its {LOCK_FILE} has no {FIGURES_FILE}"
    if not _figures(written):
        absent = (
            f"DVC's cache lacks its {FIGURES_FILE}, as after a clone; `dvc fetch --all-commits` "
            "gets it from a remote, or `dvc repro` runs it here: commit dvc.lock afterwards"
        )
        return "no split has ground truth" if written else absent
    if lock.mixed:
        return f"its stages are of several runs: {lock.mixed[0]}; `dvc repro` makes one"
    if _as_texts(_params(state)) != _as_texts(lock.params):
        return "params.yaml has changed since; `dvc exp run` runs it"
    blocks = lock.params.get("train.blocks", 0)
    temporal = lock.params.get("train.temporal", "none")  # absent in revisions without that head
    variants = {unpooled(name) for part in _figures(written).values() for name in part}
    others = variants - {ZERO_SHOT, fine_tuned(blocks, temporal)}
    if others or (variants == {ZERO_SHOT} and (blocks or temporal != "none")):
        # `dvc commit` and `dvc exp save` write down parameters that did not run.
        return (
            f"its figures are of {' and '.join(sorted(variants))}, not of train.blocks = {blocks}, "
            f"train.temporal = {temporal}; `dvc repro --force` makes them again"
        )
    return ""


def _experiment(name: str, lock: RunLock, written: Mapping[str, Any]) -> Experiment:
    params, figures = _as_texts(lock.params), _figures(written)
    some = written[next(iter(figures))]
    return Experiment(
        name=name,
        data=lock.outputs["outputs/index.json"],
        params={key: params[key] for key in params if not key.startswith(_WITHOUT_EFFECT)},
        code={path: md5 for path, md5 in lock.inputs.items() if path.split("/")[0] in _CODE},
        figures=figures,
        queries={split: written[split]["queries"] for split in figures},
        without_video={split: written[split]["without video"] for split in figures},
        dataset=some.get("data set", "qvhighlights"),
        protocol=some.get("protocol", ""),
        references={split: written[split].get(_REFERENCES, {}) for split in figures},
    )


def _figures(written: Mapping[str, Any]) -> Figures:
    """Figures of the splits with ground truth, without the counts of queries."""
    splits = {
        split: {
            name: groups
            for name, groups in part.items()
            if isinstance(groups, dict) and name != _REFERENCES
        }
        for split, part in written.items()
        if "queries" in part
    }
    return {split: variants for split, variants in splits.items() if variants}


def _params(state: ExpState) -> dict[str, Any]:
    """What DVC read from params.yaml; nothing where it could not."""
    files: Mapping[str, Any] = state.data.params if state.data else {}
    return flat(files.get("params.yaml", {}).get("data") or {})


def _as_texts(params: Mapping[str, object]) -> dict[str, str]:
    """Parameters as text; numbers alike whether YAML wrote them as integers or not."""
    return {
        key: f"{value:g}" if isinstance(value, float | int) else str(value)
        for key, value in params.items()
    }
