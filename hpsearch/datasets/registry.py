"""From the name that the user gives to a dataset."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from hpsearch.datasets.digits import NAME as DIGITS
from hpsearch.datasets.digits import load_digits
from hpsearch.datasets.folders import is_class_folders, load_class_folders, load_mvtec
from hpsearch.datasets.manifest import OBTAINED_SETS, Links, load_manifest, load_obtained
from hpsearch.datasets.nih import NIH_SETS, MultiLabel, load_nih
from hpsearch.datasets.synthetic import NAME as SYNTHETIC
from hpsearch.datasets.synthetic import load_synthetic_histology
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
from hpsearch.io.files import printable
from hpsearch.io.processes import Progress, silent

_TORCHVISION = {source.name: source for source in (CIFAR10, SVHN)}
_OBTAINED = {source.name: source for source in OBTAINED_SETS}
_NIH = {source.name: source for source in NIH_SETS}
_CLASSES = (DIGITS, *_TORCHVISION)

NAMES = (SYNTHETIC, DIGITS, *_TORCHVISION, *_OBTAINED, *_NIH)


@dataclass(frozen=True)
class DatasetRequest:
    """Which dataset, and where and how it is read."""

    name: str  # one of NAMES, a CSV manifest, or a folder in MVTec AD layout or of classes
    root: Path | None = None  # the folder of the images, where it is not the default
    normal_class: str | None = None  # of a set of classes: the one that is normal
    seed: int = 0  # of what is generated or split at random
    multi_label: MultiLabel = "pure"  # of the NIH sets
    window: Window | None = None  # of a manifest's or a folder's images of more than 8 bits
    links: Links = "follow"  # of a manifest's files that are links to others outside of its root


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
    if name == SYNTHETIC:
        return load_synthetic_histology(seed=request.seed, cache_dir=cache_dir, progress=progress)
    if name == DIGITS:
        return load_digits(request.normal_class, seed=request.seed)
    if name in _TORCHVISION:
        return _torchvision(request, cache_dir)
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
    return replace(_own_images(request), window=request.window)


def _torchvision(request: DatasetRequest, cache_dir: Path) -> Dataset:
    source = _TORCHVISION[request.name]
    root = request.root or torchvision_root(cache_dir)
    if is_class_folders(root) and not source.on_disk(root):
        return load_torchvision_folders(source, request.normal_class, root=root)
    return load_torchvision(source, request.normal_class, root=root)


def _own_images(request: DatasetRequest) -> Dataset:
    path = Path(request.name).expanduser()
    if _is_manifest(request.name):
        return load_manifest(path, request.root, links=request.links)
    if is_class_folders(path):
        return load_class_folders(path, request.normal_class)
    return load_mvtec(path)


def _check_options(request: DatasetRequest) -> None:
    name = request.name
    is_manifest = _is_manifest(name)
    if name not in NAMES and not is_manifest and not _is_folder(name):
        raise SpecError(_unknown(name))
    if request.normal_class is not None and not _has_classes(name):
        rule = f"it is for {', '.join(_CLASSES)} and folders of classes"
        raise SpecError(f"--normal-class does not fit {printable(name)}; {rule}")
    with_root = (*_TORCHVISION, *_OBTAINED, *_NIH)
    if request.root is not None and name not in with_root and not is_manifest:
        rule = f"it is for {', '.join(with_root)} and CSV manifests"
        raise SpecError(f"--root does not fit {printable(name)}; {rule}")
    if request.multi_label != "pure" and name not in _NIH:
        rule = f"it is for {', '.join(_NIH)}"
        raise SpecError(f"multi_label does not fit {printable(name)}; {rule}")
    if request.window is not None and name in NAMES:
        rule = "it is for CSV manifests and folders of images"
        raise SpecError(f"--window does not fit {printable(name)}; {rule}")
    if request.links != "follow" and not is_manifest:
        raise SpecError(f"--links does not fit {printable(name)}; it is for CSV manifests")


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() == ".csv"


def _has_classes(name: str) -> bool:
    if name in NAMES or _is_manifest(name):
        return name in _CLASSES
    return is_class_folders(Path(name).expanduser())


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):
        return False


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, NAMES, n=1)
    meant = f"; did you mean {close[0]}?" if close else ";"
    return (
        f"--dataset '{printable(name)[:200]}' is unknown{meant} give one of {', '.join(NAMES)}, "
        "a CSV manifest, or a folder in MVTec AD layout or of classes"
    )
