"""The image table, one row an image, and the dataset that joins it to its pixels.

| column       | type | meaning                                                            |
|--------------|------|--------------------------------------------------------------------|
| image_id     | str  | unique                                                             |
| path         | str  | relative to the dataset's root; "" for an image in memory          |
| label        | int  | 0 normal, 1 anomaly                                                |
| anomaly_type | str  | "" for a normal image                                              |
| group        | str  | slide, patient or object; never straddles a split                  |
| split        | str  | "train": to search with; "test": for the final figure only         |
| mask_path    | str  | file of the anomaly's mask, relative to the root; "" where none is |
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from hpsearch.datasets.reading import check_regular_file, image_of, read_image
from hpsearch.datasets.window import Window
from hpsearch.errors import DataError
from hpsearch.io.text import printable

IMAGE_COLUMNS = ("image_id", "path", "label", "anomaly_type", "group", "split", "mask_path")
Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = get_args(Split)
NORMAL, ANOMALY = 0, 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels: a table, and the folder or the array that holds the pixels.

    Attributes:
        name: of the set.
        table: as this module describes it.
        root: folder of the files; None for images in memory.
        arrays: `(N, H, W, 1 or 3)` of images in memory, in the order of the table.
        window: through which files of more than 8 bits a channel are seen.
        notes: what the user should be told of how the table was made.
        began_as: the table of a study that began where the files lay once.

    Raises:
        DataError: the table breaks a rule of `validate_table`.
    """

    name: str
    table: pd.DataFrame
    root: Path | None = None
    arrays: NDArray[np.uint8] | None = None
    window: Window | None = None
    notes: tuple[str, ...] = ()
    began_as: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", validate_table(self.table, self.name))
        if (self.root is None) == (self.arrays is None):
            raise ValueError("a dataset has either a root or arrays")
        if self.arrays is not None and (
            self.arrays.dtype != np.uint8
            or self.arrays.ndim != 4
            or self.arrays.shape[0] != len(self.table)
            or self.arrays.shape[3] not in (1, 3)
        ):
            raise ValueError(f"arrays must be uint8 ({len(self.table)}, H, W, 1 or 3)")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the table, the window and every image's content.

        The table is that of `began_as` where it is given: the same images have then the same
        fingerprint as where they lay.

        Raises:
            DataError: a file cannot be read.
        """
        table = self.table if self.began_as is None else self.began_as
        digest = hashlib.sha256(json.dumps(table.to_numpy().tolist()).encode())
        if self.window is not None:
            digest.update(json.dumps(self.window).encode())
        if self.arrays is not None:
            digest.update(str(self.arrays.shape).encode())
            for image in self.arrays:
                digest.update(image.tobytes())
            return digest.hexdigest()
        for position in range(len(self.table)):
            path = self.file(position)
            check_regular_file(path)
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise DataError(
                    f"{printable(path)}: cannot be read ({error.strerror}); mend or remove it"
                ) from error
        return digest.hexdigest()

    def known_as(self, began: pd.DataFrame) -> "Dataset":
        """These images, row by row, by the names and groups of a table that a study began with."""
        here = self.table[["path", "mask_path"]]
        return replace(self, table=began.assign(**here), began_as=began)

    def file(self, position: int) -> Path:
        """The image file of row `position`; only for a dataset with a root."""
        if self.root is None:
            raise ValueError(f"the images of {self.name} are in memory")
        return self.root / str(self.table["path"].iloc[position])

    def open(self, position: int) -> Image.Image:
        """The image of row `position`, mode "L" or "RGB".

        Raises:
            DataError: the file cannot be read as an image.
        """
        if self.arrays is None:
            return read_image(self.file(position), window=self.window)
        return image_of(self.arrays[position])


def validate_table(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with its columns in order, plain types, and a fresh RangeIndex.

    An anomaly without a type gets the type "anomaly", an empty group becomes the image's id. That
    no group straddles the splits is for the audit to check, which lists all that do.

    Raises:
        DataError: no rows, a column is missing, an id comes twice, or a label, a type or a split is
            not as in this module's description.
    """
    missing = [column for column in IMAGE_COLUMNS if column not in table.columns]
    if missing:
        raise DataError(f"{name}: the image table lacks {', '.join(missing)}; add it")
    if table.empty:
        raise DataError(f"{name}: holds no images; give a dataset with at least two")
    table = table.loc[:, list(IMAGE_COLUMNS)].reset_index(drop=True)
    strings = [column for column in IMAGE_COLUMNS if column != "label"]
    table[strings] = table[strings].fillna("").astype(str)
    _refuse(name, table, table["image_id"].duplicated(), "comes twice", "keep one row an image")
    _refuse(name, table, ~table["label"].isin([NORMAL, ANOMALY]), "has another label", "use 0 or 1")
    table["label"] = table["label"].astype("int64")
    _refuse(name, table, ~table["split"].isin(SPLITS), "has another split", "use 'train' or 'test'")
    typed_normal = (table["label"] == NORMAL) & (table["anomaly_type"] != "")
    _refuse(name, table, typed_normal, "is normal with an anomaly_type", "leave it empty")
    table.loc[(table["label"] == ANOMALY) & (table["anomaly_type"] == ""), "anomaly_type"] = (
        "anomaly"
    )
    table["group"] = table["group"].where(table["group"] != "", table["image_id"])
    return table


def _refuse(name: str, table: pd.DataFrame, bad: "pd.Series[bool]", what: str, remedy: str) -> None:
    if bad.any():
        image_id = printable(table.loc[bad, "image_id"].iloc[0])
        raise DataError(f"{name}: image {image_id} {what} ({bad.sum()} such rows); {remedy}")


def class_table(
    ids: Sequence[str],
    classes: ArrayLike,
    splits: ArrayLike,
    *,
    normal: str,
    paths: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The image table of a set of classes: each image is its own group.

    Args:
        ids: of N images.
        classes: their classes, N strings.
        splits: "train" or "test", N strings.
        normal: the normal class; every other is a type of anomaly.
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
