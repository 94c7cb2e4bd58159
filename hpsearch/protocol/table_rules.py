"""What the table alone shows: empty and tiny classes, the label budget, groups and roles.

One fault of a dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from hpsearch.datasets.table import ANOMALY, NORMAL, SPLITS
from hpsearch.errors import DataError
from hpsearch.io.files import printable
from hpsearch.protocol.labels import anomaly_pool

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault: `message` names the thing, the rule and the mend, in one line."""

    severity: Severity
    check: str
    subject: str  # the image, group, type, fold or split at fault
    message: str


KINDS = {NORMAL: "normal", ANOMALY: "anomaly"}
TINY = 10  # images; below it one image moves a ROC AUC by more than 0.1


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
    yield from _class_findings(table)
    yield from _budget_findings(table, n_types, n_examples)
    yield from _group_findings(table)
    yield from _role_findings(table)


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


def _role_findings(table: pd.DataFrame) -> Iterator[Finding]:
    on_disk = table[table["path"] != ""]
    for path, rows in on_disk[on_disk["path"].duplicated(keep=False)].groupby("path"):
        roles = sorted(set(zip(rows["split"], rows["label"], strict=True)))
        if len(roles) > 1:
            name = printable(path)
            words = " and ".join(f"{split} {KINDS[label]}" for split, label in roles)
            message = f"image {name}: is {words}; keep one row an image"
            yield Finding("error", "two roles", name, message)
