"""Weights through the hub's door: fetched once and whole, or one clear error; then no network."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file

from hlclip.model import EncoderError, load_encoder, weights_status
from hlclip.model.hub import HubFile, fetch
from hlclip.model.weights import WeightsStatus
from tests.hub import COMMIT, LARGE, Hub, hub
from tests.models import save_model, tiny_config

ROOT = Path(__file__).parents[2]
WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, server: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and the stand-in as the hub, as HF_HOME and HF_ENDPOINT would set them."""
    use(monkeypatch, server.endpoint)
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    yield folder
    huggingface_hub.close_session()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def model(tmp_path: Path, server: Hub, cache: Path) -> str:
    """A tiny model on the hub."""
    save_model(tmp_path / "model", tiny_config())
    server.add("org/tiny", tmp_path / "model")
    assert (tmp_path / "model" / WEIGHTS).stat().st_size > LARGE
    assert (tmp_path / "model" / CONFIG).stat().st_size < LARGE
    return "hf-hub:org/tiny"


@pytest.fixture
def tag(tmp_path: Path, server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tag of a model that open_clip knows: in its table, and on the hub."""
    save_model(tmp_path / "model", tiny_config())
    server.add("org/tagged", tmp_path / "model")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny", tiny_config())
    known = open_clip.pretrained._apcfg(hf_hub="org/tagged/", quick_gelu=True)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-tiny", {"drawn": known})
    return "drawn"


def load(model: str, pretrained: str | None = None) -> str:
    return load_encoder(model, pretrained, cached_blocks=2).fingerprint()


def refused(model: str, pretrained: str | None = None) -> str:
    """The error's message: a line with the reason, and perhaps a line with the remedy."""
    with pytest.raises(EncoderError) as caught:
        load(model, pretrained)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def resolve(name: str, revision: str = "main", repo: str = "tiny") -> str:
    return f"/org/{repo}/resolve/{revision}/{name}"


def test_a_model_of_the_hub_is_fetched_once(model: str, server: Hub, cache: Path, tmp_path: Path):
    first = load(model)
    assert first == load(f"local-dir:{tmp_path / 'model'}")
    # Both files are of one commit, whatever `main` becomes in between.
    assert f"HEAD {resolve(CONFIG)}" in server.asked
    assert f"HEAD {resolve(WEIGHTS, COMMIT)}" in server.asked
    assert "GET /storage/org/tiny/" + WEIGHTS in server.asked
    assert not [line for line in server.asked if "resolve/main" in line and WEIGHTS in line]
    assert (cache / f"models--org--tiny/snapshots/{COMMIT}" / WEIGHTS).is_file()
    server.asked.clear()
    assert load(model) == first
    assert server.asked == []


def test_a_tag_is_fetched_once_with_its_preprocessing(tag: str, server: Hub, tmp_path: Path):
    encoder = load_encoder("ViT-tiny", tag, cached_blocks=2)
    state = load_file(tmp_path / "model" / WEIGHTS)
    torch.testing.assert_close(encoder.model.visual.proj, state["visual.proj"], atol=0, rtol=0)
    assert (encoder.preprocess.resize, encoder.preprocess.interpolation) == ("squash", "bilinear")
    assert encoder.preprocess.mean == open_clip.constants.IMAGENET_MEAN
    assert not [line for line in server.asked if CONFIG in line]
    server.asked.clear()
    assert load("ViT-tiny", tag) == encoder.fingerprint()
    assert server.asked == []


def test_a_tag_without_safetensors_is_fetched_as_bin(tag: str, server: Hub, tmp_path: Path):
    torch.save(load_file(tmp_path / "model" / WEIGHTS), tmp_path / "w.bin")
    expected = load("ViT-tiny", tag)
    server.files = {("org/tagged2", "open_clip_pytorch_model.bin"): tmp_path / "w.bin"}
    open_clip.pretrained._PRETRAINED["ViT-tiny"]["drawn"]["hf_hub"] = "org/tagged2/"
    assert load("ViT-tiny", tag) == expected
    assert weights_status("ViT-tiny", tag).place == "cache"


def test_a_pickle_from_the_hub_is_refused_unrun(tag: str, server: Hub, tmp_path: Path):
    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"a": Bomb(), "b": torch.zeros(LARGE)}, tmp_path / "bad.bin")
    server.files = {("org/tagged", "open_clip_pytorch_model.bin"): tmp_path / "bad.bin"}
    assert "holds more than tensors" in refused("ViT-tiny", tag)
    assert not (tmp_path / "made").exists()


