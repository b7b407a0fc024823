"""Weights files of every kind, good and bad, and what identifies them; see also test_hub.py."""

import hashlib
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hlclip.model import Encoder, EncoderError, encoder_header, load_encoder, weights_status
from hlclip.store.store import content_key
from tests.models import save_model, tiny_config

TINY = "ViT-tiny-quickgelu"
OTHER = "ViT-tiny-deep-quickgelu"


def openai_like(*, layers: int = 4) -> dict[str, Any]:
    """A config that open_clip can also guess from an OpenAI archive: heads of 64."""
    config = tiny_config(layers=layers, vision={"width": 64, "head_width": 64})
    config["text_cfg"] |= {"width": 64, "heads": 1}
    return config


@pytest.fixture(autouse=True)
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models in open_clip's own tables, next to those that it comes with."""
    for name, layers in {TINY: 4, OTHER: 5, "ViT-tiny": 4}.items():
        config = openai_like(layers=layers) | {"quick_gelu": "quickgelu" in name}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)


def weights(*, seed: int = 0, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights; values that float16 can hold, so that both precisions mean the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = CLIP(**openai_like()).state_dict()
    return {name: tensor.half().to(dtype) for name, tensor in state.items()}


def save(path: Path, state: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def load(path: Path | str, model: str = TINY) -> Encoder:
    return load_encoder(model, str(path), cached_blocks=2)


def refused(path: Path | str, model: str = TINY) -> str:
    """The message that refuses a file: a line that names the file, and a line with the remedy."""
    with pytest.raises(EncoderError) as caught:
        load(path, model)
    message = str(caught.value)
    assert Path(path).name in message.splitlines()[0]
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


# Whole files


@pytest.mark.parametrize("name", ["visual.proj", "ln_final.bias", "token_embedding.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, name: str, value: float):
    """1e300 is finite in the file's float64, and not in the model's float32."""
    state = weights(dtype=torch.float64)
    state[name].view(-1)[1] = value
    message = refused(save(tmp_path / "w.pt", state))
    assert f"tensor {name} has NaN or infinity in 1 of {state[name].numel()} values" in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin"])
def test_every_kind_of_file_gives_the_same_model(tmp_path: Path, name: str, dtype: torch.dtype):
    found = load(save(tmp_path / name, weights(dtype=dtype)))
    expected = weights(dtype=torch.float32)
    state = found.model.state_dict()
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(state[key], tensor, atol=0, rtol=0)


def test_a_training_checkpoint_and_an_old_file_are_read(tmp_path: Path):
    expected = load(save(tmp_path / "w.pt", weights())).fingerprint()
    state = {f"module.{key}": tensor for key, tensor in weights().items()}
    checkpoint = {"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"state": {}}}
    assert load(save(tmp_path / "epoch_3.pt", checkpoint)).fingerprint() == expected
    torch.save(weights(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "old.pt").fingerprint() == expected


def test_a_file_with_the_text_tower_in_its_old_place_fits_a_custom_text_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = openai_like() | {"custom_text": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny-custom", config)
    found = load(save(tmp_path / "w.pt", weights()), "ViT-tiny-custom")
    assert isinstance(found.model, CustomTextCLIP)
    state = found.model.state_dict()
    for key in ("ln_final.weight", "transformer.resblocks.3.attn.in_proj_weight"):
        expected = weights(dtype=torch.float32)[key]
        torch.testing.assert_close(state[f"text.{key}"], expected, atol=0, rtol=0)


def test_a_file_takes_the_preprocessing_that_its_model_was_published_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    path = save(tmp_path / "w.pt", weights())
    published = open_clip.pretrained._slpcfg(hf_hub="nobody/nothing/", quick_gelu=True)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, {"webli": published})
    found = load(path).preprocess
    assert (found.size, found.mean, found.resize) == (32, (0.5, 0.5, 0.5), "squash")
    assert caplog.messages == []
    other = {**published, "mean": (0.1, 0.2, 0.3)}
    tags = {"webli": published, "other": other}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, TINY, tags)
    found = load(path).preprocess
    assert (found.mean, found.resize) == (open_clip.OPENAI_DATASET_MEAN, "squash")
    assert "published weights of ViT-tiny-quickgelu differ in mean" in caplog.text


def test_a_file_for_a_model_that_has_a_quickgelu_twin_is_warned_about(tmp_path: Path, caplog):
    load(save(tmp_path / "w.pt", weights()), "ViT-tiny")
    assert "OpenAI, MetaCLIP and DFN need ViT-tiny-quickgelu" in caplog.text


# OpenAI's TorchScript archives


class Archive(CLIP):
    def __init__(self) -> None:
        super().__init__(**openai_like())
        self.register_buffer("attn_mask", None)
        for name in ("input_resolution", "context_length", "vocab_size"):
            if hasattr(self, name):
                delattr(self, name)
            self.register_buffer(name, torch.tensor(1))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] (traced)
        return x


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Made like ViT-B-32.pt: a traced module, half precision, three numbers next to the weights."""
    module = Archive()
    module.load_state_dict(weights(dtype=torch.float32), strict=False)
    open_clip.model.convert_weights_to_fp16(module)
    path = tmp_path / "ViT-tiny.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, torch.zeros(1)), path)
    return path


def publish(monkeypatch: pytest.MonkeyPatch, archive: Path, *models: str) -> None:
    """Enter an archive into open_clip's table as OpenAI's, under its sha256."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    url = f"https://openaipublic.azureedge.net/clip/models/{digest}/{archive.name}"
    tag = open_clip.pretrained._pcfg(url=url, hf_hub="nobody/nothing/", quick_gelu=True)
    for model in models:
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, model, {"openai": tag})


def test_openais_archive_is_known_by_its_sha256(archive: Path, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, archive, "ViT-tiny", TINY)
    found = load(archive)
    plain = load(save(archive.with_name("w.safetensors"), weights()))
    assert found.fingerprint() == plain.fingerprint()
    assert found.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert found.preprocess.size == 32
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    torch.testing.assert_close(
        found.image_tokens(frames, batch=2), plain.image_tokens(frames, batch=2), atol=0, rtol=0
    )
    assert weights_status(TINY, str(archive)).place == "file"


def test_openais_archive_needs_its_own_model(archive: Path, monkeypatch: pytest.MonkeyPatch):
    publish(monkeypatch, archive, "ViT-tiny", TINY)
    assert f"is OpenAI's ViT-tiny, but the model is {OTHER}" in refused(archive, OTHER)
    with pytest.raises(EncoderError, match=f"-S encoder.model={TINY}"):
        load(archive, "ViT-tiny")


def test_the_table_knows_the_archive_that_openai_published():
    """The sha256 is part of its address, so it also stands in OpenAI's own repository."""
    url = open_clip.get_pretrained_url("ViT-B-32-quickgelu", "openai")
    known = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    assert url.split("/")[-2:] == [known, "ViT-B-32.pt"]


class Program(nn.Module):
    """TorchScript that makes a file when it is loaded."""

    def __init__(self, makes: str) -> None:
        super().__init__()
        self.makes = makes
        self.size = 0

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, int, bool]:  # pyright: ignore[reportIncompatibleMethodOverride] (TorchScript's own)
        return self.makes, self.size, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, int, bool]) -> None:
        self.makes = state[0]
        self.size = torch.from_file(self.makes, True, 1).numel()
        self.training = state[2]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_any_other_archive_is_refused_unrun(tmp_path: Path):
    made = tmp_path / "made"
    path = tmp_path / "archive.pt"
    torch.jit.save(torch.jit.script(Program(str(made))), path)
    made.unlink(missing_ok=True)
    assert "TorchScript archive, a program that would run" in refused(path)
    assert weights_status(TINY, str(path)).place == "nowhere"
    assert not made.exists()
    torch.jit.load(path)
    assert made.exists()  # what was kept from happening


