"""What a study is cross-validated on: folds and labelled anomalies, drawn or read from files.

`search.protocol: clean` draws folds and labelled anomalies by the seed; no group straddles a fold
unless `search.split_groups` says so.
`official` takes both from published fold files, as they are. Those may score what they trained on
(the published Camelyon16 files do): that is refused unless `search.allow_leak`, and then told.

Before either, the image table is checked: empty and tiny classes, the label budget, groups, roles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.datasets.table import ANOMALY, NORMAL, SPLITS
from hpsearch.errors import DataError
from hpsearch.io.text import printable
from hpsearch.protocol.fold_files import OfficialFolds, leaks, read_fold_files
from hpsearch.protocol.folds import (
    EARLY_STOP_FRACTION,
    Fold,
    final_split,
    make_folds,
    normals_beside,
)
from hpsearch.protocol.labels import (
    LabelBudget,
    LabelledAnomalies,
    anomaly_pool,
    draw_labelled,
    labelled_for_fold,
    listed_anomalies,
)

Severity = Literal["error", "warning"]

CLASS_NAMES = {NORMAL: "normal", ANOMALY: "anomaly"}
_TINY = 10  # images; below it one image moves a ROC AUC by more than 0.1
_SPLIT = "--split-groups"


@dataclass(frozen=True, eq=False)
class StudySplit:
    """The folds and the labelled anomalies of a study.

    Attributes:
        spec: with the numbers of folds and labelled anomalies that there are.
        labelled: what the search may see.
        folds: of the training normals.
        official: the files that the folds were read from, None where they were drawn.
        warnings: a line a leak that the user allowed, or a fault of the folds that were drawn.
    """

    spec: StudySpec
    labelled: LabelledAnomalies
    folds: tuple[Fold, ...]
    official: OfficialFolds | None = None
    warnings: tuple[str, ...] = ()

    @property
    def folds_digest(self) -> str | None:
        """Of the fold files' content, None where the folds were drawn."""
        return None if self.official is None else self.official.digest

    def has_folds_of(self, other: "StudySplit") -> bool:
        """Whether both split the normals alike, so that trainings of one serve the other."""
        pairs = zip(self.folds, other.folds, strict=True)
        return all(one.digest == another.digest for one, another in pairs)


def split_images(spec: StudySpec, table: pd.DataFrame) -> StudySplit:
    """The folds and labelled anomalies that a study asks for.

    Raises:
        DataError: the table or the fold files cannot serve the study, or the files leak.
        SpecError: the files have too few or too many folds for a study.
    """
    if spec.search.folds is not None:
        return _official(spec, spec.search.folds, table)
    check_budget(table, n_types=spec.labels.n_anomaly_types, n_examples=spec.labels.n_examples)
    labelled = labelled_anomalies(spec, table)
    drawn = draw_folds(
        table,
        labelled,
        n_folds=spec.search.n_folds,
        seed=spec.search.seed,
        split_groups=spec.search.split_groups,
    )
    warnings = tuple(warning.message for warning in drawn.warnings)
    return StudySplit(spec, labelled, drawn.folds, warnings=warnings)


