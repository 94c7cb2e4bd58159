"""The scores that a study has on disk, as arrays over its configurations: what selection reads.

Nothing is trained and nothing is decided here. Positions are row numbers of the study's image
table. C is the number of completed trials, F of folds, A of anomalies that labels may be drawn
from, T of test images.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from hpsearch.datasets.table import validate_table
from hpsearch.errors import StudyError
from hpsearch.io.processes import Progress, silent
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.labels import anomaly_pool
from hpsearch.storage.database import (
    completed_trials,
    load_study,
    mean_best_step,
    trials_with_labels,
)
from hpsearch.storage.results import FoldResult, read_result, read_task
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of

FloatArray = NDArray[np.float64]

# What a final training has in common with the folds of its trial.
_IN_COMMON = (
    *("detector", "params", "training", "backbone_digest", "data_fingerprint"),
    *("seed", "recipe", "version"),  # the latter in tasks of recipe 1
)


@dataclass(frozen=True, eq=False)
class StoredScores:
    """Scores of the completed trials of a study; they rise with abnormality.

    Models that were fitted on labelled anomalies score nothing that shares a group with these:
    their scores of such images are NaN.

    Attributes:
        table: the image table of the study.
        trials: the completed trials (C), by number.
        normals: per fold, positions `(n_f,)` of the normals that it scored.
        normal_scores: per fold, their scores `(C, n_f)`.
        pool: positions `(A,)` of the anomalies that labelled ones are drawn from.
        pool_scores: `(C, F, A)` by the models of the folds.
        test: positions `(T,)` of the test images, anomalies of the pool among them where the data
            has no training anomalies.
        fold_test_scores: `(C, F, T)` by the models of the folds.
        final_tasks: per trial, the digest of its first final training, None where there is none.
        final_test_scores: `(C, T)` by the models of these trainings, NaN where there is none.
        trained_on_labels: whether these trials' models were fitted on labelled anomalies; a fold
            then scores the part of the pool that is not NaN, see
            `hpsearch.protocol.labels.split_labels`.
    """

    table: pd.DataFrame
    trials: tuple[FrozenTrial, ...]
    normals: tuple[Positions, ...]
    normal_scores: tuple[FloatArray, ...]
    pool: Positions
    pool_scores: FloatArray
    test: Positions
    fold_test_scores: FloatArray
    final_tasks: tuple[str | None, ...] = ()
    final_test_scores: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    trained_on_labels: bool = False

    @property
    def has_final(self) -> NDArray[np.bool_]:
        """Which configurations `(C,)` have a final model."""
        return np.array([digest is not None for digest in self.final_tasks], dtype=bool)


def read_scores(folder: RunDir, *, progress: Progress = silent) -> StoredScores:
    """Load the scores of the trials that one may choose from (`completed_trials`).

    Those of detectors that are trained on labelled anomalies are left to `read_heads`, but where a
    study has no others.

    Raises:
        StudyError: there is no completed trial, or a result is gone or damaged.
    """
    return _read(folder, completed_trials(load_study(folder.path)), progress)


def read_heads(folder: RunDir, *, progress: Progress = silent) -> StoredScores | None:
    """Load the scores of the completed trials that were trained on labelled anomalies, if any.

    Raises:
        StudyError: a result is gone or damaged.
    """
    heads = trials_with_labels(load_study(folder.path))
    return _read(folder, heads, progress) if heads else None


def _read(folder: RunDir, completed: list[FrozenTrial], progress: Progress) -> StoredScores:
    table, n_folds = read_table(folder), folder.spec().search.n_folds
    trials = tuple(sorted(completed, key=lambda trial: trial.number))
    for trial in trials:
        if (n_there := len(facts_of(trial).tasks)) != n_folds:
            raise StudyError(
                f"study {folder.path.name}: trial {trial.number} has {n_there} of "
                f"{n_folds} folds; run the same `hpsearch run` again to go on"
            )
    first_folds = [_result(folder, trials[0], digest) for digest in facts_of(trials[0]).tasks]
    normal_ids = [one.scores["image_id"][one.scores["role"] == "normal"] for one in first_folds]
    normals = tuple(np.flatnonzero(table["image_id"].isin(ids)) for ids in normal_ids)
    pool, test = anomaly_pool(table), np.flatnonzero(table["split"] == "test")
    scores = StoredScores(
        table=table,
        trials=trials,
        normals=normals,
        normal_scores=tuple(np.empty((len(trials), len(of_fold))) for of_fold in normals),
        pool=pool,
        pool_scores=np.empty((len(trials), len(normals), len(pool))),
        test=test,
        fold_test_scores=np.empty((len(trials), len(normals), len(test))),
        trained_on_labels=facts_of(trials[0]).trained_on_labels,
    )
    for number, trial in enumerate(trials):
        for fold, digest in enumerate(facts_of(trial).tasks):
            of_image = _by_position(_result(folder, trial, digest), table)
            scores.normal_scores[fold][number] = of_image[normals[fold]]
            scores.pool_scores[number, fold] = of_image[pool]
            scores.fold_test_scores[number, fold] = of_image[test]
        progress("reading scores", number + 1, len(trials))
    arrays = [*scores.normal_scores]
    if not scores.trained_on_labels:
        arrays += [scores.pool_scores, scores.fold_test_scores]
    if missing := sum(int(np.isnan(array).sum()) for array in arrays):
        raise StudyError(
            f"{folder.tasks}: {missing} scores are missing, or folds differ between trials; "
            "run the study again under another --study-name"
        )
    return with_finals(scores, folder)


def with_finals(scores: StoredScores, folder: RunDir) -> StoredScores:
    """`scores` with those of the final models that are on disk by now.

    Raises:
        StudyError: a result is damaged.
    """
    written: dict[str, str] = {}  # the digest of a final training by what was run
    for digest in folder.task_digests():
        if (folder.tasks / digest / "task.json").exists():
            task = read_task(folder.tasks, digest)
            if task["fold"] is None:
                written[_identity(task)] = digest
    wanted = (
        read_task(folder.tasks, facts_of(trial).tasks[0]) | {"steps": mean_best_step(trial)}
        for trial in scores.trials
    )
    digests = tuple(written.get(_identity(task)) for task in wanted)
    test_scores = np.full((len(digests), len(scores.test)), np.nan)
    for number, final in enumerate(digests):
        if final is not None:
            result = _result(folder, scores.trials[number], final)
            test_scores[number] = _by_position(result, scores.table)[scores.test]
    return replace(scores, final_tasks=digests, final_test_scores=test_scores)


def read_table(folder: RunDir) -> pd.DataFrame:
    """The image table of a study.

    Raises:
        StudyError: its file is gone or damaged.
    """
    try:
        table = pd.read_csv(folder.images_file, keep_default_na=False, dtype="str")
        table["label"] = table["label"].astype("int64")
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"{folder.images_file}: damaged ({error}); `hpsearch recover {folder.path}` makes it "
            "again from the data"
        ) from error
    return validate_table(table, str(folder.images_file))


def _result(folder: RunDir, trial: FrozenTrial, digest: str) -> FoldResult:
    result = read_result(folder.tasks, digest)
    if result is None:
        raise StudyError(
            f"{folder.tasks / digest}: a result of trial {trial.number} is gone; put it back, or "
            "run the same `hpsearch run` again, which trains what is missing"
        )
    return result


def _by_position(result: FoldResult, table: pd.DataFrame) -> FloatArray:
    """Scores `(N,)` of the table's images, NaN where an image was not scored."""
    real = result.scores[result.scores["role"] != "synthetic"]
    scores = pd.Series(real["score"].to_numpy(), index=real["image_id"])
    return scores.reindex(table["image_id"]).to_numpy(dtype=np.float64)


def _identity(task: dict[str, Any]) -> str:
    """What tells a final training: its settings as of a fold, and how many steps it took."""
    return json.dumps([*(task.get(key) for key in _IN_COMMON), task["steps"]], sort_keys=True)
