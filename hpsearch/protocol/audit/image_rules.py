"""What the images themselves show: their sizes and modes, their masks, and which are the same.

An audit remembers about 350 bytes of an image, whatever its size. Next to a hash of the pixels
there is a small grey copy, free of brightness and contrast, and the signs of its lowest
frequencies: 64 bits, nearly all of which a copy that was saved or scaled anew shares.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from hpsearch.datasets.pixels import BadImage, Preprocessing, central_part, each_image
from hpsearch.datasets.reading import Shown, ShownCounts, read_mask
from hpsearch.datasets.table import ANOMALY, NORMAL, Dataset
from hpsearch.errors import DataError
from hpsearch.io.processes import Progress
from hpsearch.io.text import printable
from hpsearch.protocol.protocol import Finding, Severity

GREY_SIDE = 16  # of the grey copy, in pixels
FLAT = 1.0  # grey levels; where the grey copy's deviation is below it, noise decides how it looks

LOOK = np.dtype(
    [
        ("read", np.bool_),
        ("pixels", "S32"),  # hash
        ("width", np.uint32),
        ("height", np.uint32),
        ("mode", "U3"),
        ("turned", np.bool_),  # by its EXIF orientation
        ("transparent", np.bool_),  # in part, and laid on white
        ("frames", np.uint32),
        ("blank", np.bool_),  # all pixels are the same
        ("flat", np.bool_),
        ("bits", np.uint64),
        ("grey", np.int8, (GREY_SIDE**2,)),  # mean 0, one deviation is `_UNIT`
    ]
)
Look = tuple[bool, str, int, int, str, bool, bool, int, bool, bool, int, NDArray[np.int8]]
Looks = NDArray[np.void]

_FREQUENCIES = 8  # along each side
_UNIT = 31.0  # four deviations fit into 8 bits
_MARKED = 128  # grey level of a mask from which on a pixel is marked
_SQUARE = Preprocessing(1, fit="crop")
_REMEDY = "keep to fit=stretch, the default, or cut the images into squares"
_CONSEQUENCES = {
    "sizes": "all are brought to one; store all alike if you can",
    "modes": "grey images are read as colour ones; store all alike if you can",
}


def look_at_all(
    dataset: Dataset, *, workers: int, progress: Progress
) -> tuple[Looks, list[Finding]]:
    """`LOOK` of every image (N,), in the order of the table, and the images that are unreadable."""
    looks = np.zeros(len(dataset.table), dtype=LOOK)
    bad: list[Finding] = []
    chunks = each_image(
        dataset, look_at, workers=workers, what="checking images", progress=progress
    )
    for position, result in enumerate(result for chunk in chunks for result in chunk):
        if isinstance(result, BadImage):
            subject = printable(dataset.table["image_id"].iloc[position])
            bad.append(Finding("error", "unreadable", subject, result.message))
        else:
            looks[position] = result
    return looks, bad


def look_at(image: Image.Image) -> Look:
    """The fields of `LOOK` of an image of mode "L" or "RGB"."""
    small = (
        image.convert("L").convert("F").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BILINEAR)
    )
    grey = np.asarray(small, dtype=np.float64)
    grey = grey - grey.mean()
    deviation = float(grey.std())
    flat = deviation < FLAT
    scaled = np.zeros_like(grey) if flat else grey * (_UNIT / deviation)
    levels = np.rint(scaled.clip(-127, 127)).astype(np.int8).ravel()
    blank = image.getcolors(maxcolors=1) is not None
    shown = image.info.get("shown", Shown())
    changes = (shown.turned, shown.transparent, shown.frames)
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    stored = (True, digest.hexdigest()[:32], *image.size, image.mode)
    return *stored, *changes, blank, flat, int(bits_of(grey[None])[0]), levels


def bits_of(grey: NDArray[Any]) -> NDArray[np.uint64]:
    """The signs of the lowest frequencies of squares `(n, GREY_SIDE, GREY_SIDE)`, 64 bits each."""
    lowest = dctn(grey, norm="ortho", axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES]
    signs = np.packbits((lowest > 0).reshape(len(grey), _FREQUENCIES**2), axis=1)
    return np.ascontiguousarray(signs).view("<u8")[:, 0].astype(np.uint64)


def count_formats(looks: Looks) -> Mapping[str, Mapping[str, int]]:
    """Images of each size ("WxH", in px) and of each mode as read ("L" or "RGB"), most first."""
    formats = {"sizes": _sizes(looks[looks["read"]]), "modes": _modes(looks[looks["read"]])}
    return {
        kind: {str(value): int(count) for value, count in values.value_counts().items()}
        for kind, values in formats.items()
    }


def shown_counts(looks: Looks) -> ShownCounts:
    """Images that were turned, laid on white, or have further frames."""
    return ShownCounts(
        turned=int(looks["turned"].sum()),
        transparent=int(looks["transparent"].sum()),
        many_frames=int((looks["frames"] > 1).sum()),
    )


def frame_findings(table: pd.DataFrame, looks: Looks) -> Iterator[Finding]:
    """Files with several frames, for all but the first are left out."""
    several = np.flatnonzero(looks["frames"] > 1)
    if several.size:
        most = several[looks["frames"][several].argmax()]
        name, frames = printable(table["image_id"].iloc[most]), int(looks["frames"][most])
        message = (
            f"image {name}: has {frames} frames, of which only the first is read "
            f"({several.size} such images); save the others as files of their own if they count"
        )
        yield Finding("warning", "further frames", name, message)


def format_findings(table: pd.DataFrame, looks: Looks) -> Iterator[Finding]:
    """Mixed sizes and mixed modes, and whether these alone tell the classes apart."""
    readable, labels = looks[looks["read"]], table["label"].to_numpy()[looks["read"]]
    for kind, values in (("sizes", _sizes(readable)), ("modes", _modes(readable))):
        if values.nunique() < 2:
            continue
        normal, anomalous = (values[labels == label].unique() for label in (NORMAL, ANOMALY))
        if len(normal) == len(anomalous) == 1:
            what = f"all normals are {normal[0]} and all anomalies {anomalous[0]}"
            rest = "which alone tells them apart; store all alike"
            message = f"{kind}: {what}, {rest}"
        else:
            counts = values.value_counts()
            most = ", ".join(f"{count} of {value}" for value, count in counts.head(3).items())
            what = f"{len(counts)} different ones, {most}" + " and so on" * (len(counts) > 3)
            message = f"{kind}: {what}; {_CONSEQUENCES[kind]}"
        yield Finding("warning", f"mixed {kind}", kind, message)


def _sizes(looks: Looks) -> "pd.Series[str]":
    pairs = zip(looks["width"].tolist(), looks["height"].tolist(), strict=True)
    return pd.Series([f"{width}x{height}" for width, height in pairs], dtype=str)


def _modes(looks: Looks) -> "pd.Series[str]":
    return pd.Series(np.asarray(looks["mode"], dtype=object), dtype=str)


def mask_findings(dataset: Dataset, looks: Looks) -> Iterator[Finding]:
    """Masks that cannot be read, or have another size than their image has upright."""
    paths = dataset.table["mask_path"]
    for position in np.flatnonzero(looks["read"] & (paths != "").to_numpy()):
        assert dataset.root is not None  # only files have masks
        name = printable(paths.iloc[position])
        try:
            size = read_mask(dataset.root / paths.iloc[position]).size
        except DataError as error:
            yield Finding("warning", "mask", name, str(error))
            continue
        shown = (int(looks["width"][position]), int(looks["height"][position]))
        if size != shown:
            what = f"is {size[0]}x{size[1]} px, its image {shown[0]}x{shown[1]} upright"
            yield Finding("warning", "mask", name, f"mask {name}: {what}; draw it on that")


def not_square_findings(dataset: Dataset, looks: Looks) -> Iterator[Finding]:
    """Images that lose a part, and anomalies that lose all that is marked on them."""
    sides = np.stack([looks["width"], looks["height"]], axis=1).astype(np.float64)
    positions: list[int] = np.flatnonzero(looks["read"] & (sides[:, 0] != sides[:, 1])).tolist()
    if not positions:
        return
    kept = 100 * np.median(sides[positions].min(axis=1) / sides[positions].max(axis=1))
    what = f"{len(positions)} of {len(looks)} images are not square"
    rule = f"with fit=crop only the central square is seen, {kept:.0f} % of the median one"
    yield Finding("warning", "not square", "shapes", f"shapes: {what}; {rule}; {_REMEDY}")
    with_mask = [place for place in positions if dataset.table["mask_path"].iloc[place]]
    n_outside = 0
    for place in with_mask:
        assert dataset.root is not None  # only files have masks
        with suppress(DataError):  # told of elsewhere; nothing but benchmarks reads masks
            mask = read_mask(dataset.root / dataset.table["mask_path"].iloc[place])
            marked = np.asarray(mask) >= _MARKED
            left, upper, right, lower = central_part(*mask.size, _SQUARE)
            n_outside += bool(marked.any() and not marked[upper:lower, left:right].any())
    if n_outside:
        what = f"{n_outside} of {len(with_mask)} anomalies have no marked pixel in that square"
        rule = "with fit=crop nothing of them is seen"
        yield Finding("warning", "cropped away", "masks", f"masks: {what}; {rule}; {_REMEDY}")


def same_pixels_findings(table: pd.DataFrame, looks: Looks) -> Iterator[Finding]:
    """A finding an image that has the pixels of an earlier one, and of what they amount to.

    Images of one value are counted, not compared.
    """
    blank = np.flatnonzero(looks["blank"])
    if blank.size:
        name = printable(table["image_id"].iloc[blank[0]])
        message = f"image {name}: holds one value only ({blank.size} such images); remove them"
        yield Finding("warning", "blank", name, message)
    compared = np.flatnonzero(looks["read"] & ~looks["blank"])
    yield from _validation_is_test(table.iloc[compared], looks["pixels"][compared])
    _, first, copies = np.unique(looks["pixels"][compared], return_index=True, return_inverse=True)
    for position, other in zip(compared, compared[first][copies], strict=True):
        if other != position:
            yield from _same_pixels(table.iloc[other], table.iloc[position])


def _validation_is_test(table: pd.DataFrame, pixels: NDArray[np.bytes_]) -> Iterator[Finding]:
    """Where a class of one split is wholly among the same class of the other."""
    for label, what in ((NORMAL, "normals"), (ANOMALY, "anomalies")):
        of_class = (table["label"] == label).to_numpy()
        in_test = (table["split"] == "test").to_numpy()
        train, test = pixels[of_class & ~in_test], pixels[of_class & in_test]
        for one, other, names in ((test, train, "test train"), (train, test, "train test")):
            if one.size and np.isin(one, other).all():
                here, there = names.split()
                subject = f"{here} {what}"
                message = (
                    f"{subject}: all {one.size} are {there} {what} too, so the search would be "
                    "scored on what it is tested on; give each image one split"
                )
                yield Finding("error", "validation is test", subject, message)
                break


def _same_pixels(one: "pd.Series[str]", two: "pd.Series[str]") -> Iterator[Finding]:
    severity: Severity = "error"
    if one["label"] != two["label"]:
        why = "one is normal and the other an anomaly; mend the label or remove both"
    elif one["split"] != two["split"]:
        why = "one is in train and the other in test; remove one"
    elif one["group"] != two["group"]:
        severity = "warning"
        why = "their groups differ, so they may lie in two folds; give them one group or remove one"
    else:
        return
    subject = printable(two["image_id"])
    message = f"image {subject}: has the pixels of {printable(one['image_id'])}, but {why}"
    yield Finding(severity, "same pixels", subject, message)
