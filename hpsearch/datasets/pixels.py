"""Decoded pixels: each variant of a dataset is made once, then every training maps it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hpsearch.datasets.reading import (
    Shown,
    ShownCounts,
    count_shown,
    image_of,
    is_dicom,
    read_image,
    read_mode,
    read_size,
)
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.window import Window
from hpsearch.errors import DataError, SpecError
from hpsearch.io.cache import check_disk_space, read_or_make_all
from hpsearch.io.files import atomic_path, write_text_atomic
from hpsearch.io.processes import Progress, in_order, silent
from hpsearch.io.text import printable

VERSION = 2  # raise it with every change to the pixels that one preprocessing gives
IMAGES_A_JOB = 64  # of a process that decodes

_LISTED = 5  # bad images that a message names
_SAMPLED = 200  # images whose size is looked at

Fit = Literal["crop", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)

Pixels = NDArray[np.uint8]

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before it is stored, in this order: grey, equalise, crop, resize.

    What is kept is the central part. With `fit` crop it is a square of the shorter side, with
    stretch it has the image's own shape and is stretched to a square.

    Every field but the size is an axis of the search space of that name, with its default as the
    only choice where a study names none, and stands in a model's `model.json`. A field that is
    added needs `metadata={"before": ...}`: what it is in studies and models that lack it.

    Attributes:
        size: px, side of the stored square.
        greyscale: whether colours are given up for their luminance.
        equalize: whether the histogram of the luminance is flattened.
        central_crop: kept fraction of the side.
        fit: how an image that is not square becomes one.

    Raises:
        SpecError: a value is of another kind or out of its range.
    """

    size: int
    greyscale: bool = False
    equalize: bool = False
    central_crop: float = 1.0
    fit: Fit = field(default="stretch", metadata={"before": "crop"})

    def __post_init__(self) -> None:
        for step in fields(self):
            value, kind = (
                getattr(self, step.name),
                int if step.name == "size" else type(step.default),
            )
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise SpecError(f"{step.name} must be {_KINDS[kind]}, got {value!r:.40}")
        if self.size < 1:
            raise SpecError(f"the stored side must be at least 1 px, got {self.size}")
        if not 0 < self.central_crop <= 1:
            raise SpecError(f"central_crop must be above 0 and at most 1, got {self.central_crop}")
        if self.fit not in FITS:
            raise SpecError(f"fit must be {' or '.join(FITS)}, got {self.fit!r:.40}")

    @classmethod
    def of(cls, size: int, values: Mapping[str, Any]) -> "Preprocessing":
        """Of a configuration, or of what a model's file says, among other values.

        Raises:
            SpecError: a step is missing, of another kind or out of its range.
        """
        steps: dict[str, Any] = {}
        for step in fields(cls):
            if step.name in STEPS:
                value = values.get(step.name, step.metadata.get("before"))
                # A whole number may stand for a fraction, and means the same file of the cache.
                is_whole = type(step.default) is float and type(value) is int
                steps[step.name] = float(value) if is_whole else value
        return cls(size, **steps)


STEPS: Mapping[str, Any] = {
    step.name: step.default for step in fields(Preprocessing) if step.name != "size"
}
"""The fields that are axes of the search space, with their defaults."""


def load_pixels(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    workers: int = 1,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda line: None,
) -> Pixels:
    """The images in one variant, as `load_variants` gives it."""
    return load_variants(
        dataset,
        [preprocessing],
        cache_dir=cache_dir,
        workers=workers,
        progress=progress,
        note=note,
    )[preprocessing]


