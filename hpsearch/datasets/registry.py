"""The datasets that have a name, and those that are named by a file or a folder."""

import difflib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hpsearch.datasets.digits import DIGIT_CLASSES, DIGITS_NAME, load_digits
from hpsearch.datasets.folders import is_class_folders, load_class_folders, load_mvtec
from hpsearch.datasets.histology.generate import SLIDE_COUNTS, TILES_PER_SLIDE
from hpsearch.datasets.manifest import OBTAINED_SETS, Links, load_manifest, load_obtained
from hpsearch.datasets.nih import NIH_SETS, MultiLabel, load_nih
from hpsearch.datasets.synthetic import (
    HARD_NAME,
    SYNTHETIC_NAME,
    load_synthetic_histology,
    stored_at,
)
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.torchvision_sets import (
    CIFAR10,
    SVHN,
    load_torchvision,
    load_torchvision_folders,
    torchvision_root,
)
from hpsearch.datasets.window import Window
from hpsearch.errors import SpecError
from hpsearch.io.processes import Progress, silent
from hpsearch.io.text import printable

_TORCHVISION = {source.name: source for source in (CIFAR10, SVHN)}
_OBTAINED = {source.name: source for source in OBTAINED_SETS}
_NIH = {source.name: source for source in NIH_SETS}
_CLASSES = (DIGITS_NAME, *_TORCHVISION)

_SYNTHETIC = {
    SYNTHETIC_NAME: "generated tiles of H&E-like tissue by slide; a type is a tumour slide",
    HARD_NAME: "the same with faint tumours, and normal tiles that look like one in part",
}

NAMES = (*_SYNTHETIC, DIGITS_NAME, *_TORCHVISION, *_OBTAINED, *_NIH)


@dataclass(frozen=True)
class DatasetRequest:
    """Which dataset, and where and how it is read.

    Attributes:
        name: one of NAMES, a CSV manifest, or a folder in MVTec AD layout or of classes.
        root: the folder of the images, where it is not the default.
        normal_class: of a set of classes: the one that is normal.
        seed: of what is generated or split at random.
        multi_label: of the NIH sets.
        window: of a manifest's or a folder's images of more than 8 bits.
        links: of a manifest's files that are links to others outside of its root.
    """

    name: str
    root: Path | None = None
    normal_class: str | None = None
    seed: int = 0
    multi_label: MultiLabel = "pure"
    window: Window | None = None
    links: Links = "follow"


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset that has a name; the counts are those of its default normal class.

    Attributes:
        name: one of NAMES.
        summary: what it is, in a line.
        n_normals: None where unknown, as of the other counts.
        n_anomalies: of all types.
        n_types: of anomalies.
        on_disk: whether nothing is to be got.
        size_bytes: on the disk; 0 where it is part of an installed package.
        how: to get what is not on the disk.
    """

    name: str
    summary: str
    n_normals: int | None
    n_anomalies: int | None
    n_types: int | None
    on_disk: bool
    size_bytes: int
    how: str


def load_dataset(
    request: DatasetRequest, *, cache_dir: Path, progress: Progress = silent
) -> Dataset:
    """The dataset that `request` names; downloads and generates what it must into `cache_dir`.

    Raises:
        SpecError: the name is unknown, or an option does not fit it.
        DataError: the data are missing or break a rule.
    """
    name = request.name
    _check_options(request)
    if name in _SYNTHETIC:
        return load_synthetic_histology(
            name, seed=request.seed, cache_dir=cache_dir, progress=progress
        )
    if name == DIGITS_NAME:
        return load_digits(request.normal_class, seed=request.seed)
    if name in _TORCHVISION:
        source = _TORCHVISION[name]
        root = request.root or torchvision_root(cache_dir)
        if is_class_folders(root) and not source.on_disk(root):
            return load_torchvision_folders(source, request.normal_class, root=root)
        return load_torchvision(source, request.normal_class, root=root)
    if name in _OBTAINED:
        return load_obtained(_OBTAINED[name], root=request.root)
    if name in _NIH:
        return load_nih(
            _NIH[name],
            root=request.root,
            cache_dir=cache_dir,
            multi_label=request.multi_label,
            progress=progress,
        )
    path = Path(name).expanduser()
    if _is_manifest(name):
        own = load_manifest(path, request.root, links=request.links)
    elif is_class_folders(path):
        own = load_class_folders(path, request.normal_class)
    else:
        own = load_mvtec(path)
    return replace(own, window=request.window)


def _check_options(request: DatasetRequest) -> None:
    name, is_manifest = request.name, _is_manifest(request.name)
    is_folder = False
    with suppress(OSError, ValueError, RuntimeError):  # what can be no path
        is_folder = bool(name) and Path(name).expanduser().is_dir()
    if name not in NAMES and not is_manifest and not is_folder:
        close = difflib.get_close_matches(name, NAMES, n=1)
        meant = f"; did you mean {close[0]}?" if close else ";"
        raise SpecError(
            f"--dataset '{printable(name)[:200]}' is unknown{meant} give one of "
            f"{', '.join(NAMES)}, a CSV manifest, or a folder in MVTec AD layout or of classes"
        )
    has_classes = name in _CLASSES
    if request.normal_class is not None and name not in NAMES and not is_manifest:
        has_classes = is_class_folders(Path(name).expanduser())
    with_root = (*_TORCHVISION, *_OBTAINED, *_NIH)
    own_images = "CSV manifests and folders of images"
    rules = (
        (
            "--normal-class",
            request.normal_class is None or has_classes,
            f"{', '.join(_CLASSES)} and folders of classes",
        ),
        (
            "--root",
            request.root is None or name in with_root or is_manifest,
            f"{', '.join(with_root)} and CSV manifests",
        ),
        ("multi_label", request.multi_label == "pure" or name in _NIH, ", ".join(_NIH)),
        ("--window", request.window is None or name not in NAMES, own_images),
        ("--links", request.links == "follow" or is_manifest, "CSV manifests"),
    )
    for option, fits, kinds in rules:
        if not fits:
            raise SpecError(f"{option} does not fit {printable(name)}; it is for {kinds}")


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() == ".csv"


def dataset_infos(cache_dir: Path) -> list[DatasetInfo]:
    """Every dataset that has a name, the embedded ones first."""
    n_slides = {"normal": 0, "tumour": 0}
    for (_, kind), count in SLIDE_COUNTS.items():
        n_slides[kind] += count
    root = torchvision_root(cache_dir)
    return [
        *(
            DatasetInfo(
                name,
                summary,
                n_slides["normal"] * TILES_PER_SLIDE,
                n_slides["tumour"] * TILES_PER_SLIDE,
                n_slides["tumour"],
                stored_at(cache_dir, 0, name).exists(),
                _size(stored_at(cache_dir, 0, name)),
                "generated on first use, no download",
            )
            for name, summary in _SYNTHETIC.items()
        ),
        DatasetInfo(
            DIGITS_NAME,
            "scikit-learn's digits at 32x32; --normal-class 0 to 9, a type is another digit",
            178,
            1619,
            len(DIGIT_CLASSES) - 1,
            True,
            0,
            "part of scikit-learn",
        ),
        *(
            DatasetInfo(
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
            for source in _TORCHVISION.values()
        ),
        *(
            DatasetInfo(source.name, source.summary, None, None, None, False, 0, source.how_to_get)
            for source in (*OBTAINED_SETS, *NIH_SETS)
        ),
    ]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
