"""The data set that the tests of training share."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

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
