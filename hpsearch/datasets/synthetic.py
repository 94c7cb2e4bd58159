"""The sets of drawn tissue: generated on first use, then read from the cache."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from hpsearch.datasets.histology import generate as histology
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError
from hpsearch.io.cache import sole_writer
from hpsearch.io.files import write_directory_atomic
from hpsearch.io.processes import Progress, silent
from hpsearch.io.text import printable

SYNTHETIC_NAME = "synthetic-histology"
HARD_NAME = "synthetic-histology-hard"
GENERATOR_VERSION = 1  # raise it with every change to the pixels that one seed gives

_IMAGES, _TABLE = "images.npy", "table.csv"


def load_synthetic_histology(
    name: str = SYNTHETIC_NAME, *, seed: int = 0, cache_dir: Path, progress: Progress = silent
) -> Dataset:
    """The tiles of `seed`, of either name; their pixels stay on the disk, mapped read-only.

    Raises:
        DataError: the cached copy is damaged.
    """
    folder = stored_at(cache_dir, seed, name)
    if not folder.exists():
        with sole_writer(folder):
            if not folder.exists():
                table, arrays = histology.generate(
                    seed=seed,
                    workers=joblib.cpu_count(),
                    hard=name == HARD_NAME,
                    progress=progress,
                )
                with write_directory_atomic(folder) as temporary:
                    table.to_csv(temporary / _TABLE, index=False)
                    np.save(temporary / _IMAGES, arrays)
    try:
        table = pd.read_csv(folder / _TABLE, keep_default_na=False, dtype={"anomaly_type": str})
        arrays = np.load(folder / _IMAGES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        what = f"is damaged ({printable(error)})"
        raise DataError(f"{printable(folder)}: {what}; delete it to generate it again") from error
    return Dataset(name, table, arrays=arrays)


def stored_at(cache_dir: Path, seed: int, name: str = SYNTHETIC_NAME) -> Path:
    """The folder of the generated tiles; it exists when they are whole."""
    return cache_dir / name / f"v{GENERATOR_VERSION}-seed{seed}"
