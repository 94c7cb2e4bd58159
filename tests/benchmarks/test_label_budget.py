"""Seconds of `hpsearch label-budget`, and how they grow with repeats and with images."""

import os
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import create_trial

from hpsearch.config.spec import StudySpec
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.evaluation.label_budget.study_curves import study_curves, write_curves
from hpsearch.protocol.folds import make_folds
from hpsearch.storage.database import create_or_load_study
from hpsearch.storage.results import FoldResult, write_result
from hpsearch.storage.run_dir import RunDir

CONFIGURATIONS, FOLDS, TYPES = 36, 3, 5
IMAGES, REPEATS = 20_000, 1_000
SHARES = {"normal": 0.5, "pool": 0.05, "test normal": 0.35, "test anomaly": 0.1}
LIMIT = 20.0  # seconds on two cores


@pytest.mark.parametrize(
    ("images", "repeats"),
    [
        *((IMAGES, repeats) for repeats in (1, 250, 500, REPEATS, 4 * REPEATS)),
        *((images, REPEATS) for images in (IMAGES // 4, IMAGES // 2, 2 * IMAGES)),
    ],
)
def test_seconds(images: int, repeats: int, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", images)
    started, spent = time.perf_counter(), time.process_time()
    curves = study_curves(folder, Question(repeats=repeats), train=None)
    write_curves(tmp_path / "label_budget.csv", curves)
    seconds, of_processor = time.perf_counter() - started, time.process_time() - spent
    print(
        f"\n{CONFIGURATIONS} configurations x {FOLDS} folds, {images} images, {repeats} repeats of "
        f"{len(curves.points)} cells: {seconds:.1f} s, {of_processor:.1f} s of processor time "
        f"({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
    )
    if (images, repeats) == (IMAGES, REPEATS):
        assert of_processor < LIMIT


def write_study(path: Path, images: int) -> RunDir:
    """A finished study of random scores, the configurations better and better."""
    folder, table = RunDir(path), make_table(images)
    spec = StudySpec(study_name="random", search={"n_folds": FOLDS})
    folder.begin(spec, table, {})
    study = create_or_load_study(path, "random", pruner=optuna.pruners.NopPruner())
    folds = make_folds(table, n_folds=FOLDS, seed=0)
    anomalous = table["label"].to_numpy()
    for number in range(CONFIGURATIONS):
        digests = []
        for fold, parts in enumerate(folds):
            rng = np.random.default_rng([number, fold])
            scores = rng.normal(size=images) + anomalous * number / CONFIGURATIONS
            roles = np.where(table["split"] == "test", "test", "anomaly").astype(object)
            roles[parts.early_stop], roles[parts.scored] = "early_stop", "normal"
            seen = np.delete(np.arange(images), parts.train)
            rows = {"image_id": table["image_id"], "role": roles, "score": scores}
            digests.append(f"{number:08x}{fold:08x}")
            _write(folder, digests[-1], pd.DataFrame(rows).iloc[seen], fold)
        facts = {"tasks": digests, "best_steps": [1] * FOLDS}
        study.add_trial(create_trial(value=0.5, user_attrs=facts))
    return folder


def make_table(images: int) -> pd.DataFrame:
    counts = [int(share * images) for share in SHARES.values()]
    parts = np.repeat(list(SHARES), counts)
    names = [f"part/of/a/path/{number:07d}.png" for number in range(len(parts))]
    table = pd.DataFrame({"image_id": names, "path": names, "group": names, "mask_path": ""})
    table["label"] = np.isin(parts, ("pool", "test anomaly")).astype(int)
    kinds = [f"type {number % TYPES}" for number in range(len(parts))]
    table["anomaly_type"] = np.where(table["label"] == 1, kinds, "")
    table["split"] = np.where(np.isin(parts, ("normal", "pool")), "train", "test")
    return table


def _write(folder: RunDir, digest: str, scores: pd.DataFrame, fold: int) -> None:
    task = {"detector": "dpa", "params": {}, "training": {}, "recipe": 2, "seed": 0}
    task |= {"backbone_digest": "", "data_fingerprint": "", "fold": fold, "steps": None}
    curve = pd.DataFrame({"step": [0]})
    result = FoldResult(digest, scores, 1, None, curve, 1.0, 1.0, "cpu")
    write_result(folder.tasks, task, result)
