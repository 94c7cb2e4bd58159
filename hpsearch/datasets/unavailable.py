"""Sets that the user obtains and prepares: read from their manifest, or told how to get them."""

from dataclasses import dataclass
from pathlib import Path

from hpsearch.datasets.manifest import load_manifest
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class ObtainedSet:
    """A set that the user obtains from its source."""

    name: str
    summary: str
    source: str
    preparation: str  # what to make of what the source gives


OBTAINED_SETS = (
    ObtainedSet(
        "camelyon16",
        "H&E lymph nodes, with metastases of breast cancer",
        "https://camelyon16.grand-challenge.org",
        "run `hpsearch prepare camelyon16 --slides DIR --out TILES` (needs pip install "
        "'hpsearch[wsi]'; for ready-made patches: --patches DIR) and give --root TILES",
    ),
)


def load_obtained(source: ObtainedSet, *, root: Path | None) -> Dataset:
    """The dataset of `root`/manifest.csv.

    Raises:
        DataError: there is none; the message gives the images' source and the ways to get on.
    """
    if root is not None and (root / MANIFEST).is_file():
        return load_manifest(root / MANIFEST, name=source.name)
    missing = "no images here" if root is None else f"{printable(root)} holds no {MANIFEST}"
    raise DataError(f"{source.name}: {missing}; {how_to_get(source)}")


def how_to_get(source: ObtainedSet) -> str:
    """The ways to get on without the images, on one line."""
    return (
        f"either download it from {source.source}, {source.preparation}, or list images of your "
        f"own with --dataset FILE.csv, or start now with --dataset synthetic-histology"
    )
