import numpy as np
import pandas as pd
import pytest

from hpsearch.datasets.table import IMAGE_COLUMNS, Dataset
from hpsearch.protocol.audit.audit import audit
from hpsearch.protocol.fold_files import OfficialFolds
from hpsearch.protocol.folds import Fold, make_folds

N_NORMALS, N_ANOMALIES = 30, 10  # a split


def make_dataset(*, train_anomalies: bool) -> Dataset:
    rows = []
    for split in ("train", "test"):
        for number in range(N_NORMALS + N_ANOMALIES):
            label = int(number >= N_NORMALS)
            if label == 0 or split == "test" or train_anomalies:
                kind = "tumour" if label else ""
                rows.append((f"{split}{number}", "", label, kind, "", split, ""))
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    arrays = np.random.default_rng(0).integers(0, 256, (len(table), 8, 8, 1), dtype=np.uint8)
    return Dataset("set", table, arrays=arrays)


def official(dataset: Dataset, split: str) -> OfficialFolds:
    """Clean folds with all anomalies of a split."""
    table = dataset.table
    anomalies = np.flatnonzero((table["label"] == 1) & (table["split"] == split))
    folds = make_folds(table, seed=0)
    return OfficialFolds(folds, (anomalies,) * len(folds))


def test_clean_fold_files_pass_whatever_the_draw_would_need() -> None:
    dataset = make_dataset(train_anomalies=True)
    folds = official(dataset, "train")
    assert audit(dataset, n_anomaly_types=5, n_examples=99, official=folds).findings == ()


@pytest.mark.parametrize(("allow_leak", "severity"), [(False, "error"), (True, "warning")])
def test_scored_normals_that_are_the_training_normals(allow_leak: bool, severity: str) -> None:
    dataset = make_dataset(train_anomalies=True)
    clean = official(dataset, "train")
    leaking = tuple(
        Fold(fold.train, fold.early_stop, np.union1d(fold.train, fold.early_stop))
        for fold in clean.folds
    )
    folds = OfficialFolds(leaking, clean.anomalies)
    found = audit(dataset, official=folds, allow_leak=allow_leak)
    assert [(f.severity, f.check, f.subject) for f in found.findings] == [
        (severity, "fold leak", f"fold {number}") for number in range(3)
    ]
    assert found.passed == allow_leak
    assert "20 of 20 scored normals" in found.findings[0].message


def test_labelled_anomalies_that_are_the_test_anomalies() -> None:
    dataset = make_dataset(train_anomalies=False)
    folds = official(dataset, "test")
    (finding,) = audit(dataset, official=folds, allow_leak=True).findings
    assert (finding.severity, finding.check) == ("error", "validation is test")
    assert f"all {N_ANOMALIES} test anomalies" in finding.message
