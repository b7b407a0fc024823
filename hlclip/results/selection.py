"""Experiments chosen and compared by their parameters."""

from collections.abc import Sequence

from hlclip.results.experiments import Experiment, ExperimentsError

_FRAMES = ("frames.size", "frames.resize", "frames.interpolation")
_FOLLOWING = {"encoder.model": ("encoder.pretrained", *_FRAMES), "encoder.pretrained": _FRAMES}
"""Parameter -> those that differ with it: a model has its own weights and takes its own frames."""


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
        values = sorted({experiment.params[key] for experiment in experiments}, key=by_number)
        experiments = [each for each in experiments if each.params[key] == value]
        if not experiments:
            raise ExperimentsError(
                f"no run with {condition}; there are {key} = {', '.join(values)}"
            )
    return list(experiments)


def by_number(value: str) -> tuple[float, str]:
    """Sort key of a parameter's value: numbers by size, before texts."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def following(keys: Sequence[str]) -> list[str]:
    """The parameters that may differ because one of `keys` does, without those in `keys`."""
    found = (each for key in keys for each in _FOLLOWING.get(key, ()))
    return [each for each in dict.fromkeys(found) if each not in keys]


def check_known(experiments: Sequence[Experiment], keys: Sequence[str]) -> None:
    """Refuse parameters that some experiment does not have, and list those that all have."""
    known = set.intersection(*(set(experiment.params) for experiment in experiments))
    unknown = [key for key in keys if key not in known]
    if unknown:
        expected = ", ".join(sorted(known))
        raise ExperimentsError(
            f"{', '.join(unknown)}: unknown parameter, expected one of {expected}"
        )