# Pickles


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, makes: Path) -> None:
        self.makes = makes

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.makes),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("kind", ["saved", "old", "pickled"])
def test_a_pickle_that_would_run_something_is_refused_unrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
):
    # Some set this for other programs: torch.load without weights_only then runs what it reads.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    made, path = tmp_path / "made", (tmp_path / "weights").with_suffix(suffix)
    content = {"logit_scale": Bomb(made)}
    if kind == "pickled":
        path.write_bytes(pickle.dumps(content))
    elif kind == "old":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(content, path)
    message = refused(path)
    assert ("holds more than tensors" in message) == (kind in ("saved", "old"))
    assert "weights_only" not in message  # torch advises to load it unsafely
    assert weights_status(TINY, str(path)).place == "nowhere"
    assert not made.exists()
    if kind == "pickled":
        pickle.loads(path.read_bytes())  # noqa: S301 (our own bytes)
        assert made.exists()  # what was kept from happening


def test_a_pickle_in_a_models_folder_is_refused_unrun(tmp_path: Path):
    name = save_model(tmp_path / "model", tiny_config())
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    made = tmp_path / "made"
    torch.save({"logit_scale": Bomb(made)}, tmp_path / "model" / "open_clip_pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin: holds more than tensors"):
        load_encoder(name, None, cached_blocks=2)
    assert not made.exists()


