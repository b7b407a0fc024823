"""Tokens in 16 bits: stored and read exactly, and what they change against float32."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from hlclip.formats import Annotation
from hlclip.model import (
    Encoder,
    EncoderError,
    Tail,
    autocast,
    build_tail,
    cast_tokens,
    image_header,
    load_encoder,
    stored_array,
    stored_tokens,
    text_header,
)
from hlclip.store import Store, content_key
from hlclip.training import (
    Batch,
    CachedQueries,
    Loss,
    accumulate_gradients,
    token_sources,
)
from hlclip.training.token_sources import Location
from tests.cached import CachedData, cached_data
from tests.models import outlier_model, save_model, tiny_config

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
DTYPES = ("float16", "bfloat16", "float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, model: str) -> dict[str, CachedData]:
    root = tmp_path_factory.mktemp("caches")
    return {dtype: cached_data(root / dtype, model, dtype=dtype) for dtype in DTYPES}


def batch_of(data: CachedData) -> Batch:
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )
    queries.keep_near()  # on a CPU only where a test says that there is room
    return queries.batch(range(len(queries)))


def step(data: CachedData) -> tuple[Tensor, float, Tensor]:
    """Cosines, loss and all gradients of one training step on the whole split."""
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2)).train_only(2, "all")
    batch = batch_of(data)
    with torch.no_grad():
        cosines = tail(batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths)
    loss = accumulate_gradients(
        tail, Loss("mse", "literal"), batch, frames=0, autocast=autocast(CPU, "fp32")
    )
    gradients = [p.grad.flatten() for p in tail.trained().values() if p.grad is not None]
    return cosines, loss.item(), torch.cat(gradients)


@pytest.mark.parametrize(
    ("dtype", "cosine", "loss", "gradient"),
    [("float16", 2e-4, 2e-5, 5e-4), ("bfloat16", 2e-3, 1e-4, 4e-3)],
)
def test_a_step_from_16_bit_tokens_is_close_to_one_from_float32(
    caches: dict[str, CachedData], dtype: str, cosine: float, loss: float, gradient: float
) -> None:
    """Bounds of a cosine's and the loss's difference, and of all gradients' relative to theirs."""
    cosines, losses, gradients = zip(
        *(step(caches[each]) for each in (dtype, "float32")), strict=True
    )
    assert 0 < (cosines[0] - cosines[1]).abs().max() < cosine
    assert abs(losses[0] - losses[1]) < loss
    assert 0 < (gradients[0] - gradients[1]).norm() / gradients[1].norm() < gradient


@pytest.mark.parametrize("location", ["disk", "pinned", "device"])
def test_batches_have_the_rounded_tokens_wherever_they_are_kept(
    caches: dict[str, CachedData], monkeypatch: pytest.MonkeyPatch, location: Location
) -> None:
    monkeypatch.setattr(token_sources, "room", lambda place, *_, **__: (place == location) * 2**70)
    for dtype in (torch.float16, torch.bfloat16):
        found, exact = batch_of(caches[str(dtype)[6:]]), batch_of(caches["float32"])
        assert found.image_tokens.dtype == found.text_tokens.dtype == dtype
        assert torch.equal(found.image_tokens, exact.image_tokens.to(dtype))
        assert torch.equal(found.text_tokens, exact.text_tokens.to(dtype))


def test_bfloat16_is_read_from_hdf5_by_the_line_in_the_docs(
    caches: dict[str, CachedData],
) -> None:
    page = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"`tokens = (.+)`", page)
    data = caches["bfloat16"]
    store = Store(data.store, "images", data.images.header)
    exact = Store(data.store.parent / "float32", "images", caches["float32"].images.header)
    for vid, item in data.images.items.items():
        with h5py.File(store.path(item.key)) as file:
            array = file["data"]
            assert isinstance(array, h5py.Dataset)
            assert (array.dtype, array.attrs["dtype"]) == (np.uint16, b"bfloat16")
            tokens = eval(line, {"file": file, "np": np})  # noqa: S307 (our own page)
        expected = torch.from_numpy(exact.read(caches["float32"].images.items[vid]))
        np.testing.assert_array_equal(tokens, expected.bfloat16().float().numpy())


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
@example([65504.0, 65519.0, 65520.0, 3.3895e38, 3.4e38, -0.0, 1e-40])
def test_a_cast_keeps_the_rounded_numbers_or_refuses(numbers: list[float]) -> None:
    tokens = torch.tensor(numbers)
    for dtype, wider in (("float16", "bfloat16"), ("bfloat16", "float32"), ("float32", None)):
        rounded = tokens.to(getattr(torch, dtype))
        if rounded.isfinite().all():
            array = cast_tokens(tokens, dtype, "v")
            assert array.dtype.name == dtype.replace("bfloat", "uint")
            assert torch.equal(stored_tokens(array, dtype), rounded)
            assert array.tobytes() == stored_array(rounded).tobytes()
        else:
            with pytest.raises(EncoderError, match=f"-S encoder.dtype={wider}$"):
                cast_tokens(tokens, dtype, "v")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_tokens_that_are_no_numbers_are_the_weights_fault(dtype: str, number: float) -> None:
    with pytest.raises(EncoderError) as caught:
        cast_tokens(torch.tensor([1.0, number]), dtype, "film")
    assert str(caught.value).startswith("film: the trunk computes tokens that are not finite")
    assert "-S" not in str(caught.value)


