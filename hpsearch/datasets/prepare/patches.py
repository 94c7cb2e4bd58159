"""Ready-made patch sets of Camelyon16, which others have cut, and the manifest that they lack.

    train/good        normal
    valid/{good,Ungood}    normal, tumour: to search with
    test/{good,Ungood}     normal, tumour: for the final figure

as MedIAnomaly (without `valid`) and BMAD have them. Images lie in these folders or in an `img`
folder inside. Patches carry no slide: a search then cannot keep a slide's tiles out of two folds,
and there is one anomaly type. The manifest is the one that a study reads
(`hpsearch.datasets.manifest`), and slides get theirs here too.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from hpsearch.datasets.folders import images_in
from hpsearch.datasets.manifest import MANIFEST
from hpsearch.datasets.table import ANOMALY, NORMAL
from hpsearch.errors import DataError
from hpsearch.io.files import write_text_atomic
from hpsearch.io.text import printable

WHAT_IS_LOST = (
    "patches carry no slide names: tiles of one slide may lie on both sides of a fold, which "
    "flatters the validation AUC, and all tumours are one anomaly type"
)
TUMOUR = "tumour"

_PARTS: tuple[tuple[str, Literal["train", "test"], int, bool], ...] = (
    # folder, split, label, whether there must be images
    ("train/good", "train", NORMAL, True),
    ("valid/good", "train", NORMAL, False),
    ("valid/Ungood", "train", ANOMALY, False),
    ("test/good", "test", NORMAL, True),
    ("test/Ungood", "test", ANOMALY, True),
)


@dataclass(frozen=True)
class ManifestRow:
    """An image.

    Attributes:
        image_path: relative to the manifest's folder.
        label_index: 0 normal, 1 tumour.
        split: to search with, or for the final figure.
        anomaly_type: of a tumour.
        group: the slide.
        metastasis: for the reader, no study looks at it.
    """

    image_path: str
    label_index: int
    split: Literal["train", "test"]
    anomaly_type: str = ""
    group: str = ""
    metastasis: str = ""


@dataclass(frozen=True)
class PreparedTiles:
    """What was written.

    Attributes:
        manifest: its file.
        rows: of the manifest.
        left_out: which slides gave no tiles, each with its reason.
        thumbnails: the folder of the slides' pictures, None where there were no slides.
    """

    manifest: Path
    rows: tuple[ManifestRow, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    thumbnails: Path | None = None


def prepare_patches(folder: Path) -> PreparedTiles:
    """Write the manifest of a patch set into its folder.

    Raises:
        DataError: a part is missing or empty, or there is another manifest.
    """
    rows: list[ManifestRow] = []
    for place, split, label, needed in _PARTS:
        inside = folder / place / "img"
        files = images_in(inside if inside.is_dir() else folder / place)
        if needed and not files:
            what = f"holds no images in {place}"
            raise DataError(f"{printable(folder)}: {what}; give a folder with train and test")
        kind = TUMOUR if label == ANOMALY else ""
        rows.extend(
            ManifestRow(file.relative_to(folder).as_posix(), label, split, kind) for file in files
        )
    manifest = folder / MANIFEST
    if manifest.exists() and manifest.read_bytes() != manifest_text(rows).encode():
        what = "is there already and lists other images"
        raise DataError(f"{printable(manifest)}: {what}; use it as it is, or remove it first")
    try:
        return PreparedTiles(write_manifest(folder, rows), tuple(rows))
    except OSError as error:
        what = f"cannot be written ({printable(error.strerror or error)})"
        raise DataError(f"{printable(manifest)}: {what}; mend its permissions") from error


def manifest_text(rows: Iterable[ManifestRow]) -> str:
    """The rows as CSV under their header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(ManifestRow))
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()


def write_manifest(folder: Path, rows: Iterable[ManifestRow]) -> Path:
    """Write `folder`/manifest.csv in one step, replacing what was there."""
    write_text_atomic(folder / MANIFEST, manifest_text(rows))
    return folder / MANIFEST
