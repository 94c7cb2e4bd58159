"""What must be said of the pixels of a data set before its figures are set beside the paper's."""

from hpsearch.datasets.table import Dataset
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN

_LOSSLESS = (CIFAR10.name, SVHN.name)
_JPEG = (".jpg", ".jpeg")


def pixel_notes(dataset: Dataset) -> tuple[str, ...]:
    """The data set's own notes, after one on pixels that a lossy format has changed."""
    paths = dataset.table["path"].str.lower()
    if dataset.name in _LOSSLESS and paths.str.endswith(_JPEG).any():
        return (f"JPEG pixels: those of {dataset.name} itself are not compressed", *dataset.notes)
    return dataset.notes
