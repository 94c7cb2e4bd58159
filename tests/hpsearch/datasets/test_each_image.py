from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpsearch.datasets.pixels import IMAGES_A_JOB, BadImage, each_image
from hpsearch.datasets.table import Dataset
from hpsearch.io import processes

N = IMAGES_A_JOB + 5


# Of a package, for a worker cannot import what a test module defines.
first_value = partial(Image.Image.getpixel, xy=(0, 0))


def make_table(paths: list[str]) -> pd.DataFrame:
    ids = [str(number) for number in range(len(paths))]
    blank = {"label": 0, "anomaly_type": "", "group": "", "split": "train", "mask_path": ""}
    return pd.DataFrame({"image_id": ids, "path": paths, **blank})


@pytest.fixture(autouse=True)
def in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the work is."""
    monkeypatch.setattr(processes, "START_SECONDS", 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_arrays_in_order_with_progress(workers: int) -> None:
    arrays = np.broadcast_to(np.arange(N, dtype=np.uint8).reshape(-1, 1, 1, 1), (N, 8, 8, 1))
    told: list[tuple[str, int, int]] = []
    lists = each_image(
        Dataset("set", make_table([""] * N), arrays=arrays),
        first_value,
        workers=workers,
        what="looking",
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert [value for values in lists for value in values] == list(range(N))
    assert told == [("looking", IMAGES_A_JOB, N), ("looking", N, N)]


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_files_take_their_place(tmp_path: Path, workers: int) -> None:
    Image.new("L", (8, 8), 3).save(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    paths = ["good.png", "empty.png", "good.png", "absent.png"]
    dataset = Dataset("set", make_table(paths), root=tmp_path)
    (results,) = each_image(dataset, first_value, workers=workers, what="looking")
    assert [results[0], results[2]] == [3, 3]
    assert isinstance(results[1], BadImage)
    assert "empty.png: is empty" in results[1].message
    assert isinstance(results[3], BadImage)
    assert "absent.png: cannot be opened" in results[3].message
