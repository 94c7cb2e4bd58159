"""How many images a data set has, and where, without download, generation or reading of pixels."""

from pathlib import Path

from hpsearch.datasets.catalogue import dataset_infos
from hpsearch.datasets.nih import NIH_SETS
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.errors import DataError
from hpsearch.spec import DatasetSpec


def count_images(dataset: DatasetSpec, cache_dir: Path) -> int | None:
    """Their number; None where it is not known, or where the images cannot be read.

    Raises:
        SpecError: the name is unknown, or an option does not fit it.
    """
    known = {info.name: info for info in dataset_infos(cache_dir)}.get(dataset.name)
    if known and dataset.root is None:
        if known.n_normals is None or known.n_anomalies is None:
            return None
        return known.n_normals + known.n_anomalies
    if dataset.name in {source.name for source in NIH_SETS}:  # reading these makes copies
        return None
    request = DatasetRequest(
        dataset.name, root=dataset.root, normal_class=dataset.normal_class, seed=dataset.seed
    )
    try:
        return len(load_dataset(request, cache_dir=cache_dir).table)
    except DataError:
        return None


def whereabouts(dataset: DatasetSpec, cache_dir: Path) -> str:
    """Where the images are, or how to get them."""
    if dataset.root is not None:
        return f"in {dataset.root}"
    known = {info.name: info for info in dataset_infos(cache_dir)}.get(dataset.name)
    if known is None:
        return f"in {dataset.name}"
    return "on the disk" if known.on_disk else known.how
