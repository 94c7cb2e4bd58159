"""Folds that are drawn for the labelled anomalies, and what a user must be told of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from hpsearch.io.files import printable
from hpsearch.protocol.folds import (
    EARLY_STOP_FRACTION,
    Fold,
    final_split,
    make_folds,
    normals_beside,
)
from hpsearch.protocol.labels import LabelledAnomalies, labelled_for_fold

_SPLIT = "--split-groups"


class FoldWarning(NamedTuple):
    """One line, and what kind of fault it tells."""

    kind: str
    message: str


@dataclass(frozen=True, eq=False)
class DrawnFolds:
    """Folds of `hpsearch.protocol.folds.make_folds`.

    Attributes:
        folds: the folds.
        warnings: what makes them uneven, small, or less than independent of what they score.
    """

    folds: tuple[Fold, ...]
    warnings: tuple[FoldWarning, ...]


def draw_folds(
    table: pd.DataFrame,
    labelled: LabelledAnomalies,
    *,
    n_folds: int,
    seed: int,
    split_groups: bool,
) -> DrawnFolds:
    """Draw the folds in which each scores its labelled anomalies.

    Raises:
        DataError: too few groups of normals, or labelled anomalies, for so many folds.
    """
    folds = make_folds(
        table,
        n_folds=n_folds,
        seed=seed,
        anomalies=[labelled_for_fold(labelled, fold, n_folds) for fold in range(n_folds)],
        split_groups=split_groups,
    )
    found = (
        *_uneven(folds, table),
        *_early_stop(folds),
        *_shared(table, labelled, split_groups=split_groups),
        *_split(folds, table),
    )
    return DrawnFolds(folds, found)


def _shared(
    table: pd.DataFrame, labelled: LabelledAnomalies, *, split_groups: bool
) -> Iterator[FoldWarning]:
    beside = normals_beside(table, labelled.positions)
    if beside.size:
        n_normal = final_split(table).size
        shared = f"{beside.size} of {n_normal} training normals share a group with a labelled"
        yield FoldWarning(
            "shared group",
            f"{shared} anomaly and are trained on all the same ({_SPLIT}), so validation figures "
            "may flatter"
            if split_groups
            else f"{shared} anomaly, so no fold that scores it trains on them; label anomalies of "
            f"other groups, or give {_SPLIT} to train on them",
        )


def _uneven(folds: Sequence[Fold], table: pd.DataFrame) -> Iterator[FoldWarning]:
    sizes = [fold.train.size for fold in folds]
    if 2 * min(sizes) >= max(sizes):
        return
    counts = table["group"].iloc[final_split(table)].value_counts()
    yield FoldWarning(
        "uneven folds",
        f"fold {np.argmin(sizes)} trains on {min(sizes)} normals and fold {np.argmax(sizes)} on "
        f"{max(sizes)}, for groups are kept whole and {printable(counts.index[0])} has "
        f"{counts.iloc[0]} of {counts.sum()}: their figures and the threshold are unsteady; add "
        f"normals of other groups, or give {_SPLIT} to deal the images of large ones",
    )


def _early_stop(folds: Sequence[Fold]) -> Iterator[FoldWarning]:
    held = [fold.early_stop.size / (fold.early_stop.size + fold.train.size) for fold in folds]
    most = int(np.argmax(held))
    if held[most] <= 2 * EARLY_STOP_FRACTION:
        return
    fold = folds[most]
    yield FoldWarning(
        "early stopping",
        f"fold {most} holds out {fold.early_stop.size} of "
        f"{fold.early_stop.size + fold.train.size} normals for early stopping, for groups are kept "
        f"whole; add normals of other groups, or give {_SPLIT} to hold out single images",
    )


def _split(folds: Sequence[Fold], table: pd.DataFrame) -> Iterator[FoldWarning]:
    """Of groups of normals that a fold both trains on and scores."""
    groups = table["group"].to_numpy(dtype=object)
    names: set[str] = set()
    for fold in folds:
        names |= set(groups[fold.train]) & set(groups[fold.scored])
    if names:
        more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
        yield FoldWarning(
            "split group",
            f"group {printable(min(names))}{more} both trained on and scored ({_SPLIT}), so "
            "validation figures may flatter",
        )
