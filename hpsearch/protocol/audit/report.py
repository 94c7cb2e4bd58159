"""The audit of a dataset: its classes, its formats and everything that is wrong with it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from hpsearch.datasets.reading import ShownCounts
from hpsearch.datasets.table import SPLITS, Dataset
from hpsearch.io.progress import Progress, silent
from hpsearch.protocol.audit.fold_rules import drawn_fold_findings, fold_findings
from hpsearch.protocol.audit.look import (
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
from hpsearch.protocol.fold_files import OfficialFolds
from hpsearch.protocol.protocol import CLASS_NAMES, Finding, table_findings


@dataclass(frozen=True)
class ClassCount:
    """Images of one type in one split."""

    split: str
    kind: str  # "normal" or "anomaly"
    anomaly_type: str  # "" for normals
    images: int
    groups: int


@dataclass(frozen=True)
class Audit:
    """What was counted, and the findings, errors first."""

    dataset: str
    images: int
    classes: tuple[ClassCount, ...]
    formats: Mapping[str, Mapping[str, int]]
    """`sizes` ("WxH") and `modes` as read, each with its images."""
    flat_images: int
    """Too flat for near-duplicates to be looked for."""
    shown: ShownCounts
    """Images that are not taken as they are stored."""
    notes: tuple[str, ...]
    """How the table was made: files that are passed over."""
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
        """The audit as a JSON object, the verdict first."""
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
        findings += fold_findings(official, table, allow_leak=allow_leak)
    elif not any(finding.check == "empty class" for finding in findings):
        findings += drawn_fold_findings(table, *draw, split_groups=split_groups)
    looks, unreadable = look_at_all(dataset, workers=workers, progress=progress)
    findings += unreadable
    findings += same_pixels_findings(table, looks)
    findings += near_duplicate_findings(table, looks)
    findings += format_findings(table, looks)
    findings += frame_findings(table, looks)
    findings += mask_findings(dataset, looks)
    findings += not_square_findings(dataset, looks)
    return Audit(
        dataset=dataset.name,
        images=len(table),
        classes=tuple(_classes(table)),
        formats=count_formats(looks),
        shown=shown_counts(looks),
        notes=dataset.notes,
        flat_images=int(np.count_nonzero(looks["flat"])),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != "error")),
    )


def _classes(table: pd.DataFrame) -> list[ClassCount]:
    """Train before test, normals before anomalies, types by name."""
    counted = table.groupby(["split", "label", "anomaly_type"])["group"].agg(["size", "nunique"])
    classes = [
        ClassCount(split, CLASS_NAMES[label], kind, int(images), int(groups))
        for (split, label, kind), images, groups in counted.itertuples()
    ]
    return sorted(classes, key=lambda found: SPLITS.index(found.split))
