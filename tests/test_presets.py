"""Presets: complete parameter files that say what they are for and fit their model."""

from pathlib import Path
from typing import Any

import pytest

from hlclip.cli.models import QVHIGHLIGHTS_FRAMES
from hlclip.datasets.qvhighlights import ANNOTATIONS
from hlclip.model import describe_encoder, describe_model
from hlclip.params import load_params
from tests.docs import tables

ROOT = Path(__file__).parents[1]
PRESET = ROOT / "presets" / "qvhighlights.yaml"
PRESETS = sorted(PRESET.parent.glob("*.yaml"))


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        nested = isinstance(value, dict)
        found |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def test_the_preset_differs_from_the_sample_only_where_it_must():
    """Whoever changes a default changes it in both files, or says here why not."""
    sample = flat(load_params(ROOT / "params.yaml").model_dump())
    preset = flat(load_params(PRESET).model_dump())
    assert set(preset) == set(sample)
    assert {key for key in sample if sample[key] != preset[key]} == {
        "data.root",
        "data.annotations.train",
        "data.annotations.val",
        "data.annotations.test",
        "frames.size",
        "encoder.model",
        "encoder.pretrained",
        "train.lr",
        "train.epochs",
        "train.micro_batch",  # of ViT-B/32 on a CPU
        "pool.window",
        "pool.sigma",  # which the mode of both does not read
        "moments.rule",
    }


@pytest.mark.parametrize(
    ("name", "differing"),
    [
        ("siglip2-b32", {"frames.size", "frames.resize"}),
        ("pe-core-b16", {"frames.resize", "frames.interpolation"}),
        ("dfn2b-b16", set()),
    ],
)
def test_a_preset_of_another_encoder_differs_in_it_and_its_frames_alone(
    name: str, differing: set[str]
) -> None:
    main, other = (flat(load_params(path).model_dump()) for path in (PRESET, of_encoder(name)))
    assert {key for key in main if main[key] != other[key]} == {
        "encoder.model",
        "encoder.pretrained",
        *differing,
    }
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (PRESET, of_encoder(name))]
    others = [line for line in lines[1] if line not in lines[0] and not line.startswith("#")]
    keys = {key.split(".")[1] for key in ("encoder.model", "encoder.pretrained", *differing)}
    assert {line.split(":")[0].strip() for line in others} == keys  # comments are the same, too


def test_the_preset_for_own_data_differs_in_the_files_alone() -> None:
    main, own = PRESET.read_text(encoding="utf-8"), of("own-data").read_text(encoding="utf-8")
    lines = [text.split("\ndata:")[1].splitlines() for text in (main, own)]
    differing = [line.split(":")[0].strip() for line in lines[1] if line not in lines[0]]
    assert differing == ["root", "train", "val", "test"]


@pytest.mark.parametrize(
    ("name", "differing"),
    [
        ("tvsum", {"train.blocks"}),
        ("youtube-highlights", {"train.blocks"}),
        ("charades-sta", {"data.clip_seconds", "train.select"}),
    ],
)
def test_a_preset_of_another_data_set_differs_in_it_and_in_what_val_chooses(
    name: str, differing: set[str]
) -> None:
    main, other = (flat(load_params(path).model_dump()) for path in (PRESET, of(name)))
    assert {key for key in main | other if main.get(key) != other.get(key)} == {
        "data.root",
        *(f"data.annotations.{split}" for split in ("train", "val", "test")),
        "pool.window",
        "pool.sigma",
        "moments.rule",
        "evaluate.splits",
        *differing,
    }
    named = load_params(of(name)).data.annotations.values()
    assert f"hlclip data {name} {other['data.root']}" in of(name).read_text(encoding="utf-8")
    assert all(path.startswith("annotations/") for path in named)


def of(name: str) -> Path:
    return PRESET.with_name(f"{name}.yaml")


def of_encoder(name: str) -> Path:
    return PRESET.with_name(f"qvhighlights-{name}.yaml")


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_fits_its_model_and_weights(path: Path) -> None:
    params = load_params(path)
    entries = describe_model(params.encoder.model)
    (entry,) = [entry for entry in entries if params.encoder.pretrained in entry.pretrained]
    assert entry.encoder.preprocess.corrections(params.frames.model_dump()) == {}
    assert path.read_text(encoding="utf-8").count(f"cp presets/{path.name} params.yaml") == 1


def test_the_docs_say_what_each_encoder_costs() -> None:
    (table,) = [t for t in tables(ROOT / "docs/qvhighlights.md") if t[0][0] == "preset"]
    of_encoders = set(PRESET.parent.glob("qvhighlights*.yaml"))
    assert {ROOT / row[0].strip("`") for row in table[1:]} == of_encoders
    for name, *cells in table[1:]:
        encoder = load_params(ROOT / name.strip("`")).encoder
        description = describe_encoder(encoder.model, encoder.pretrained)
        size, resize = description.preprocess.size, description.preprocess.resize
        tokens, width = description.image_shape
        millions = description.trunk_parameters / 1e6, description.tail_parameters / 1e6
        assert cells == [
            f"`{encoder.model}`",
            f"{size}, {resize}",
            f"{tokens} x {width}",
            f"{QVHIGHLIGHTS_FRAMES * tokens * width * 2 / 1e9:.0f} GB",
            f"{millions[0]:.0f} M, {millions[1]:.0f} M",
        ]


def test_the_preset_names_the_released_files():
    named = load_params(PRESET).data.annotations
    assert {split: Path(name).name for split, name in named.items()} == {
        release.split: release.name for release in ANNOTATIONS
    }
