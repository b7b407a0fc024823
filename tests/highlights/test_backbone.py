"""A checkpoint finds the model that it was fine-tuned from, wherever it is used."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hlclip import load_scorer
from hlclip.formats import CheckpointError
from hlclip.highlights.backbone import find_backbones
from hlclip.model import build_tail, encoder_header, load_encoder, save_tail
from tests.films import film
from tests.models import save_model, tiny_config

RELATIVE = "parts/model"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a repository: its model, named by a relative path, its checkpoint, and a film."""
    root = tmp_path_factory.mktemp("project")
    model = save_model(root / RELATIVE, tiny_config())
    encoder = load_encoder(model, None, cached_blocks=2)
    tensors = build_tail(encoder).train_only(2, "all").trained()
    tensors = {name: tensor + 0.1 for name, tensor in tensors.items()}
    write(root, tensors, weights=str(encoder_header(encoder, None)["weights"]))
    film(root / "v.mp4", seconds=4)
    return root


def write(root: Path, tensors: dict, *, weights: str = "none", **facts: object) -> Path:
    """The checkpoint of a run in `root` with the model `local-dir:parts/model`."""
    path = root / "outputs" / "train.safetensors"
    common = {"cached_blocks": 2, "dtype": "float16", "clip_seconds": 2.0, "train": {"blocks": 2}}
    names = {"model": f"local-dir:{RELATIVE}", "pretrained": "none", "weights": weights}
    save_tail(path, tensors, {**common, **names, **facts})
    return path


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("here", "above"), ("above", "here"), ("beside", None), ("link", None)],
)
def test_the_fingerprint_decides(
    right: str, wrong: str | None, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model may be in several places; a model of that name with other weights is passed."""
    monkeypatch.chdir(project)
    store = tmp_path / "store"
    (expected,) = load_scorer("outputs/train.safetensors", store=store).score("v.mp4", "a dog")
    made = sorted(store.glob("*/*/*.h5"))
    here, moved = tmp_path / "here", tmp_path / "moved"
    here.mkdir()
    (moved / "outputs").mkdir(parents=True)
    checkpoint = moved / "outputs" / "train.safetensors"
    if right == "link":
        checkpoint.symlink_to(project / "outputs" / "train.safetensors")
    else:
        shutil.copy(project / "outputs" / "train.safetensors", checkpoint)
        places = {"here": here / RELATIVE, "above": moved / RELATIVE}
        place = places.get(right, checkpoint.parent / "model")
        shutil.copytree(project / RELATIVE, place)
    if wrong is not None:
        place = {"here": here, "above": moved}[wrong] / RELATIVE
        save_model(place, tiny_config(), seed=1)
    monkeypatch.chdir(here)
    (curve,) = load_scorer(checkpoint, store=store).score(project / "v.mp4", "a dog")
    np.testing.assert_array_equal(curve.saliency, expected.saliency)
    assert sorted(store.glob("*/*/*.h5")) == made  # keys do not depend on the place


def test_a_model_of_that_name_with_other_weights_is_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = shutil.copy(project / "outputs" / "train.safetensors", tmp_path)
    other = save_model(tmp_path / RELATIVE, tiny_config(), seed=1)
    (tmp_path / "model").mkdir()  # without weights
    with pytest.raises(CheckpointError, match="field 'weights' is") as caught:
        load_scorer(checkpoint, store=tmp_path)
    assert f"{other} has " in caught.value.reason
    assert f"{tmp_path / 'model'}: has no open_clip_config.json" in caught.value.reason
    assert "--model" in caught.value.remedy()


@pytest.mark.parametrize("given", [RELATIVE, "/data/parts/model"])
def test_every_place_that_was_looked_at_is_named(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    checkpoint = write(tmp_path / "run", {}, given={"model": f"local-dir:{given}"})
    with pytest.raises(CheckpointError) as caught:
        find_backbones(checkpoint, None, None)
    looked = [checkpoint.parent / "model"]
    if given == RELATIVE:
        looked += [folder / RELATIVE for folder in (*checkpoint.parents, tmp_path / "here")]
    else:
        looked.append(Path(given))
    _, places = caught.value.reason.split("; no folder ")
    assert sorted(places.split(" or ")) == sorted(map(str, looked))
    assert "--model local-dir:/path/to/folder" in caught.value.remedy()


def test_a_weights_file_is_found_where_it_was_or_next_to_the_checkpoint(tmp_path: Path) -> None:
    there, name = tmp_path / "data" / "vit.safetensors", "ViT-B-32-quickgelu"
    facts = {"model": name, "pretrained": "file", "given": {"pretrained": str(there)}}
    checkpoint = write(tmp_path / "run", {}, **facts)
    copied = checkpoint.with_name("vit.safetensors")
    with pytest.raises(CheckpointError) as caught:
        find_backbones(checkpoint, None, None)
    assert caught.value.reason.endswith(f"; no weights file of {name} {there} or {copied}")
    assert caught.value.remedy().endswith("name it: --pretrained /path/to/file")
    assert find_backbones(checkpoint, None, "w.pt") == [(name, "w.pt")]
    for path in (copied, there):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_backbones(checkpoint, None, None) == [(name, str(there)), (name, str(copied))]
    assert find_backbones(checkpoint, name, "openai") == [(name, "openai")]