# Wrong, damaged and missing files


def test_another_models_file_is_refused_with_the_differences(tmp_path: Path):
    path = save(tmp_path / "w.safetensors", weights())
    message = refused(path, OTHER)
    tensors = len(CLIP(**openai_like(layers=5)).state_dict())
    assert f"not the weights of {OTHER}, which has {tensors} tensors: 24 missing" in message
    deep = {key.replace("resblocks.3", "resblocks.4"): t for key, t in weights().items()}
    message = refused(save(tmp_path / "deep.pt", {**weights(), **deep}))
    assert f"24 that {TINY} does not have (visual.transformer.resblocks.4." in message
    assert "give this model's file, or name the model that the file belongs to" in message


def test_a_file_of_another_shape_is_refused_not_interpolated(tmp_path: Path):
    """open_clip would resize position embeddings to the model's image size, with a log line."""
    larger = weights()
    larger["visual.positional_embedding"] = torch.zeros(26, 64)
    message = refused(save(tmp_path / "larger.pt", larger))
    assert "1 of another shape (visual.positional_embedding is [26, 64], " in message
    assert "expected [17, 64]" in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.99999])
def test_a_cut_off_file_is_refused(tmp_path: Path, suffix: str, share: float):
    whole = save((tmp_path / "whole").with_suffix(suffix), weights()).read_bytes()
    path = (tmp_path / "cut").with_suffix(suffix)
    path.write_bytes(whole[: int(len(whole) * share)])
    message = refused(path)
    assert ("is empty" if share == 0 else "not a whole") in message
    assert f"put a whole {path.name} there" in message
    assert weights_status(TINY, str(path)).place == "nowhere"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("w.pt", b"<!doctype html><title>Sign in</title>", "not a whole file of torch.save"),
        ("w.safetensors", b"<!doctype html><title>Sign in</title>", "not a whole safetensors"),
        ("w.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "run `git lfs pull`"),
        ("w.npz", b"PK", r"weights files end in .safetensors, .pt, .pth, .bin, not '.npz'"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "but it holds nothing"),
        ([torch.zeros(1)], "but it holds a list"),
        (torch.zeros(1), "but it holds a Tensor"),
        ({"epoch": 3, "w": torch.zeros(1)}, "not all entries are (epoch)"),
        ({3: torch.zeros(1)}, "not all entries are (3)"),
        ({"w": torch.zeros(1)}, "missing (positional_embedding, text_projection, ...)"),
    ],
)
def test_a_file_without_a_models_tensors_is_refused(tmp_path: Path, content: Any, says: str):
    assert says in refused(save(tmp_path / "w.pt", content))


