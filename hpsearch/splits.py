"""Grouped cross-validation folds over the normal training images of an image table.

Positions are row numbers of the table. A group (slide, patient, object) never straddles two
parts of a fold. Anomalies are no part of the folds: they never enter training (see `budget`).
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from hpsearch.errors import DataError

Positions = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fold:
    """Row positions of normals in one fold, each array ascending.

    No two arrays share a group; only folds that were read from files may break this rule.
    """

    train: Positions
    early_stop: Positions
    """Held out of training: their loss decides when it stops."""
    scored: Positions
    """The normals against which the labelled anomalies are scored."""

    @cached_property
    def digest(self) -> str:
        """Names the fold by its positions, 16 hex digits."""
        parts = [part.tolist() for part in (self.train, self.early_stop, self.scored)]
        return hashlib.sha256(str(parts).encode()).hexdigest()[:16]


def make_folds(
    table: pd.DataFrame, *, n_folds: int = 3, early_stop_fraction: float = 0.2, seed: int
) -> tuple[Fold, ...]:
    """Split the training normals into folds; each normal is scored in exactly one of them.

    Groups are shuffled by the seed and dealt in equal numbers, so folds of unequal groups differ
    in size. `early_stop_fraction` is the share of a fold's training groups, rounded up.

    Raises:
        DataError: too few groups of normals to leave every fold a training and a held-out one.
        ValueError: an option is out of range.
    """
    if n_folds < 2 or not 0.0 < early_stop_fraction < 1.0:
        raise ValueError(
            f"n_folds {n_folds} must be >= 2, early_stop_fraction {early_stop_fraction} in (0, 1)"
        )
    normals = final_split(table)
    # Numbered by name, so that the folds of a group do not hang on the order of the rows.
    names, groups = np.unique(table["group"].to_numpy(dtype=object)[normals], return_inverse=True)
    _check_n_groups(names.size, n_folds, early_stop_fraction)
    rng = np.random.RandomState(seed)
    outer = GroupKFold(n_folds, shuffle=True, random_state=rng)
    inner = GroupShuffleSplit(1, test_size=early_stop_fraction, random_state=rng)
    folds = []
    for fitted, scored in outer.split(normals, groups=groups):
        train, early_stop = next(inner.split(fitted, groups=groups[fitted]))
        folds.append(Fold(normals[fitted[train]], normals[fitted[early_stop]], normals[scored]))
    return tuple(folds)


def final_split(table: pd.DataFrame) -> Positions:
    """Positions of all training normals (N,), ascending: what the final model is trained on."""
    return np.flatnonzero((table["split"] == "train") & (table["label"] == 0))


def _check_n_groups(n_groups: int, n_folds: int, early_stop_fraction: float) -> None:
    n_fitted = n_groups - ceil(n_groups / n_folds)
    if n_groups >= n_folds and ceil(early_stop_fraction * n_fitted) < n_fitted:
        return
    raise DataError(
        f"training normals: {n_groups} groups are too few for {n_folds} folds with "
        f"{early_stop_fraction:g} of each held out; add normals of other groups, or ask for less"
    )