def labelled_anomalies(spec: StudySpec, table: pd.DataFrame) -> LabelledAnomalies:
    """The anomalies that a study's search sees; no fold is drawn.

    Raises:
        DataError: the table or the fold files cannot serve the study.
    """
    if spec.search.folds is not None:
        return listed_anomalies(table, read_fold_files(spec.search.folds, table).anomalies)
    labels = spec.labels
    budget = LabelBudget(labels.n_anomaly_types, labels.n_examples, labels.anomalies)
    return draw_labelled(table, budget, seed=spec.search.seed)


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
    return DrawnFolds(folds, tuple(_fold_warnings(folds, table, labelled, split_groups)))


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        severity: whether a search may be run all the same.
        check: the rule that is broken.
        subject: the image, group, type, fold or split at fault.
        message: names the thing, the rule and the mend, in one line.
    """

    severity: Severity
    check: str
    subject: str
    message: str


def check_budget(table: pd.DataFrame, *, n_types: int, n_examples: int) -> None:
    """Refuse an image table that cannot serve the search asked for, before anything is trained.

    Raises:
        DataError: the first error that the table alone shows.
    """
    for finding in table_findings(table, n_types, n_examples):
        if finding.severity == "error":
            raise DataError(finding.message)


def table_findings(table: pd.DataFrame, n_types: int, n_examples: int) -> Iterator[Finding]:
    """The faults of a table for a search with so many types and labelled anomalies."""
    for split in SPLITS:
        normals = int(((table["split"] == split) & (table["label"] == NORMAL)).sum())
        yield from _size_finding(normals, f"{split} normals", f"normal images with split {split}")
    anomalies = table[table["label"] == ANOMALY]
    if anomalies.empty:
        message = "anomalies: there are none, only one class; add images with label 1"
        yield Finding("error", "empty class", "anomalies", message)
    else:
        in_test = int((anomalies["split"] == "test").sum())
        yield from _size_finding(in_test, "test anomalies", "anomalous images with split test")
    yield from _budget_findings(table, n_types, n_examples)
    splits = table.groupby("group")["split"].nunique()
    for group in splits.index[splits > 1]:
        name = printable(group)
        message = (
            f"group {name}: lies in train and in test, so the final figure would flatter; "
            "move it to one split"
        )
        yield Finding("error", "group leak", name, message)
    on_disk = table[table["path"] != ""]
    for path, rows in on_disk[on_disk["path"].duplicated(keep=False)].groupby("path"):
        roles = sorted(set(zip(rows["split"], rows["label"], strict=True)))
        if len(roles) > 1:
            name = printable(path)
            words = " and ".join(f"{split} {CLASS_NAMES[label]}" for split, label in roles)
            message = f"image {name}: is {words}; keep one row an image"
            yield Finding("error", "two roles", name, message)


def _official(spec: StudySpec, folder: Path, table: pd.DataFrame) -> StudySplit:
    check_budget(table, n_types=1, n_examples=1)
    official = read_fold_files(folder, table)
    leaking = leaks(official.folds, table)
    if leaking and not spec.search.allow_leak:
        more = f" (and {len(leaking) - 1} more leaks)" if len(leaking) > 1 else ""
        raise DataError(
            f"{printable(folder)}: {leaking[0]}{more}, so the search would be misled; "
            "use --protocol clean, or --allow-leak to go on"
        )
    labelled = listed_anomalies(table, official.anomalies)
    facts = {
        "labels": {
            "n_anomaly_types": len(labelled.types),
            "n_examples": len(labelled.positions),
            "anomalies": labelled.anomalies,
        },
        "search": {"n_folds": len(official.folds)},
    }
    resolved = build_spec(spec.model_dump(mode="json"), facts)
    return StudySplit(resolved, labelled, official.folds, official, tuple(leaking))


def _fold_warnings(
    folds: Sequence[Fold], table: pd.DataFrame, labelled: LabelledAnomalies, split_groups: bool
) -> Iterator[FoldWarning]:
    sizes = [fold.train.size for fold in folds]
    if 2 * min(sizes) < max(sizes):
        counts = table["group"].iloc[final_split(table)].value_counts()
        yield FoldWarning(
            "uneven folds",
            f"fold {np.argmin(sizes)} trains on {min(sizes)} normals and fold {np.argmax(sizes)} "
            f"on {max(sizes)}, for groups are kept whole and {printable(counts.index[0])} has "
            f"{counts.iloc[0]} of {counts.sum()}: their figures and the threshold are unsteady; "
            f"add normals of other groups, or give {_SPLIT} to deal the images of large ones",
        )
    held = [fold.early_stop.size / (fold.early_stop.size + fold.train.size) for fold in folds]
    most = int(np.argmax(held))
    if held[most] > 2 * EARLY_STOP_FRACTION:
        fold = folds[most]
        yield FoldWarning(
            "early stopping",
            f"fold {most} holds out {fold.early_stop.size} of "
            f"{fold.early_stop.size + fold.train.size} normals for early stopping, for groups are "
            f"kept whole; add normals of other groups, or give {_SPLIT} to hold out single images",
        )
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
    groups = table["group"].to_numpy(dtype=object)
    on_both_sides: set[str] = set()
    for fold in folds:
        on_both_sides |= set(groups[fold.train]) & set(groups[fold.scored])
    if on_both_sides:
        others = len(on_both_sides) - 1
        more = f" and {others} more are" if others else " is"
        yield FoldWarning(
            "split group",
            f"group {printable(min(on_both_sides))}{more} both trained on and scored ({_SPLIT}), "
            "so validation figures may flatter",
        )


def _size_finding(count: int, subject: str, mend: str) -> Iterator[Finding]:
    if count == 0:
        message = f"{subject}: there are none; add {mend}"
        yield Finding("error", "empty class", subject, message)
    elif count < _TINY:
        message = f"{subject}: only {count}, too few for a steady ROC AUC; add {mend}"
        yield Finding("warning", "tiny class", subject, message)


def _budget_findings(table: pd.DataFrame, n_types: int, n_examples: int) -> Iterator[Finding]:
    pool = table.iloc[anomaly_pool(table)]
    if pool.empty:
        return
    subject, asked = "labelled anomalies", f"{n_examples} of {n_types} type(s) asked for"
    sizes = pool["anomaly_type"].value_counts()
    if n_types > len(sizes):
        message = f"{subject}: {asked}, there are {len(sizes)}; lower --n-anomaly-types"
        yield Finding("error", "labelled budget", subject, message)
        return
    largest, smallest = int(sizes.iloc[:n_types].sum()), int(sizes.iloc[-n_types:].sum())
    if n_examples > largest:
        message = f"{subject}: {asked}, the largest {n_types} hold {largest}; lower --n-examples"
        yield Finding("error", "labelled budget", subject, message)
    elif n_examples > smallest:
        message = (
            f"{subject}: {asked}, the smallest {n_types} hold {smallest} and a draw of those "
            "is refused; lower --n-examples"
        )
        yield Finding("warning", "labelled budget", subject, message)