def test_a_model_that_cannot_be_cut_is_refused_before_its_weights_are_fetched(
    server: Hub, cache: Path
):
    for name, reason in {"RN50-quickgelu": "ModifiedResNet", "coca_ViT-B-32": "CoCa"}.items():
        tag = open_clip.list_pretrained_tags_by_model(name)[0]
        assert reason in refused(name, tag)
    assert server.asked == []


# The hub fails


FAULTS = [
    ("500", "answers 500 Internal Server Error"),
    ("401", "has no such repository, or it is private"),
    ("gated", "its terms must be accepted"),
    ("hangs", "does not answer in time"),
]


@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=lambda value: str(value)[:5])
def test_a_hub_that_fails_is_one_clear_error(
    tag: str, server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, fault, says: str
):
    server.faults[WEIGHTS] = fault
    began = time.monotonic()
    message = refused("ViT-tiny", tag)
    assert time.monotonic() - began < 3  # the hub's own client tries for half a minute
    host = server.endpoint.removeprefix("http://")
    url = f"{server.endpoint}/org/tagged/resolve/main/{WEIGHTS}"
    assert message.startswith(f"{url}: cannot be fetched: ")
    assert says in message
    assert host in message
    assert f"download {url}, copy it here" in message
    assert f"-S encoder.pretrained=/path/to/{WEIGHTS}" in message
    assert files(cache) == []
    server.faults.clear()
    load("ViT-tiny", tag)  # nothing was left that is in the way


def test_a_file_that_the_hub_does_not_have_is_named(tag: str, server: Hub, cache: Path):
    server.files = {("org/tagged", "README.md"): b"nothing"}
    message = refused("ViT-tiny", tag)
    assert f"org/tagged: has no {WEIGHTS} or open_clip_pytorch_model.bin" in message
    server.files[("org/tagged", WEIGHTS)] = b"0" * LARGE
    assert f"{WEIGHTS}: not a whole safetensors file" in refused("ViT-tiny", tag)


def test_a_connection_that_breaks_once_goes_on_where_it_was(server: Hub, cache: Path):
    content = bytes(range(256)) * 100_000
    server.files["org/big", WEIGHTS] = content
    server.faults[WEIGHTS] = "cut once"
    path = fetch(HubFile("org/big", (WEIGHTS,), "encoder.pretrained"))
    assert path.read_bytes() == content
    asked = f"GET /storage/org/big/{WEIGHTS}"
    kept = constants.DOWNLOAD_CHUNK_SIZE
    assert server.asked[-2:] == [asked, f"{asked} bytes={kept}-"]


def test_half_a_file_is_not_taken(model: str, server: Hub, cache: Path, tmp_path: Path):
    server.faults[WEIGHTS] = "short"
    message = refused(model)
    assert f"{WEIGHTS}: cannot be fetched: Consistency check failed" in message
    assert "-S encoder.model=local-dir:/path/to/folder" in message
    assert f"download {CONFIG} and {WEIGHTS} of {server.endpoint}/org/tiny/tree/" in message
    assert weights_status(model, None).place == "hub"
    server.faults.clear()
    assert load(model) == load(f"local-dir:{tmp_path / 'model'}")


@pytest.mark.slow
def test_a_connection_that_always_breaks_is_given_up(model: str, server: Hub):
    server.faults[WEIGHTS] = "cut"
    assert f"{WEIGHTS}: cannot be fetched: " in refused(model)


def test_a_damaged_file_in_the_cache_is_named_and_can_be_fetched_anew(
    model: str, server: Hub, cache: Path
):
    expected = load(model)
    path = cache / f"models--org--tiny/snapshots/{COMMIT}" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    message = refused(model)
    assert f"{path}: not a whole safetensors file" in message
    assert weights_status(model, None).place == "nowhere"
    advice = re.search(r"delete (\S+) and run again", message)
    assert advice is not None
    Path(advice[1]).unlink()
    assert load(model) == expected


# Without network


def test_offline_without_cache_says_what_to_place_where(
    tag: str, model: str, server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("ViT-tiny", tag)
    assert "not in the cache, and HF_HUB_OFFLINE forbids to ask" in message
    assert f"-S encoder.pretrained=/path/to/{WEIGHTS}" in message
    message = refused(model)
    assert f"org/tiny/resolve/main/{CONFIG}: cannot be fetched" in message
    assert "-S encoder.model=local-dir:/path/to/folder" in message
    assert server.asked == []
    assert files(cache) == []


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "unreachable"])
def test_without_network_the_cache_is_enough(
    tag: str, model: str, server: Hub, monkeypatch: pytest.MonkeyPatch, offline: bool
):
    expected = load(model), load("ViT-tiny", tag)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    use(monkeypatch, "http://127.0.0.1:9")
    assert (load(model), load("ViT-tiny", tag)) == expected