def load_variants(
    dataset: Dataset,
    variants: Iterable[Preprocessing],
    *,
    cache_dir: Path,
    workers: int = 1,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda line: None,
) -> dict[Preprocessing, Pixels]:
    """Memory maps `(N, size, size, C)`, read-only, rows as in the table.

    C is 1 when `greyscale` is asked for or every image is grey, else 3. Each image is decoded once
    for all variants that are not there yet, in `workers` processes; later calls with the same data
    find the files, check them, and make those anew that are damaged. `note` is told which images
    are not taken as they are stored (turned, laid on white, the first of several frames).

    Raises:
        DataError: some images cannot be read (the first few are named, the others counted), or the
            cache folder has no room.
    """
    files: dict[Preprocessing, Path] = {}
    for variant in variants:
        what = [VERSION, dataset.fingerprint, asdict(variant)]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
        files[variant] = cache_dir / "pixels" / f"{key}.npy"

    def make(missing: Sequence[Path]) -> None:
        targets = {variant: file for variant, file in files.items() if file in missing}
        _write(targets, dataset, workers, progress)

    pixels = read_or_make_all(files.values(), _read, make)
    told: dict[str, None] = {}  # the same of every variant
    for file in files.values():
        # Only told: not worth decoding all again.
        with contextlib.suppress(OSError, ValueError, TypeError):
            counts = ShownCounts(**json.loads(_counts_file(file).read_text(encoding="utf-8")))
            told |= dict.fromkeys(counts.lines)
    for line in told:
        note(line)
    return {variant: pixels[file] for variant, file in files.items()}


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The image in mode "L" or "RGB" as it is stored, a square of side `size`."""
    if preprocessing.greyscale:
        image = image.convert("L")
    if preprocessing.equalize and image.mode == "L":
        image = ImageOps.equalize(image)
    elif preprocessing.equalize:
        luminance, blue, red = image.convert("YCbCr").split()
        image = Image.merge("YCbCr", (ImageOps.equalize(luminance), blue, red)).convert("RGB")
    image = image.crop(central_part(*image.size, preprocessing))
    return image.resize((preprocessing.size, preprocessing.size), Image.Resampling.BILINEAR)


def central_part(
    width: int, height: int, preprocessing: Preprocessing
) -> tuple[int, int, int, int]:
    """Left, upper, right and lower bound of what is kept of an image, in px.

    Where it cannot be central it lies half a pixel off.
    """
    whole = (width, height) if preprocessing.fit == "stretch" else (min(width, height),) * 2
    across, down = (max(1, round(side * preprocessing.central_crop)) for side in whole)
    left, upper = (width - across) // 2, (height - down) // 2
    return left, upper, left + across, upper + down


_Result = TypeVar("_Result")


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read; takes the place of its result.

    Attributes:
        message: why.
    """

    message: str


@dataclass(frozen=True, eq=False)
class _Job:
    """Some images of a dataset, files or arrays, from one position on."""

    start: int
    images: list[Path] | NDArray[np.uint8]
    window: Window | None

    def __str__(self) -> str:
        return f"images {self.start + 1} to {self.start + len(self.images)}"


def each_image(
    dataset: Dataset,
    function: Callable[[Image.Image], _Result],
    *,
    workers: int = 1,
    what: str,
    progress: Progress = silent,
) -> Iterator[list[_Result | BadImage]]:
    """`function` of every image, in the order of the table, in lists of up to `IMAGES_A_JOB`.

    Args:
        dataset: its files are opened in the workers.
        function: can be sent to another process.
        workers: processes.
        what: the work, as the progress names it.
        progress: told after each list.

    Raises:
        HpsearchError: a worker died.
    """
    n = len(dataset.table)
    jobs = (
        _Job(
            start,
            [dataset.file(position) for position in range(start, min(start + IMAGES_A_JOB, n))]
            if dataset.arrays is None
            else np.asarray(dataset.arrays[start : start + IMAGES_A_JOB]),
            dataset.window,
        )
        for start in range(0, n, IMAGES_A_JOB)
    )
    done = 0
    for results in in_order(partial(_apply, function), jobs, workers=workers):
        yield results
        done += len(results)
        progress(what, done, n)


def _apply(function: Callable[[Image.Image], _Result], job: _Job) -> list[_Result | BadImage]:
    results: list[_Result | BadImage] = []
    for image in job.images:
        try:
            opened = (
                read_image(image, window=job.window) if isinstance(image, Path) else image_of(image)
            )
        except DataError as error:
            results.append(BadImage(str(error)))
        else:
            results.append(function(opened))
    return results


