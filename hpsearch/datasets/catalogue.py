"""What datasets there are, for those who look for one."""

from dataclasses import dataclass
from pathlib import Path

from hpsearch.datasets.digits import CLASSES
from hpsearch.datasets.digits import NAME as DIGITS
from hpsearch.datasets.histology.generate import SLIDE_COUNTS, TILES_PER_SLIDE
from hpsearch.datasets.manifest import OBTAINED_SETS, how_to_get
from hpsearch.datasets.nih import NIH_SETS
from hpsearch.datasets.nih import how_to_get as how_to_get_nih
from hpsearch.datasets.synthetic import NAME as SYNTHETIC
from hpsearch.datasets.synthetic import stored_at
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN, TorchvisionSet, torchvision_root


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset; the counts are those of its default normal class, None where unknown."""

    name: str
    summary: str
    n_normals: int | None
    n_anomalies: int | None
    n_types: int | None
    on_disk: bool
    size_bytes: int  # on the disk; 0 where it is part of an installed package
    how: str  # to get what is not on the disk


def dataset_infos(cache_dir: Path) -> list[DatasetInfo]:
    """Every dataset that has a name, the embedded ones first."""
    obtained = [
        DatasetInfo(source.name, source.summary, None, None, None, False, 0, how_to_get(source))
        for source in OBTAINED_SETS
    ]
    chests = [
        DatasetInfo(source.name, source.summary, None, None, None, False, 0, how_to_get_nih(source))
        for source in NIH_SETS
    ]
    root = torchvision_root(cache_dir)
    torchvision = [_torchvision(source, root) for source in (CIFAR10, SVHN)]
    return [_synthetic(cache_dir), _digits(), *torchvision, *obtained, *chests]


def _synthetic(cache_dir: Path) -> DatasetInfo:
    counts = {"normal": 0, "tumour": 0}
    for (_, kind), n_slides in SLIDE_COUNTS.items():
        counts[kind] += n_slides
    folder = stored_at(cache_dir, seed=0)
    return DatasetInfo(
        SYNTHETIC,
        "generated tiles of H&E-like tissue by slide; a type is a tumour slide",
        counts["normal"] * TILES_PER_SLIDE,
        counts["tumour"] * TILES_PER_SLIDE,
        counts["tumour"],
        folder.exists(),
        _size(folder),
        "generated on first use, no download",
    )


def _digits() -> DatasetInfo:
    summary = "scikit-learn's digits at 32x32; --normal-class 0 to 9, a type is another digit"
    return DatasetInfo(
        DIGITS, summary, 178, 1619, len(CLASSES) - 1, True, 0, "part of scikit-learn"
    )


def _torchvision(source: TorchvisionSet, root: Path) -> DatasetInfo:
    return DatasetInfo(
        source.name,
        f"photographs of 32x32; --normal-class {source.classes[0]} or any of its classes",
        source.n_first_class,
        source.n_images - source.n_first_class,
        len(source.classes) - 1,
        source.on_disk(root),
        sum(_size(path) for path in source.files(root)),
        f"downloaded on first use ({source.download_megabytes} MB), or --root DIR with "
        "torchvision's files or with images in train/<class> and test/<class>",
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
