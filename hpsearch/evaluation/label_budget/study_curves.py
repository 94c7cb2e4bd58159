"""How many labelled anomalies does a study on disk need? The curves, as plain values, as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.errors import StudyError
from hpsearch.evaluation.label_budget.cells import independent_pool
from hpsearch.evaluation.label_budget.curves import (
    BudgetCurves,
    budget_curves,
    needed_models,
)
from hpsearch.evaluation.label_budget.simulation import Question, simulate
from hpsearch.evaluation.stored_scores import read_scores, with_finals
from hpsearch.io.files import write_csv
from hpsearch.io.processes import Progress, silent
from hpsearch.storage.database import load_study, trials_with_labels
from hpsearch.storage.run_dir import RunDir

_DIGITS = 6
_FIGURES = ("mean", "std", "low", "high", "regret", "best", "worst")

Train = Callable[[Sequence[FrozenTrial]], None]
"""Trains the final models of these trials; see `hpsearch.study.finish.train_final_models`."""


def study_curves(
    folder: RunDir, question: Question, *, train: Train | None, progress: Progress = silent
) -> BudgetCurves:
    """Choose again with the labels of the question, and say what the choices were worth.

    Args:
        folder: run directory of a study.
        question: what is asked.
        train: called where a final model is missing; None to take the test figures of the models
            of the folds, which are there already.
        progress: told how far reading is.

    Raises:
        UserError: the study or its data cannot answer.
    """
    spec = folder.spec()
    if spec.search.protocol == "official":
        raise StudyError(
            f"study {spec.study_name}: its labelled anomalies are those of fold files, so that "
            "none can be drawn; run one with --protocol clean"
        )
    stored = read_scores(folder, progress=progress)
    if stored.trained_on_labels:
        raise StudyError(
            f"study {spec.study_name}: its detectors were trained on its labelled anomalies, so "
            "that none others can be drawn for them; search one that is not, such as features"
        )
    scores = independent_pool(stored, spec)
    left_out = stored.pool.size - scores.pool.size
    n_heads = len(trials_with_labels(load_study(folder.path)))
    simulation = simulate(scores, question, spec.labels.anomalies)
    if train is None:
        curves = budget_curves(simulation, scores, "folds")
        return replace(curves, left_out=left_out, n_heads=n_heads)
    lacking = [
        number for number in needed_models(simulation, scores) if not scores.has_final[number]
    ]
    if lacking:
        train([scores.trials[number] for number in lacking])
        scores = with_finals(scores, folder)
    curves = budget_curves(simulation, scores, "final")
    return replace(curves, left_out=left_out, n_heads=n_heads)


def curve_records(curves: BudgetCurves) -> list[dict[str, Any]]:
    """One record a point; figures are test AUCs, None where a single draw has no spread."""
    return [
        {
            "n_types": point.cell.n_types,
            "n_examples": point.cell.n_examples,
            "drawn_from_types": point.cell.n_eligible,
            "repeats": curves.question.repeats,
            "mean": point.mean,
            "std": point.std,
            "low": point.low,
            "high": point.high,
            "regret": point.regret,
            "best": curves.best,
            "worst": curves.worst,
            "models": curves.models,
            "chosen": [{"trial": trial, "times": times} for trial, times in point.chosen],
        }
        for point in curves.points
    ]


def write_curves(path: Path, curves: BudgetCurves) -> None:
    """Write the records as CSV, whole or not at all; `chosen` is `trial:times` by frequency."""
    records = curve_records(curves)
    for record in records:
        for name in _FIGURES:
            record[name] = None if record[name] is None else f"{record[name]:.{_DIGITS}f}"
        record["chosen"] = " ".join(f"{each['trial']}:{each['times']}" for each in record["chosen"])
    write_csv(path, pd.DataFrame(records, dtype=object))
