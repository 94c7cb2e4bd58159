"""Images with exactly the same pixels."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.datasets.audit.finding import Finding, Severity
from hpsearch.datasets.audit.look import Looks
from hpsearch.datasets.table import ANOMALY, NORMAL
from hpsearch.files import printable


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
