"""What a study is cross-validated on: parts that are drawn by group, or those of fold files.

`search.protocol: clean` draws folds and labelled anomalies by the seed; no group straddles a fold
unless `search.split_groups` says so.
`official` takes both from published fold files, as they are. Those may score what they trained on
(the published Camelyon16 files do): that is refused unless `search.allow_leak`, and then told.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.errors import DataError
from hpsearch.io.files import printable
from hpsearch.protocol.drawn_folds import draw_folds
from hpsearch.protocol.fold_files import OfficialFolds, leaks, read_fold_files
from hpsearch.protocol.folds import Fold
from hpsearch.protocol.labels import (
    LabelBudget,
    LabelledAnomalies,
    draw_labelled,
    listed_anomalies,
)
from hpsearch.protocol.table_rules import check_budget


@dataclass(frozen=True, eq=False)
class Parts:
    """The folds and the labelled anomalies of a study."""

    spec: StudySpec
    """With the numbers of folds and labelled anomalies that there are."""
    labelled: LabelledAnomalies
    folds: tuple[Fold, ...]
    official: OfficialFolds | None = None
    """The files that the folds were read from, None where they were drawn."""
    warnings: tuple[str, ...] = ()
    """A line a leak that the user allowed, or a fault of the folds that were drawn."""

    def has_folds_of(self, other: "Parts") -> bool:
        """Whether both part the normals alike, so that trainings of one serve the other."""
        pairs = zip(self.folds, other.folds, strict=True)
        return all(one.digest == another.digest for one, another in pairs)


def part_images(spec: StudySpec, table: pd.DataFrame) -> Parts:
    """The parts that a study asks for.

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
    return Parts(spec, labelled, drawn.folds, warnings=warnings)


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
    return Parts(resolved, labelled, official.folds, official, tuple(found))