def test_a_missing_file_is_named(tmp_path: Path):
    assert "no weights file" in refused(tmp_path / "gone.pt")
    assert "-S encoder.pretrained=/path/to/file" in refused("gone.safetensors")
    assert "no weights file" in refused(tmp_path)  # a folder
    status = weights_status(TINY, str(tmp_path / "gone.pt"))
    assert status.place == "nowhere"
    assert "gone.pt" in status.where
    assert status.remedy


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (None, "no folder"),
        ([], "has no open_clip_config.json"),
        (["open_clip_config.json"], "has no weights file"),
    ],
)
def test_a_models_folder_is_checked(tmp_path: Path, files: list[str] | None, says: str):
    folder = tmp_path / "model"
    if files is not None:
        save_model(folder, tiny_config())
        for path in set(folder.iterdir()) - {folder / name for name in files}:
            path.unlink()
    with pytest.raises(EncoderError, match=says):
        load_encoder(f"local-dir:{folder}", None, cached_blocks=2)
    assert weights_status(f"local-dir:{folder}", None).place == "nowhere"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "open_clip_config.json cannot be read"),
        ("[]", "open_clip_config.json cannot be read"),
        ('{"model_cfg": 3}', "open_clip_config.json holds no model"),
        ('{"model_cfg": {"embed_dim": 3}}', "not an open_clip model's: KeyError 'vision_cfg'"),
        (
            '{"model_cfg": {"embed_dim": 3, "vision_cfg": {"colour": 1}, "text_cfg": {}}}',
            "not an open_clip model's: TypeError .*colour",
        ),
    ],
)
def test_a_broken_config_is_named(tmp_path: Path, text: str, says: str):
    name = save_model(tmp_path, tiny_config())
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(EncoderError, match=re.escape(name) + ".*" + says):
        load_encoder(name, None, cached_blocks=2)


# What identifies weights


def key(encoder: Encoder, pretrained: str | None) -> str:
    """Key of a query's activations."""
    return content_key(encoder_header(encoder, pretrained), "a dog")


def test_the_same_weights_in_any_file_have_one_key(tmp_path: Path):
    paths = [
        save(tmp_path / "w.pt", weights(dtype=torch.float32)),
        save(tmp_path / "w.safetensors", weights(dtype=torch.float32)),
        save(tmp_path / "renamed.bin", weights(dtype=torch.float32)),
        save(tmp_path / "half.safetensors", weights(dtype=torch.float16)),  # the same values
    ]
    assert len({key(load(path), str(path)) for path in paths}) == 1


def test_other_weights_under_the_same_name_have_another_key(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    keys = {key(load(save(path, weights(seed=seed))), str(path)) for seed in (0, 1)}
    slightly = weights(dtype=torch.float32)
    slightly["visual.proj"][0, 0] += 1e-6
    keys.add(key(load(save(path, slightly)), str(path)))
    assert len(keys) == 3


@pytest.mark.parametrize(
    "change",
    [{"quick_gelu": False}, {"vision_cfg": {"head_width": 32}}, {"text_cfg": {"heads": 2}}],
    ids=str,
)
def test_another_config_of_the_same_weights_has_another_key(tmp_path: Path, change: dict):
    """Heads and activation function are not in the weights."""
    config = tiny_config()
    for field, value in change.items():
        config[field] = {**config[field], **value} if isinstance(value, dict) else value
    names = [save_model(tmp_path / "a/m", tiny_config()), save_model(tmp_path / "b/m", config)]
    states = [load_file(tmp_path / f / "m/open_clip_model.safetensors") for f in ("a", "b")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    encoders = [load_encoder(name, None, cached_blocks=2) for name in names]
    keys = [key(encoder, None) for encoder in encoders]
    assert keys[0] != keys[1]


def test_status_of_what_is_here(tmp_path: Path):
    path = save(tmp_path / "w.pt", weights())
    before = sorted(tmp_path.rglob("*"))
    status = weights_status(TINY, str(path))
    assert (status.place, status.where, status.remedy) == ("file", str(path), "")
    assert status.size == path.stat().st_size
    assert sorted(tmp_path.rglob("*")) == before
    name = save_model(tmp_path / "model", tiny_config())
    status = weights_status(name, None)
    assert status.place == "file"
    assert status.where.endswith("open_clip_model.safetensors")


def test_status_of_what_does_not_exist():
    named = [("ViT-B-33", "openai"), (TINY, "no_such_tag"), ("hf-hub:a b", None), ("hf-hub:", None)]
    for model, pretrained in named:
        with pytest.raises(EncoderError):
            load_encoder(model, pretrained, cached_blocks=2)
        status = weights_status(model, pretrained)
        assert status.place == "nowhere"
        assert status.remedy
    assert "ViT-B-32" in weights_status("ViT-B-33", "openai").remedy
    assert "openai" in weights_status("ViT-B-32-quickgelu", "no_such_tag").remedy
