"""The whole answer to "how many labelled anomalies do I need?" for a study on disk."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from hpsearch.errors import StudyError
from hpsearch.label_budget.curves import BudgetCurves, budget_curves, needed_models
from hpsearch.label_budget.pool import independent_pool
from hpsearch.label_budget.simulation import Question, simulate
from hpsearch.progress import Progress, silent
from hpsearch.stored_scores import read_scores, with_finals
from hpsearch.study_dir import StudyDir

Train = Callable[[Sequence[FrozenTrial]], None]
"""Trains the final models of these trials; see `label_budget.final_models`."""


def answer(
    folder: StudyDir, question: Question, *, train: Train | None, progress: Progress = silent
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
    scores = independent_pool(stored, spec)
    left_out = stored.pool.size - scores.pool.size
    simulation = simulate(scores, question, spec.labels.anomalies)
    if train is None:
        return replace(budget_curves(simulation, scores, "folds"), left_out=left_out)
    lacking = [
        number for number in needed_models(simulation, scores) if not scores.has_final[number]
    ]
    if lacking:
        train([scores.trials[number] for number in lacking])
        scores = with_finals(scores, folder)
    return replace(budget_curves(simulation, scores, "final"), left_out=left_out)
