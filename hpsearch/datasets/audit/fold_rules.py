"""What fold files do wrong with the images of a table."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hpsearch.datasets.audit.finding import Finding
from hpsearch.datasets.table import ANOMALY
from hpsearch.fold_files import OfficialFolds, leaks


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