def test_an_unreachable_hub_is_named(tag: str, monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, "http://127.0.0.1:9")
    message = refused("ViT-tiny", tag)
    assert "the connection to 127.0.0.1:9 failed ([Errno" in message


def test_a_repository_name_is_checked(cache: Path):
    assert "-S encoder.model=hf-hub:ORG/NAME" in refused("hf-hub:a b")


# Status


def test_status_asks_once_and_changes_nothing(
    tag: str, model: str, server: Hub, cache: Path, tmp_path: Path
):
    size = (tmp_path / "model" / WEIGHTS).stat().st_size
    for name, pretrained, repo in (("ViT-tiny", tag, "tagged"), (model, None, "tiny")):
        server.asked.clear()
        status = weights_status(name, pretrained)
        url = server.endpoint + resolve(WEIGHTS, repo=repo)
        assert status == WeightsStatus("hub", url, size, "the first run fetches it")
        assert server.asked == [f"HEAD {resolve(WEIGHTS, repo=repo)}"]
        assert not list(cache.glob(f"*{repo}*"))
        load(name, pretrained)
        before = [(path, path.stat().st_mtime_ns) for path in files(cache)]
        server.asked.clear()
        status = weights_status(name, pretrained)
        assert (status.place, status.size, status.remedy) == ("cache", size, "")
        assert Path(status.where).is_file()
        assert server.asked == []
        assert [(path, path.stat().st_mtime_ns) for path in files(cache)] == before


@pytest.mark.parametrize(("fault", "says"), FAULTS, ids=lambda value: str(value)[:5])
def test_status_of_a_hub_that_fails(tag: str, server: Hub, cache: Path, fault, says: str):
    server.faults[WEIGHTS] = fault
    status = weights_status("ViT-tiny", tag, timeout=0.3)
    assert status.place == "nowhere"
    assert says in status.where
    assert f"-S encoder.pretrained=/path/to/{WEIGHTS}" in status.remedy
    assert len(server.asked) == 1


# The real thing: OpenAI's ViT-B/32 by its tag, in processes with nothing but environment variables

PROGRAM = """
from hlclip.pipeline.stage import run

def main():
    import json
    from hlclip.model import load_encoder, weights_status
    encoder = load_encoder("ViT-B-32-quickgelu", "openai", cached_blocks=2)
    status = weights_status("ViT-B-32-quickgelu", "openai")
    print(json.dumps([encoder.fingerprint(), status.place, encoder.preprocess.size]))

run(main)
"""


def process(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.environ["PATH"]
    env = {"PATH": path, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env |= {"HF_HOME": str(home / "hf"), "NO_PROXY": "*", **environment}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, cwd=home, env=env, text=True, capture_output=True, check=False)


@pytest.mark.slow
def test_openais_vit_b_32_by_its_tag(server: Hub, tmp_path: Path):
    """Weights of the real shape, in half precision as OpenAI published them.

    Each tensor has a value of its own: to draw 150 million takes as long as the rest.
    """
    name = "ViT-B-32-quickgelu"
    config = open_clip.get_model_config(name)
    assert config is not None
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in CLIP(**config).state_dict().items()}
    state = {
        key: torch.full(shape, number / 512, dtype=torch.half)
        for number, (key, shape) in enumerate(shapes.items())
    }
    save_file(state, tmp_path / WEIGHTS)
    server.files["timm/vit_base_patch32_clip_224.openai", WEIGHTS] = tmp_path / WEIGHTS

    offline = process(tmp_path, HF_ENDPOINT=server.endpoint, HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert offline.stderr.count("\n") == 2
    assert offline.stderr.startswith("http://127.0.0.1")
    assert f"-S encoder.pretrained=/path/to/{WEIGHTS}" in offline.stderr
    assert server.asked == []

    first = process(tmp_path, HF_ENDPOINT=server.endpoint)
    assert first.returncode == 0, first.stderr
    fingerprint, place, size = json.loads(first.stdout)
    assert (place, size) == ("cache", 224)
    assert fingerprint == load_encoder(name, str(tmp_path / WEIGHTS), cached_blocks=2).fingerprint()
    allowed = {f"HEAD /timm/vit_base_patch32_clip_224.openai/resolve/main/{WEIGHTS}"}
    allowed |= {f"GET /storage/timm/vit_base_patch32_clip_224.openai/{WEIGHTS}"}
    assert set(server.asked) == allowed

    again = process(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert json.loads(again.stdout) == json.loads(first.stdout)
