"""The label budget: which labelled anomalies a search may see, and what that leaves to test on.

Positions are row numbers of the image table. Labelled anomalies are scored and choose the
configuration. Where the table has training anomalies they come from there, and the test side stays
untouched. Where it has none (MVTec AD layout: anomalies only under test/) they are borrowed from
the test side, and `evaluation_roles` keeps the final figure clean of them.

No detector is trained on them but those that say so (`trains_on_labels`), and each of their
trainings is judged by labelled anomalies that it saw nothing of: see `split_labels`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.folds import Fold, Positions, in_groups_of

AnomalyUse = Literal["shared", "partition"]


@dataclass(frozen=True)
class LabelBudget:
    """How many labelled anomalies there are to choose a configuration with.

    Attributes:
        n_types: of which examples are labelled.
        n_examples: in all, spread evenly over the types.
        anomalies: `shared`: every fold scores all of them; `partition`: each fold its own part.

    Raises:
        SpecError: a number is too small.
    """

    n_types: int
    n_examples: int
    anomalies: AnomalyUse = "shared"

    def __post_init__(self) -> None:
        if self.n_types < 1:
            raise SpecError(f"n_anomaly_types: {self.n_types} is too few; ask for at least 1")
        if self.n_examples < self.n_types:
            raise SpecError(
                f"n_examples: {self.n_examples} is too few for {self.n_types} anomaly types; "
                "ask for at least one example a type"
            )


@dataclass(frozen=True, eq=False)
class LabelledAnomalies:
    """The anomalies of the search, drawn by `draw_labelled` or listed in fold files.

    Attributes:
        positions: `(n_examples,)`, type by type, within a type in the order drawn; ascending if
            listed.
        types: in the order drawn; by name if listed.
        anomalies: as of `LabelBudget`.
        by_fold: those of each fold where fold files list them, which may overlap; else empty.
    """

    positions: Positions
    types: tuple[str, ...]
    anomalies: AnomalyUse
    by_fold: tuple[Positions, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Names all that decides which training is fitted on which of them, 16 hex digits."""
        lists = [part.tolist() for part in (self.positions, *self.by_fold)]
        return hashlib.sha256(str(lists).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class LabelSplit:
    """The labelled anomalies of one training of a detector that is fitted on some of them.

    No image of one part shares a group with an image of the other.

    Attributes:
        trained: what it is fitted on.
        scored: what it is judged by; none where it is fitted on all.
    """

    trained: Positions
    scored: Positions


@dataclass(frozen=True, eq=False)
class EvaluationRoles:
    """Row positions of the test images by what they can tell, each array ascending.

    Attributes:
        normals: test normals.
        seen: anomalies of the types that the search saw.
        unseen: anomalies of types that it never saw.
        headline: anomalies of the final figure.
    """

    normals: Positions
    seen: Positions
    unseen: Positions
    headline: Positions


def anomaly_pool(table: pd.DataFrame) -> Positions:
    """Positions (A,) that labelled anomalies are drawn from: training ones, else test ones."""
    is_anomaly = (table["label"] == 1).to_numpy()
    in_training = is_anomaly & (table["split"] == "train").to_numpy()
    return np.flatnonzero(in_training if in_training.any() else is_anomaly)


def draw_labelled(table: pd.DataFrame, budget: LabelBudget, *, seed: int) -> LabelledAnomalies:
    """Draw `n_types` types from the pool, then `n_examples` images evenly from those types.

    A type that holds less than its share gives all that it has and the others fill up. With one
    seed, more types contain fewer types, and of the same types more examples contain fewer.

    Raises:
        DataError: the pool has fewer types, or the drawn types fewer images, than asked for.
    """
    pool = anomaly_pool(table)
    pool_types = table["anomaly_type"].to_numpy(dtype=object)[pool]
    names = sorted(set(pool_types))
    if budget.n_types > len(names):
        raise DataError(
            f"labelled anomalies: n_anomaly_types is {budget.n_types}, the data has {len(names)}; "
            "lower it or label more types"
        )
    type_rng, *image_rngs = np.random.default_rng(seed).spawn(1 + len(names))
    drawn = type_rng.permutation(len(names))[: budget.n_types]
    # A generator for each type: its images come in one order, whichever types are drawn beside it.
    queues = [image_rngs[i].permutation(pool[pool_types == names[i]]) for i in drawn]
    types = tuple(names[i] for i in drawn)
    shares = _even_shares([queue.size for queue in queues], budget.n_examples, types)
    positions = np.concatenate([queue[:n] for queue, n in zip(queues, shares, strict=True)])
    return LabelledAnomalies(positions, types, budget.anomalies)


def listed_anomalies(table: pd.DataFrame, by_fold: Sequence[Positions]) -> LabelledAnomalies:
    """The anomalies that fold files list for each fold, as they are: nothing is drawn."""
    positions = np.unique(np.concatenate(by_fold))
    types = sorted(set(table["anomaly_type"].to_numpy(dtype=object)[positions]))
    return LabelledAnomalies(positions, tuple(types), "partition", tuple(by_fold))


def labelled_for_fold(labelled: LabelledAnomalies, fold: int, n_folds: int) -> Positions:
    """Positions of the labelled anomalies that fold number `fold` (from 0) scores.

    Those listed for it, where they are listed; else all of them when shared; a part of each type
    when partitioned, and the parts of the folds are disjoint and together all of them.

    Raises:
        DataError: there are fewer labelled anomalies than folds to part them between.
    """
    if not 0 <= fold < n_folds:
        raise ValueError(f"fold {fold} must be within 0..{n_folds - 1}")
    if labelled.by_fold:
        return labelled.by_fold[fold]
    if labelled.anomalies == "shared":
        return labelled.positions
    if labelled.positions.size < n_folds:
        raise DataError(
            f"labelled anomalies: {labelled.positions.size} are too few to part between {n_folds} "
            "folds; raise --n-examples or give --anomalies shared"
        )
    # Dealt through the types in turn: every fold gets each type as evenly as whole images allow.
    return labelled.positions[fold::n_folds]


def parts_by_group(
    table: pd.DataFrame, labelled: LabelledAnomalies, n_parts: int
) -> tuple[Positions, ...]:
    """The labelled anomalies in parts of whole groups: all of them, each in one part.

    Groups are dealt the largest first, each to the part that has the fewest images of its types,
    then the fewest images: as even as groups allow, and no part is empty. Fewer groups than
    `n_parts` make as many parts as there are groups.
    """
    groups, of = np.unique(
        table["group"].to_numpy(dtype=object)[labelled.positions], return_inverse=True
    )
    _, kinds = np.unique(
        table["anomaly_type"].to_numpy(dtype=object)[labelled.positions], return_inverse=True
    )
    counts = np.zeros((groups.size, kinds.max() + 1), dtype=np.intp)
    np.add.at(counts, (of, kinds), 1)
    loads = np.zeros((min(n_parts, groups.size), counts.shape[1]), dtype=np.intp)
    part_of = np.empty(groups.size, dtype=np.intp)
    _, first = np.unique(of, return_index=True)  # of one size: in the order of the draw
    for group in np.lexsort((first, -counts.sum(axis=1))):
        part_of[group] = np.lexsort((loads.sum(axis=1), loads @ counts[group]))[0]
        loads[part_of[group]] += counts[group]
    return tuple(labelled.positions[part_of[of] == part] for part in range(len(loads)))


def split_labels(
    table: pd.DataFrame,
    labelled: LabelledAnomalies,
    *,
    fold: int | None,
    n_folds: int,
    left_out_type: str | None = None,
) -> LabelSplit:
    """Which labelled anomalies a training is fitted on, and which it is judged by.

    The anomalies are parted by group (`parts_by_group`); a fold is judged by its part and fitted on
    the others. So each is scored by a model that saw neither it nor its group. Where there are
    fewer groups than folds, folds take the parts in turn. Fold files that list the anomalies of
    each fold are kept to: a fold is judged by those listed for it, and fitted on what is listed for
    others and shares no group with these.

    Args:
        table: the image table.
        labelled: all labelled anomalies.
        fold: number of the fold; None for the training on everything, which nothing is left for.
        n_folds: how many folds there are.
        left_out_type: be judged by this type, and fitted on the others.

    Raises:
        DataError: none is left to train on.
    """
    every = labelled.positions
    if left_out_type is not None:
        scored = every[(table["anomaly_type"].iloc[every] == left_out_type).to_numpy()]
    elif fold is None:
        scored = np.empty(0, dtype=np.intp)
    elif labelled.by_fold:
        scored = labelled.by_fold[fold]
    else:
        parts = parts_by_group(table, labelled, n_folds)
        scored = parts[fold % len(parts)]
    trained = every[~in_groups_of(table, every, scored)]
    if not trained.size:
        what = f"of type {left_out_type}" if left_out_type else "that a fold is judged by"
        raise DataError(
            f"labelled anomalies: all {every.size} share a group with those {what}, so that none "
            "is left to train on; label anomalies of other groups, or leave out detectors that are "
            "trained on labels"
        )
    return LabelSplit(trained, scored)


def apart_from_labels(fold: Fold, split: LabelSplit, table: pd.DataFrame) -> Fold:
    """The fold without the normals that would tell one part of the labelled anomalies of the other.

    Nothing is trained on, or held out, that shares a group with an anomaly that the training is
    judged by; no normal is scored that shares one with an anomaly that it is fitted on.

    Raises:
        DataError: none is left to train on, or to score.
    """
    apart = Fold(
        train=fold.train[~in_groups_of(table, fold.train, split.scored)],
        early_stop=fold.early_stop[~in_groups_of(table, fold.early_stop, split.scored)],
        scored=fold.scored[~in_groups_of(table, fold.scored, split.trained)],
    )
    for before, left, what in (
        (fold.train, apart.train, "train on"),
        (fold.scored, apart.scored, "score"),
    ):
        if before.size and not left.size:
            raise DataError(
                f"normals: all {before.size} that a fold would {what} share a group with labelled "
                "anomalies; add normals of other groups, or leave out detectors that are trained "
                "on labels"
            )
    return apart


def evaluation_roles(
    table: pd.DataFrame, labelled: LabelledAnomalies, *, trained_on: bool = False
) -> EvaluationRoles:
    """Tell the test images apart: normals, and anomalies of seen and of unseen types.

    No drawn image is in any part. Labelled from the training side, the headline is every test
    anomaly. Labelled from the test side, whatever shares a group with a drawn image leaves the
    anomalies too, and the headline is the unseen types alone; where no image of another type is
    left, it is what remains of the seen ones (`unseen` is then empty, which a report must say).
    Normals stay even in a group with a drawn image: no normal of the test side takes part in the
    search, and a drawn anomaly is trained on only where `trained_on` says that a detector is. Then
    they leave too.

    Raises:
        DataError: no test normal or no test anomaly is left.
    """
    in_test = (table["split"] == "test").to_numpy()
    is_anomaly = (table["label"] == 1).to_numpy()
    borrowed = bool(in_test[labelled.positions].any())
    free = in_test & is_anomaly
    if borrowed:
        groups = table["group"]
        free &= ~groups.isin(groups.iloc[labelled.positions]).to_numpy()
    of_seen_type = table["anomaly_type"].isin(labelled.types).to_numpy()
    normals = np.flatnonzero(in_test & ~is_anomaly)
    if trained_on:
        normals = normals[~in_groups_of(table, normals, labelled.positions)]
    seen, unseen = np.flatnonzero(free & of_seen_type), np.flatnonzero(free & ~of_seen_type)
    headline = unseen if borrowed and unseen.size else np.flatnonzero(free)
    if not normals.size:
        raise DataError("test normals: there are none; add normal images to the test split")
    if not headline.size:
        raise DataError(
            "test anomalies: none is left that the search has not seen; add anomalous images to "
            "the test split, or lower n_examples"
        )
    return EvaluationRoles(normals, seen, unseen, headline)


def _even_shares(sizes: list[int], n_examples: int, types: tuple[str, ...]) -> list[int]:
    """Images to take from each type: one each in turn, passing over types that are used up."""
    if sum(sizes) < n_examples:
        raise DataError(
            f"labelled anomalies: n_examples is {n_examples}, {', '.join(types)} hold "
            f"{sum(sizes)}; lower it, draw more types or label more images"
        )
    turns = sorted((turn, kind) for kind, size in enumerate(sizes) for turn in range(size))
    taken = np.bincount([kind for _, kind in turns[:n_examples]], minlength=len(sizes))
    return [int(n) for n in taken]
