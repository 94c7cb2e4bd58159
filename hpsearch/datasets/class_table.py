"""The image table of a set of classes: one class is normal, every other is a type of anomaly."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hpsearch.datasets.table import ANOMALY, NORMAL


def class_table(
    ids: Sequence[str],
    classes: ArrayLike,
    splits: ArrayLike,
    *,
    normal: str,
    paths: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row an image, which is its own group.

    Args:
        ids: of N images.
        classes: their classes, N strings.
        splits: "train" or "test", N strings.
        normal: the normal class.
        paths: of their files; None for images in memory.
    """
    named = np.asarray(classes)
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": "" if paths is None else paths,
            "label": np.where(named == normal, NORMAL, ANOMALY),
            "anomaly_type": np.where(named == normal, "", named),
            "group": ids,
            "split": splits,
            "mask_path": "",
        }
    )