def _read(path: Path) -> Pixels:
    """The array, whose SHA-256 stands behind it in the file."""
    pixels = cast(Pixels, np.load(path, mmap_mode="r", allow_pickle=False))
    with path.open("rb") as file:
        file.seek(-hashlib.sha256().digest_size, os.SEEK_END)
        if file.read() != hashlib.sha256(pixels.data).digest():
            raise ValueError("the pixels are not those that were written")
    return pixels


def _write(
    targets: Mapping[Preprocessing, Path], dataset: Dataset, workers: int, progress: Progress
) -> None:
    """Write all images in each variant with their SHA-256, or read on to know all that are bad."""
    is_grey = all(variant.greyscale for variant in targets) or all_grey(dataset)
    modes: dict[Preprocessing, Literal["L", "RGB"]] = {
        variant: "L" if is_grey or variant.greyscale else "RGB" for variant in targets
    }
    shapes = [
        (len(dataset.table), variant.size, variant.size, len(mode))
        for variant, mode in modes.items()
    ]
    folder = next(iter(targets.values())).parent
    check_disk_space(folder, sum(int(np.prod(shape)) for shape in shapes))
    bad: list[str] = []
    facts: list[Shown] = []
    digests = [hashlib.sha256() for _ in targets]
    with contextlib.ExitStack() as opened:
        files = []
        for target, shape in zip(targets.values(), shapes, strict=True):
            temporary = opened.enter_context(atomic_path(target))
            # A full disk makes these writes raise; through a memory map it would kill the process.
            file = opened.enter_context(temporary.open("wb"))
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            files.append(file)
        for chunk in each_image(
            dataset,
            partial(_stored, modes=modes),
            workers=workers,
            what="decoding",
            progress=progress,
        ):
            bad += [result.message for result in chunk if isinstance(result, BadImage)]
            if not bad:
                good = [result for result in chunk if not isinstance(result, BadImage)]
                facts += [shown for _, shown in good]
                of_a_variant = zip(*(images for images, _ in good), strict=True)
                for images, digest, file in zip(of_a_variant, digests, files, strict=True):
                    pixels = b"".join(images)
                    digest.update(pixels)
                    file.write(pixels)
        if len(bad) == 1:
            raise DataError(bad[0])
        if bad:
            listed = " | ".join(bad[:_LISTED])
            more = f" | and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
            what = f"{len(bad)} images cannot be used: {listed}{more}"
            raise DataError(f"{printable(dataset.name)}: {what}")
        counts = json.dumps(asdict(count_shown(facts)))
        for target, digest, file in zip(targets.values(), digests, files, strict=True):
            file.write(digest.digest())
            write_text_atomic(_counts_file(target), counts)


def _counts_file(target: Path) -> Path:
    """Where it is told how many images of the file `target` are not taken as they are stored."""
    return target.with_suffix(".json")


def _stored(
    image: Image.Image, modes: Mapping[Preprocessing, Literal["L", "RGB"]]
) -> tuple[list[bytes], Shown]:
    """The pixels in each variant."""
    pixels = [preprocess(image, variant).convert(mode).tobytes() for variant, mode in modes.items()]
    return pixels, image.info.get("shown", Shown())


def usual_side(dataset: Dataset) -> int | None:
    """The median over some of the images of the shorter side in px; None where none can be told."""
    if dataset.arrays is not None:
        return int(min(dataset.arrays.shape[1:3]))
    sides = []
    for position in np.unique(np.linspace(0, len(dataset.table) - 1, _SAMPLED).astype(int)):
        path = dataset.file(int(position))
        with contextlib.suppress(DataError):  # reported with all others when they are decoded
            if not is_dicom(path):
                sides.append(min(read_size(path)))
    return int(np.median(sides)) if sides else None


def all_grey(dataset: Dataset) -> bool:
    """Whether no image has colours; one that cannot be read counts as grey."""
    if dataset.arrays is not None:
        return int(dataset.arrays.shape[3]) == 1
    for position in range(len(dataset.table)):
        # A bad file is reported with all others when they are decoded.
        with contextlib.suppress(DataError):
            if read_mode(dataset.file(position)) == "RGB":
                return False
    return True
