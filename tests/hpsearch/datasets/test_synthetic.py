from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hpsearch.datasets import synthetic as module
from hpsearch.datasets.synthetic import (
    HARD_NAME,
    SYNTHETIC_NAME,
    load_synthetic_histology,
    stored_at,
)
from hpsearch.errors import DataError
from hpsearch.io.processes import Progress


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that a small stand-in of the generator is called with."""
    called: list[int] = []

    def generate(
        *, seed: int, workers: int, hard: bool, progress: Progress
    ) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
        called.append(seed)
        progress("rendering", workers, workers)
        table = pd.DataFrame(
            {
                "image_id": ["s0/0", "s1/0", "s2/0"],
                "path": "",
                "label": [0, 1, 0],
                "anomaly_type": ["", "s1", ""],
                "group": ["s0", "s1", "s2"],
                "split": ["train", "train", "test"],
                "mask_path": "",
            }
        )
        rng = np.random.default_rng(seed + 1000 * hard)
        return table, rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)

    monkeypatch.setattr(module.histology, "generate", generate)
    return called


def test_generated_once_and_read_back_the_same(tmp_path: Path, seeds: list[int]) -> None:
    told: list[str] = []
    first = load_synthetic_histology(
        seed=3, cache_dir=tmp_path, progress=lambda what, done, total: told.append(what)
    )
    again = load_synthetic_histology(seed=3, cache_dir=tmp_path)
    assert seeds == [3]
    assert told == ["rendering"]
    assert first.fingerprint == again.fingerprint
    assert list(again.table["anomaly_type"]) == ["", "s1", ""]
    expected = np.random.default_rng(3).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.arrays, expected)
    assert isinstance(again.arrays, np.memmap)


def test_each_seed_and_version_has_its_own_copy(
    tmp_path: Path, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_synthetic_histology(seed=0, cache_dir=tmp_path)
    load_synthetic_histology(seed=1, cache_dir=tmp_path)
    monkeypatch.setattr(module, "GENERATOR_VERSION", module.GENERATOR_VERSION + 1)
    load_synthetic_histology(seed=0, cache_dir=tmp_path)
    assert seeds == [0, 1, 0]


def test_the_hard_setting_is_a_set_of_its_own(tmp_path: Path, seeds: list[int]) -> None:
    sets = [
        load_synthetic_histology(name, cache_dir=tmp_path) for name in (SYNTHETIC_NAME, HARD_NAME)
    ]
    assert [dataset.name for dataset in sets] == ["synthetic-histology", "synthetic-histology-hard"]
    assert sets[0].fingerprint != sets[1].fingerprint
    for dataset, seed in zip(sets, (0, 1000), strict=True):
        expected = np.random.default_rng(seed).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
        np.testing.assert_array_equal(dataset.arrays, expected)


def test_interrupted_generation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.histology, "generate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_synthetic_histology(cache_dir=tmp_path)
    assert not stored_at(tmp_path, 0).exists()
    assert [path.suffix for path in (tmp_path / module.SYNTHETIC_NAME).iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["images.npy", "table.csv"])
def test_damaged_copy_is_told(tmp_path: Path, seeds: list[int], name: str) -> None:
    load_synthetic_histology(cache_dir=tmp_path)
    file = stored_at(tmp_path, 0) / name
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"is damaged .*; delete it to generate it again"):
        load_synthetic_histology(cache_dir=tmp_path)
