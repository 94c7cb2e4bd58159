"""What a study is cross-validated on: parts that are drawn by group, or those of fold files.

`search.protocol: clean` draws folds and labelled anomalies by the seed; no group straddles a fold.
`official` takes both from published fold files, as they are. Those may score what they trained on
(the published Camelyon16 files do): that is refused unless `search.allow_leak`, and then told.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpsearch.budget import (
    LabelBudget,
    LabelledAnomalies,
    draw_labelled,
    labelled_for_fold,
    listed_anomalies,
)
from hpsearch.datasets.audit import check_budget
from hpsearch.errors import DataError
from hpsearch.files import printable
from hpsearch.fold_files import OfficialFolds, leaks, read_fold_files
from hpsearch.spec import StudySpec, build_spec
from hpsearch.splits import make_folds


@dataclass(frozen=True, eq=False)
class Parts:
    """The folds and the labelled anomalies of a study."""

    spec: StudySpec
    """With the numbers of folds and labelled anomalies that there are."""
    labelled: LabelledAnomalies
    official: OfficialFolds | None = None
    """None where a task makes its fold from number and seed."""
    warnings: tuple[str, ...] = ()
    """A line a leak that the user allowed."""


def part_images(spec: StudySpec, table: pd.DataFrame) -> Parts:
    """The parts that a study asks for.

    Raises:
        DataError: the table or the fold files cannot serve the study, or the files leak.
        SpecError: the files have too few or too many folds for a study.
    """
    if spec.search.folds is not None:
        return _official(spec, spec.search.folds, table)
    labels, search = spec.labels, spec.search
    check_budget(table, n_types=labels.n_anomaly_types, n_examples=labels.n_examples)
    budget = LabelBudget(labels.n_anomaly_types, labels.n_examples, labels.anomalies)
    labelled = draw_labelled(table, budget, seed=search.seed)
    labelled_for_fold(labelled, 0, search.n_folds)
    make_folds(table, n_folds=search.n_folds, seed=search.seed)
    return Parts(spec, labelled)


def _official(spec: StudySpec, folder: Path, table: pd.DataFrame) -> Parts:
    check_budget(table, n_types=1, n_examples=1)
    official = read_fold_files(folder, table)
    found = leaks(official.folds, table)
    if found and not spec.search.allow_leak:
        more = f" (and {len(found) - 1} more leaks)" if len(found) > 1 else ""
        raise DataError(
            f"{printable(folder)}: {found[0]}{more}, so the search would be misled; "
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
    return Parts(resolved, labelled, official, tuple(found))
