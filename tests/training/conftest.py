"""The data set that the tests of training share."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hlclip.model import pick_device
from tests.cached import CachedData, cached_data
from tests.models import save_model, tiny_config


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> CachedData:
    """Activations of a tiny model; only `data` may be written to."""
    model = save_model(tmp_path_factory.mktemp("model"), tiny_config())
    return cached_data(tmp_path_factory.mktemp("store"), model)


@pytest.fixture
def data(cached: CachedData, tmp_path: Path) -> CachedData:
    """In a store that holds activations but no finished training."""
    return replace(cached, store=Path(shutil.copytree(cached.store, tmp_path / "store")))


@pytest.fixture(scope="session", autouse=True)
def cuda_as_in_a_stage() -> None:
    """A stage picks its device before it computes; tests that name a device do not."""
    if torch.cuda.is_available():
        pick_device("cuda")
