"""Grouped cross-validation folds over the normal training images of an image table.

Positions are row numbers of the table. A group (slide, patient, object) never straddles two
parts of a fold. Anomalies are no part of the folds: they never enter training (see `labels`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.errors import DataError

Positions = NDArray[np.intp]

EARLY_STOP_FRACTION = 0.2
"""Share of a fold's training normals that is held out for early stopping."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Row positions of normals in one fold, each array ascending.

    No two arrays share a group; only folds that were read from files, or that were told to split
    groups, may break this rule.

    Attributes:
        train: what the fold trains on.
        early_stop: held out of training: their loss decides when it stops.
        scored: the normals against which the labelled anomalies are scored.
    """

    train: Positions
    early_stop: Positions
    scored: Positions

    @cached_property
    def digest(self) -> str:
        """Names the fold by its positions, 16 hex digits."""
        parts = [part.tolist() for part in (self.train, self.early_stop, self.scored)]
        return hashlib.sha256(str(parts).encode()).hexdigest()[:16]


def make_folds(
    table: pd.DataFrame,
    *,
    n_folds: int = 3,
    early_stop_fraction: float = EARLY_STOP_FRACTION,
    seed: int,
    anomalies: Sequence[Positions] = (),
    split_groups: bool = False,
) -> tuple[Fold, ...]:
    """Split the training normals into folds; each normal is scored in exactly one of them.

    Groups are dealt whole, the largest first, each to the fold that scores the fewest images so
    far; the seed decides between groups of one size. So no move of a single group would make two
    folds more even. For early stopping a fold holds out whole groups too, in random order while
    they fit in `early_stop_fraction` of its images (rounded up); where none fits, the smallest:
    that is half of the images at most, and never the larger part.

    Normals that share a group with an anomaly that a fold scores are no part of that fold's
    training or early stopping. All folds deal those groups last, so that the training parts of the
    others stay even.

    Args:
        table: the image table.
        n_folds: how many.
        early_stop_fraction: share of the images that a fold does not score.
        seed: of the order.
        anomalies: positions of the labelled anomalies that each fold scores; empty for none.
        split_groups: deal the images of a group one by one where it has more than a fold's even
            share (of what is scored, or held out), and train on normals that share a group with
            labelled anomalies. Then groups are both trained on and scored.

    Raises:
        DataError: too few groups of normals to leave every fold a training and a held-out one.
        ValueError: an option is out of range.
    """
    if n_folds < 2 or not 0.0 < early_stop_fraction < 1.0:
        raise ValueError(
            f"n_folds {n_folds} must be >= 2, early_stop_fraction {early_stop_fraction} in (0, 1)"
        )
    normals = final_split(table)
    barred = np.zeros((n_folds, normals.size), dtype=bool)
    if not split_groups:
        for fold, of_fold in enumerate(anomalies):
            barred[fold] = in_groups_of(table, normals, of_fold)
    # Numbered by name, so that the folds of a group do not hang on the order of the rows.
    _, units = np.unique(table["group"].to_numpy(dtype=object)[normals], return_inverse=True)
    if split_groups:
        units = _split(units, largest=ceil(normals.size / n_folds))
    rng = np.random.default_rng(seed)
    part = _dealt(units, n_folds, last=np.any(barred, axis=0), rng=rng)
    folds = []
    for fold in range(n_folds):
        fitted = np.flatnonzero((part != fold) & ~barred[fold])
        own = units[fitted]
        _check_units(np.unique(units).size, np.unique(own).size, n_folds, int(barred[fold].sum()))
        # Never all of them, however large the fraction and small the fold.
        most = min(ceil(early_stop_fraction * fitted.size), fitted.size - 1)
        held = _held_out(_split(own, largest=most) if split_groups else own, most, rng)
        folds.append(Fold(normals[fitted[~held]], normals[fitted[held]], normals[part == fold]))
    return tuple(folds)


def final_split(table: pd.DataFrame) -> Positions:
    """Positions of all training normals (N,), ascending: what the final model is trained on."""
    return np.flatnonzero((table["split"] == "train") & (table["label"] == 0))


def normals_beside(table: pd.DataFrame, anomalies: Positions) -> Positions:
    """Training normals that share a group with one of the anomalies, ascending positions."""
    normals = final_split(table)
    return normals[in_groups_of(table, normals, anomalies)]


def in_groups_of(table: pd.DataFrame, positions: Positions, others: Positions) -> NDArray[np.bool_]:
    """Which of the images at `positions` share a group with one of `others`."""
    groups = table["group"]
    return groups.iloc[positions].isin(groups.iloc[others]).to_numpy(dtype=bool)


def _split(units: NDArray[np.intp], *, largest: int) -> NDArray[np.intp]:
    """Numbers `(N,)` of units, where each image of one with more than `largest` has its own."""
    too_large = np.bincount(units)[units] > largest
    own = units.max(initial=0) + 1 + np.arange(units.size)
    return np.where(too_large, own, units)


def _dealt(
    units: NDArray[np.intp], n_folds: int, *, last: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """The fold `(N,)` that scores each image: whole units, the largest first, those `last` last."""
    names, first, of, sizes = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    order = rng.permutation(names.size)
    order = order[np.lexsort((-sizes[order], last[first[order]]))]
    folds, loads = np.empty(names.size, dtype=np.intp), np.zeros(n_folds, dtype=np.intp)
    for unit in order:
        folds[unit] = loads.argmin()
        loads[folds[unit]] += sizes[unit]
    return folds[of]


def _held_out(units: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which images `(N,)` to hold out: whole units of up to `most` images, or the smallest one."""
    names, of, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = rng.permutation(names.size)
    held, n_held = np.zeros(names.size, dtype=bool), 0
    for unit in order:
        if n_held + sizes[unit] <= most:
            held[unit] = True
            n_held += sizes[unit]
    if not n_held:
        held[order[sizes[order].argmin()]] = True
    return held[of]


def _check_units(n_groups: int, n_fitted: int, n_folds: int, n_barred: int) -> None:
    if n_groups >= n_folds and n_fitted >= 2:
        return
    few = f"{n_groups} groups are too few for {n_folds} folds"
    if n_barred and n_groups >= n_folds:
        few = (
            f"{n_barred} share a group with labelled anomalies that a fold scores, which leaves "
            f"it {n_fitted} groups to train on"
        )
    raise DataError(
        f"training normals: {few}, of which one is held out for early stopping; add normals of "
        "other groups, or give --split-groups to split groups between training and scoring"
    )
