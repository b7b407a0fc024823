"""`hlclip models` says what can be used and what it costs, without weights and network."""

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.model import describe_encoder, describe_model, load_encoder
from tests.models import save_model, tiny_config


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def found(*arguments: str) -> dict[str, Any]:
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_table_has_what_params_yaml_needs_and_the_cost() -> None:
    lines = run("ViT-B-32-quickgelu", "siglip2-256", "convnext_tiny").stdout.splitlines()
    cells = [re.split(r"  +", line) for line in lines]
    names = [row[0] for row in cells[2:-2] if row[0]]
    assert names[:2] == ["ViT-B-32-quickgelu", "ViT-B-32-SigLIP2-256 *"]
    # 10,148 videos x 75 frames x 50 tokens x 768 numbers of two bytes are 58.45 GB.
    tuned = ["open_clip VisionTransformer", "224 shortest bicubic", "50 x 768", "58.5"]
    assert cells[2][1:5] == tuned
    assert cells[2][7].startswith("openai, laion400m_e31")
    (siglip,) = [row for row in cells if row[0] == "ViT-B-32-SigLIP2-256 *"]
    assert siglip[1:5] == ["timm VisionTransformer", "256 squash bicubic", "64 x 768", "74.8"]
    assert siglip[7] == "webli"
    store = [float(row[4].replace(",", "")) for row in cells[2:-2] if row[0]]
    assert store == sorted(store)
    assert lines[-1] == f"{len(names)} can be used, 1 cannot; --refused says why"


def test_json_has_unrounded_figures_and_the_page_of_each_tag() -> None:
    facts = found("ViT-B-32-quickgelu", "--frames", "1000")
    (model,) = facts["models"]
    assert facts["frames"] == 1000
    assert model["store_bytes"] == 1000 * 50 * 768 * 2
    assert (model["model"], model["tokens"], model["width"]) == ("ViT-B-32-quickgelu", 50, 768)
    block, head = 12 * 768**2 + 13 * 768, 2 * 768 + 768 * 512
    text_block, text_head = 12 * 512**2 + 13 * 512, 2 * 512 + 512 * 512
    assert model["tail_parameters"] == 2 * (block + text_block) + head + text_head
    assert model["trunk_parameters"] + model["tail_parameters"] == 151_277_313  # OpenAI's count
    assert model["preprocess"]["mean"] == list(open_clip.OPENAI_DATASET_MEAN)
    page = "https://huggingface.co/timm/vit_base_patch32_clip_224.openai"
    assert model["pretrained"]["openai"] == page


def test_only_tags_with_the_models_activation_function_are_named() -> None:
    plain, quick = (found(name)["models"] for name in ("ViT-L-14-336", "ViT-L-14-336-quickgelu"))
    assert [model["pretrained"] for model in plain if model["model"] == "ViT-L-14-336"] == [{}]
    assert list(quick[0]["pretrained"]) == ["openai"]


def test_tags_that_take_other_frames_are_entries_of_their_own() -> None:
    entries = describe_model("ViT-H-14-quickgelu")
    assert {entry.encoder.preprocess.resize: list(entry.pretrained) for entry in entries} == {
        "shortest": ["metaclip_fullcc"],
        "squash": ["dfn5b"],
    }


def test_refused_models_are_named_with_the_reason() -> None:
    for arguments in (["convnext_tiny"], ["convnext_tiny", "ViT-S-32", "--refused"]):
        lines = run(*arguments).stdout.splitlines()
        assert lines[0].startswith("convnext_tiny: the image tower is timm's ConvNeXt; only")
        assert lines[-1].endswith("1 cannot")
    reasons = found("convnext_tiny")["refused"]
    assert reasons == {"convnext_tiny": lines[0].removeprefix("convnext_tiny: ")}


def test_a_model_of_ones_own_is_described_as_it_is_loaded(tmp_path: Path) -> None:
    name = save_model(tmp_path / "m", tiny_config())
    (tmp_path / "m" / "open_clip_model.safetensors").rename(tmp_path / "weights.safetensors")
    (model,) = found(name)["models"]
    (tmp_path / "weights.safetensors").rename(tmp_path / "m" / "open_clip_model.safetensors")
    encoder = load_encoder(name, None, cached_blocks=2)
    assert (model["tokens"], model["width"]) == encoder.image_shape == (17, 64)
    assert model["pretrained"] == {}
    parameters = sum(p.numel() for p in encoder.model.parameters())
    assert model["trunk_parameters"] + model["tail_parameters"] == parameters


@pytest.mark.parametrize("model", ["ViT-S-16", "ViT-B-16-SigLIP", "PE-Core-T-16-384"])
def test_a_description_does_not_depend_on_initial_weights(model: str) -> None:
    (entry,) = describe_model(model)
    assert entry.encoder == describe_encoder(model, next(iter(entry.pretrained), None))


def test_a_name_that_finds_nothing_is_an_error() -> None:
    result = run("ViT-B-23")
    assert (result.exit_code, result.stdout) == (2, "")
    reason, remedy = result.stderr.splitlines()
    assert reason == "no model of open_clip has 'ViT-B-23' in its name"
    assert remedy.startswith("near it: ViT-B-32")
