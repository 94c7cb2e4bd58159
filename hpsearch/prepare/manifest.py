"""Writing the manifest that a study reads (`hpsearch.datasets.manifest`)."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from hpsearch.files import write_text_atomic

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class ManifestRow:
    """An image; `metastasis` is for the reader, no study looks at it."""

    image_path: str  # relative to the manifest's folder
    label_index: int  # 0 normal, 1 tumour
    split: Literal["train", "test"]
    anomaly_type: str = ""
    group: str = ""
    metastasis: str = ""


@dataclass(frozen=True)
class PreparedTiles:
    """What was written: the manifest's rows, and which slides gave none, each with its reason.

    `thumbnails` is the folder of the slides' pictures, None where there were no slides.
    """

    manifest: Path
    rows: tuple[ManifestRow, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    thumbnails: Path | None = None


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
