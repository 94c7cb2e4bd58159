"""What fold files, or folds that are drawn, do wrong with the images of a table."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hpsearch.datasets.table import ANOMALY
from hpsearch.errors import DataError
from hpsearch.protocol.fold_files import OfficialFolds, leaks
from hpsearch.protocol.labels import LabelBudget, draw_labelled
from hpsearch.protocol.protocol import Finding, draw_folds

N_FOLDS = 3


def drawn_fold_findings(
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


def fold_findings(
    official: OfficialFolds, table: pd.DataFrame, *, allow_leak: bool
) -> Iterator[Finding]:
    """A finding a leak, a warning where it is allowed, and one where no anomaly is left to test."""
    for leak in leaks(official.folds, table):
        subject = leak.partition(":")[0]
        if allow_leak:
            yield Finding("warning", "fold leak", subject, f"{leak}; allowed by --allow-leak")
        else:
            mend = "use --protocol clean, or --allow-leak to go on"
            yield Finding("error", "fold leak", subject, f"{leak}; {mend}")
    tested = np.flatnonzero((table["split"] == "test") & (table["label"] == ANOMALY))
    if tested.size and np.isin(tested, np.concatenate(official.anomalies)).all():
        message = (
            f"labelled anomalies: the fold files list all {tested.size} test anomalies, so none is "
            "left for the final figure; add others with split test"
        )
        yield Finding("error", "validation is test", "labelled anomalies", message)