def test_a_model_with_large_activations(tmp_path: Path, model: str) -> None:
    """Tokens beyond 65,504 in both towers: float16 is refused, bfloat16 trains as float32 does."""
    folder = shutil.copytree(model.removeprefix("local-dir:"), tmp_path / "model")
    weights = load_file(folder / "open_clip_model.safetensors")
    for tower in ("visual.", ""):
        weights[f"{tower}transformer.resblocks.0.mlp.c_proj.bias"][3] = 2e5
    save_file(weights, folder / "open_clip_model.safetensors")
    large = f"local-dir:{folder}"
    with pytest.raises(EncoderError) as caught:
        cached_data(tmp_path / "float16", large, dtype="float16")
    reason, remedy = str(caught.value).splitlines()
    assert reason.startswith("a: tokens of up to 200,0")
    assert reason.endswith("do not fit into float16, which ends at 65,504")
    assert remedy == "-S encoder.dtype=bfloat16"
    rounded, exact = (
        step(cached_data(tmp_path / dtype, large, dtype=dtype)) for dtype in ("bfloat16", "float32")
    )
    assert (rounded[0] - exact[0]).abs().max() < 2e-3
    assert abs(rounded[1] - exact[1]) < 1e-4


@pytest.mark.parametrize("size", [1e2, 1e3, 6e4])
def test_cosines_with_outlier_channels_are_those_without_a_cache(
    size: float, tmp_path: Path
) -> None:
    """One channel of both towers is `size`; the bounds are those of docs/store.md."""
    model = outlier_model(tmp_path / "model", size)
    encoder = load_encoder(model, None, cached_blocks=2)
    tail = build_tail(encoder).requires_grad_(False)
    for dtype, bound, share in (
        ("float32", 1e-6, 0.01),
        ("float16", 3e-4, 0.02),
        ("bfloat16", 3e-3, 0.1),
    ):
        data = cached_data(tmp_path / dtype, model, dtype=dtype)
        batch = batch_of(data)
        assert batch.image_tokens.float().max() == pytest.approx(size, rel=0.05)
        cached = tail(batch.image_tokens, batch.image_query, batch.text_tokens, batch.text_lengths)
        rows = [row for row in data.index.queries["train"] if row.vid in data.frames]
        exact = torch.cat([_without_cache(encoder, tail, data, row) for row in rows])
        error = (cached - exact).abs().max()
        assert error < bound
        if size <= 1e3:
            assert error < share * exact.std()


def _without_cache(encoder: Encoder, tail: Tail, data: CachedData, row: Annotation) -> Tensor:
    image = encoder.image_tokens(data.frames[row.vid][: row.clips], batch=4)
    text = encoder.text_tokens(row.query)[None]
    owner = torch.zeros(len(image), dtype=torch.int64)
    return tail(image, owner, text, torch.tensor([text.shape[1]]))


def test_keys_of_float16_and_float32_are_those_of_earlier_stores() -> None:
    facts = {"model": "tiny", "pretrained": "none", "weights": "ab" * 32, "cached_blocks": 2}
    facts |= {"mean": "0.5,0.4,0.3", "std": "0.2,0.3,0.25"}
    keys = [
        content_key(header, content)
        for dtype in DTYPES
        for header, content in (
            (image_header(facts, dtype, 2.0), "f"),
            (text_header(facts, dtype), "a dog"),
        )
    ]
    assert keys[0:2] == [
        "252f10c83610ebca1a059c0bae82f98265d044ae",
        "7dbdf68ac0bb3482a281e2672b0897eb839623ec",
    ]
    assert keys[4:6] == [
        "252f10c83610ebca1a059c0bae82ae9313b21960",
        "7dbdf68ac0bb3482a281e2672b08bafe2444b67d",
    ]
    assert len(set(keys)) == 6
