"""Is a dataset fit for a search? Every fault is a finding; a search refuses those that are errors.

| check           | error when                                       | warning when            |
|-----------------|--------------------------------------------------|-------------------------|
| unreadable      | an image cannot be read                          |                         |
| empty class     | no normals or no anomalies, in all or to test on |                         |
| tiny class      |                                                  | fewer than 10 images    |
| labelled budget | fewer anomalies or types than asked for          | only some draws fit     |
| group leak      | a group lies in train and in test                |                         |
| few groups      | fewer groups of training normals than folds      |                         |
| same pixels     | in train and in test, or with two labels         | in two groups           |
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from PIL import Image

from hpsearch.budget import anomaly_pool
from hpsearch.datasets.each_image import BadImage, each_image
from hpsearch.datasets.table import ANOMALY, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable
from hpsearch.progress import Progress, silent

N_FOLDS = 3
TINY = 10  # images; below it one image moves a ROC AUC by more than 0.1

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault: `message` names the thing, the rule and the mend, in one line."""

    severity: Severity
    check: str
    subject: str  # the image, group, type or split at fault
    message: str


def audit(
    dataset: Dataset,
    *,
    n_anomaly_types: int = 1,
    n_examples: int = 1,
    workers: int = 1,
    progress: Progress = silent,
) -> list[Finding]:
    """All findings about a dataset, errors first; reads every image."""
    findings = [
        *_table_findings(dataset.table, n_anomaly_types, n_examples),
        *_image_findings(dataset, workers, progress),
    ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def check_budget(table: pd.DataFrame, *, n_types: int, n_examples: int) -> None:
    """Refuse an image table that cannot serve the search asked for, before anything is trained.

    Raises:
        DataError: the first error that the table alone shows; see this module's description.
    """
    for finding in _table_findings(table, n_types, n_examples):
        if finding.severity == "error":
            raise DataError(finding.message)


def _table_findings(table: pd.DataFrame, n_types: int, n_examples: int) -> Iterator[Finding]:
    yield from _class_findings(table)
    yield from _budget_findings(table, n_types, n_examples)
    yield from _group_findings(table)


def _class_findings(table: pd.DataFrame) -> Iterator[Finding]:
    for split in SPLITS:
        normals = int(((table["split"] == split) & (table["label"] == NORMAL)).sum())
        yield from _size_finding(normals, f"{split} normals", f"normal images with split {split}")
    anomalies = table[table["label"] == ANOMALY]
    if anomalies.empty:
        message = "anomalies: there are none, only one class; add images with label 1"
        yield Finding("error", "empty class", "anomalies", message)
        return
    in_test = int((anomalies["split"] == "test").sum())
    yield from _size_finding(in_test, "test anomalies", "anomalous images with split test")


def _size_finding(count: int, subject: str, mend: str) -> Iterator[Finding]:
    if count == 0:
        message = f"{subject}: there are none; add {mend}"
        yield Finding("error", "empty class", subject, message)
    elif count < TINY:
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


def _group_findings(table: pd.DataFrame) -> Iterator[Finding]:
    splits = table.groupby("group")["split"].nunique()
    for group in splits.index[splits > 1]:
        name = printable(group)
        message = (
            f"group {name}: lies in train and in test, so the final figure would flatter; "
            "move it to one split"
        )
        yield Finding("error", "group leak", name, message)
    training = table[(table["split"] == "train") & (table["label"] == NORMAL)]
    n_groups = training["group"].nunique()
    if 0 < n_groups < N_FOLDS:
        subject = "train normals"
        message = f"{subject}: {n_groups} groups for {N_FOLDS} folds; add normals of other groups"
        yield Finding("error", "few groups", subject, message)


def _image_findings(dataset: Dataset, workers: int, progress: Progress) -> Iterator[Finding]:
    chunks = each_image(
        dataset, _pixel_digest, workers=workers, what="checking images", progress=progress
    )
    first: dict[str, int] = {}  # by pixels, the position of the image that had them first
    for position, result in enumerate(result for chunk in chunks for result in chunk):
        if isinstance(result, BadImage):
            subject = printable(dataset.table["image_id"].iloc[position])
            yield Finding("error", "unreadable", subject, result.message)
        elif (other := first.setdefault(result, position)) != position:
            yield from _same_pixels(dataset.table, other, position)


def _same_pixels(table: pd.DataFrame, other: int, position: int) -> Iterator[Finding]:
    one, two = table.iloc[other], table.iloc[position]
    if one["label"] != two["label"]:
        severity: Severity = "error"
        why = "one is normal and the other an anomaly; mend the label or remove both"
    elif one["split"] != two["split"]:
        severity = "error"
        why = "one is in train and the other in test; remove one"
    elif one["group"] != two["group"]:
        severity = "warning"
        why = "their groups differ, so they may lie in two folds; give them one group or remove one"
    else:
        return
    subject = printable(two["image_id"])
    message = f"image {subject}: has the pixels of {printable(one['image_id'])}, but {why}"
    yield Finding(severity, "same pixels", subject, message)


def _pixel_digest(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
