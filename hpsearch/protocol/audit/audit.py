"""The audit of a dataset: its classes, its formats and everything that is wrong with it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from hpsearch.datasets.reading import ShownCounts
from hpsearch.datasets.table import ANOMALY, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.io.processes import Progress, silent
from hpsearch.protocol.audit.image_rules import (
    count_formats,
    format_findings,
    frame_findings,
    look_at_all,
    mask_findings,
    not_square_findings,
    same_pixels_findings,
    shown_counts,
)
from hpsearch.protocol.audit.near_duplicates import near_duplicate_findings
from hpsearch.protocol.fold_files import OfficialFolds, leaks
from hpsearch.protocol.labels import LabelBudget, draw_labelled
from hpsearch.protocol.protocol import CLASS_NAMES, Finding, draw_folds, table_findings

N_FOLDS = 3  # that are drawn to see what they do wrong


@dataclass(frozen=True)
class ClassCount:
    """Images of one type in one split.

    Attributes:
        split: train or test.
        kind: "normal" or "anomaly".
        anomaly_type: "" for normals.
        images: how many.
        groups: that they belong to.
    """

    split: str
    kind: str
    anomaly_type: str
    images: int
    groups: int


@dataclass(frozen=True)
class Audit:
    """What was counted, and what is wrong.

    Attributes:
        dataset: its name.
        images: how many.
        classes: train before test, normals before anomalies, types by name.
        formats: `sizes` ("WxH") and `modes` as read, each with its images.
        flat_images: too flat for near-duplicates to be looked for.
        shown: images that are not taken as they are stored.
        notes: how the table was made: files that are passed over.
        findings: errors first.
    """

    dataset: str
    images: int
    classes: tuple[ClassCount, ...]
    formats: Mapping[str, Mapping[str, int]]
    flat_images: int
    shown: ShownCounts
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def n_errors(self) -> int:
        """Findings that a search refuses."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Whether there are no errors."""
        return self.n_errors == 0

    def to_json(self) -> dict[str, Any]:
        """The audit as a JSON object, whether it passed first."""
        return {"passed": self.passed, "errors": self.n_errors, **asdict(self)}


def audit(
    dataset: Dataset,
    *,
    n_anomaly_types: int = 1,
    n_examples: int = 1,
    official: OfficialFolds | None = None,
    allow_leak: bool = False,
    split_groups: bool = False,
    workers: int = 1,
    progress: Progress = silent,
) -> Audit:
    """Look at everything that may be wrong with a dataset; reads every image.

    Args:
        dataset: its unreadable images are findings.
        n_anomaly_types: that a search would see.
        n_examples: labelled anomalies of a search, in all.
        official: fold files, which name the labelled anomalies themselves.
        allow_leak: what leaks in the fold files is a warning.
        split_groups: the folds that a search draws split large groups.
        workers: processes.
        progress: told how many images are read.
    """
    table = dataset.table
    draw = (n_anomaly_types, n_examples) if official is None else (1, 1)
    findings = [*table_findings(table, *draw)]
    if official is not None:
        findings += _fold_findings(official, table, allow_leak=allow_leak)
    elif not any(finding.check == "empty class" for finding in findings):
        findings += _drawn_fold_findings(table, *draw, split_groups=split_groups)
    looks, unreadable = look_at_all(dataset, workers=workers, progress=progress)
    findings += unreadable
    findings += same_pixels_findings(table, looks)
    findings += near_duplicate_findings(table, looks)
    findings += format_findings(table, looks)
    findings += frame_findings(table, looks)
    findings += mask_findings(dataset, looks)
    findings += not_square_findings(dataset, looks)
    counted = table.groupby(["split", "label", "anomaly_type"])["group"].agg(["size", "nunique"])
    classes = [
        ClassCount(split, CLASS_NAMES[label], kind, int(n_images), int(n_groups))
        for (split, label, kind), n_images, n_groups in counted.itertuples()
    ]
    return Audit(
        dataset=dataset.name,
        images=len(table),
        classes=tuple(sorted(classes, key=lambda count: SPLITS.index(count.split))),
        formats=count_formats(looks),
        shown=shown_counts(looks),
        notes=dataset.notes,
        flat_images=int(np.count_nonzero(looks["flat"])),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != "error")),
    )


def _drawn_fold_findings(
    table: pd.DataFrame, n_types: int, n_examples: int, *, split_groups: bool
) -> Iterator[Finding]:
    """The faults of the folds that a study of seed 0 draws."""
    subject = "train normals"
    try:
        labelled = draw_labelled(table, LabelBudget(n_types, n_examples), seed=0)
    except DataError:
        return  # told as a fault of the label budget
    try:
        drawn = draw_folds(table, labelled, n_folds=N_FOLDS, seed=0, split_groups=split_groups)
    except DataError as error:
        yield Finding("error", "few groups", subject, str(error))
        return
    for warning in drawn.warnings:
        yield Finding("warning", warning.kind, subject, warning.message)


def _fold_findings(
    official: OfficialFolds, table: pd.DataFrame, *, allow_leak: bool
) -> Iterator[Finding]:
    """A finding a leak, a warning where it is allowed, and one where no anomaly is left to test."""
    for leak in leaks(official.folds, table):
        subject = leak.partition(":")[0]
        if allow_leak:
            yield Finding("warning", "fold leak", subject, f"{leak}; allowed by --allow-leak")
        else:
            remedy = "use --protocol clean, or --allow-leak to go on"
            yield Finding("error", "fold leak", subject, f"{leak}; {remedy}")
    tested = np.flatnonzero((table["split"] == "test") & (table["label"] == ANOMALY))
    if tested.size and np.isin(tested, np.concatenate(official.anomalies)).all():
        message = (
            f"labelled anomalies: the fold files list all {tested.size} test anomalies, so none is "
            "left for the final figure; add others with split test"
        )
        yield Finding("error", "validation is test", "labelled anomalies", message)
