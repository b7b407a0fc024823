"""The files of a project, made from those of the repository: there is one pipeline to maintain."""

import io
import json
import re
from importlib.metadata import version
from pathlib import Path
from string import Template

from ruamel.yaml import YAML

from hlclip.formats import REQUIREMENTS
from hlclip.project.shipped import presets, shipped
from hlclip.system import HlclipError

_CODE = ("hlclip", "stages/")
"""Dependencies of the stages in the repository that a project does not hold."""

_ABOVE = re.compile(r"\A(?:#.*\n)+")
"""The comment at the top of a file. Those of the repository speak of the repository."""

_PIPELINE = """\
# The stages of hlclip {version}, which is installed and not copied here. `dvc repro` runs a stage
# again when its inputs, its parameters or {requirements} changed: that file names the version.
# `persist` keeps the outputs of the last run until a stage has new ones. `exec` leaves no shell
# between DVC and a stage, so the stage notices when its run is killed.
"""

_PARAMETERS = """\
# Everything a result depends on; from the preset {preset} of hlclip {version}. Change it here
# or with `dvc exp run -S section.key=value`.
"""


def project_files(preset: str, data: Path) -> dict[str, bytes]:
    """Path in the project -> content.

    Args:
        preset: one of `presets()`.
        data: folder of the data set, absolute; it becomes `data.root`.

    Raises:
        HlclipError: there is no such preset.
    """
    if preset not in presets():
        known = ", ".join(presets())
        raise HlclipError(f"--preset {preset}: there is no such preset", f"choose one of {known}")
    facts = {"version": version("hlclip"), "preset": preset, "requirements": REQUIREMENTS}
    readme = Template(Path(__file__).with_name("README.md").read_text(encoding="utf-8"))
    texts = {
        "params.yaml": _parameters(_text(f"presets/{preset}.yaml"), data, facts),
        REQUIREMENTS: f"hlclip=={version('hlclip')}\n",
        "README.md": readme.substitute(facts, data=data),
        # The first paragraph of both is about a run, the others are about hlclip's own code.
        ".gitignore": _text(".gitignore").split("\n\n")[0].rstrip("\n") + "\n",
        ".dvcignore": _text(".dvcignore").split("\n\n")[0].rstrip("\n") + "\n",
        # As `dvc init` leaves it, with the charts of this pipeline.
        ".dvc/config": _text(".dvc/config"),
        ".dvc/.gitignore": _text(".dvc/.gitignore"),
    }
    for chart in sorted(shipped(".dvc/plots").iterdir()):
        texts[f".dvc/plots/{chart.name}"] = chart.read_text(encoding="utf-8")
    texts["dvc.yaml"] = _pipeline(_text("dvc.yaml"), facts)
    return {name: text.encode() for name, text in texts.items()}


def _text(name: str) -> str:
    return shipped(name).read_text(encoding="utf-8")


def _parameters(preset: str, data: Path, facts: dict[str, str]) -> str:
    """A preset with the folder of this project's data. The comments with allowed values stay."""
    root = json.dumps(str(data), ensure_ascii=False)  # JSON is YAML, whatever the name holds
    text = _ABOVE.sub(lambda _: _PARAMETERS.format(**facts), preset)
    return re.sub(r"(?m)^(  root: )\S+", lambda found: found[1] + root, text, count=1)


def _pipeline(repository: str, facts: dict[str, str]) -> str:
    """dvc.yaml with the installed stages, which depend on a version instead of a folder of code."""
    yaml = YAML()
    yaml.width = 100
    content = yaml.load(_ABOVE.sub("", repository))
    for name, stage in content["stages"].items():
        stage["cmd"] = f"exec python -m hlclip.project {name}"
        stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith(_CODE)]
        stage["deps"].append(REQUIREMENTS)
    text = io.StringIO()
    yaml.dump(content, text)
    return _PIPELINE.format(**facts) + text.getvalue()
