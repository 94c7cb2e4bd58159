"""Sizes and modes of the images, and what is not taken as it is stored."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from hpsearch.datasets.audit.finding import Finding
from hpsearch.datasets.audit.look import Looks
from hpsearch.datasets.shown import ShownCounts
from hpsearch.datasets.table import ANOMALY, NORMAL
from hpsearch.files import printable

_CONSEQUENCES = {
    "sizes": "all are brought to one; store all alike if you can",
    "modes": "grey images are read as colour ones; store all alike if you can",
}


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
            message = f"{kind}: {_several(values)}; {_CONSEQUENCES[kind]}"
        yield Finding("warning", f"mixed {kind}", kind, message)


def _several(values: "pd.Series[str]") -> str:
    counts = values.value_counts()
    shown = ", ".join(f"{count} of {value}" for value, count in counts.head(3).items())
    return f"{len(counts)} different ones, {shown}" + (" and so on" if len(counts) > 3 else "")


def _sizes(looks: Looks) -> "pd.Series[str]":
    pairs = zip(looks["width"].tolist(), looks["height"].tolist(), strict=True)
    return pd.Series([f"{width}x{height}" for width, height in pairs], dtype=str)


def _modes(looks: Looks) -> "pd.Series[str]":
    return pd.Series(np.asarray(looks["mode"], dtype=object), dtype=str)
