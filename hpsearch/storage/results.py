"""Results of one training as a directory of plain files that appears whole or not at all.

`tasks/<digest>/` holds `task.json` (what was run), `result.json` (how it went), `scores.csv` (one
row an image) and `curve.csv` (one row a validation).
"""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.errors import StudyError
from hpsearch.io.files import write_directory_atomic

RECIPE = 2
"""Of the computation: raised when the same task would give other scores.

Recipe 1 split normals without regard to the sizes of their groups, and took channel statistics from
the study's own normals; its tasks have `version` in place of `recipe`.
"""

_FIRST_RECIPE = 1  # of what names none

_TASK = {"params", "fold"}  # without which nobody knows what a result is of

Role = Literal["normal", "early_stop", "anomaly", "test", "synthetic"]
"""Why an image was scored: as a fold's normal, held out of training, labelled, to test on, or as
the synthetic anomaly that was made of a fold's normal."""


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What a training left behind.

    Attributes:
        digest: of the task; the name of its directory.
        scores: columns `image_id`, `role` (a `Role`) and `score`. An image has one row, and another
            with role `synthetic` where a synthetic anomaly was made of it.
        best_step: the step whose weights were kept.
        best_loss: on the normals held out for early stopping, None where there were none.
        curve: one row a validation.
        seconds: of training and scoring.
        peak_memory_mb: of the device on CUDA, else of the process.
        device: such as `cpu` or the name of a GPU.
        notes: what was out of the ordinary, a line each.
        trained_on_labels: whether it was fitted on labelled anomalies too. What shares a group with
            these has no row in `scores` then.
    """

    digest: str
    scores: pd.DataFrame
    best_step: int
    best_loss: float | None
    curve: pd.DataFrame
    seconds: float
    peak_memory_mb: float
    device: str
    notes: tuple[str, ...] = ()
    trained_on_labels: bool = False

    def of_role(self, role: Role) -> NDArray[np.float64]:
        """Scores `(n,)` of the rows of one role."""
        return self.scores["score"][self.scores["role"] == role].to_numpy(dtype=np.float64)


def scores_at(
    result: FoldResult, table: pd.DataFrame, positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Stored scores `(n,)` of the images, as they are, in rows `positions` of the table."""
    real = result.scores[result.scores["role"] != "synthetic"]
    by_id = real.set_index("image_id")["score"]
    return by_id.loc[table["image_id"].iloc[positions]].to_numpy(dtype=np.float64)


def write_result(
    tasks: Path,
    task: Mapping[str, Any],
    result: FoldResult,
    *,
    save_model: Callable[[Path], None] | None = None,
) -> None:
    """Write `tasks/<digest>/`, with the fitted model in `model/` where `save_model` is given."""
    facts = {
        "digest": result.digest,
        "best_step": result.best_step,
        "best_loss": result.best_loss,
        "seconds": result.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        "device": result.device,
        "notes": result.notes,
    }
    if result.trained_on_labels:
        facts["trained_on_labels"] = True
    with write_directory_atomic(tasks / result.digest) as folder:
        (folder / "task.json").write_text(json.dumps(task, indent=1, sort_keys=True))
        # Quoted, for the name of an image may hold any character, a carriage return too.
        result.scores.to_csv(folder / "scores.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
        result.curve.to_csv(folder / "curve.csv", index=False)
        facts["scores_sha256"] = _sha256(folder / "scores.csv")
        if save_model:
            save_model(folder / "model")
            facts["model_sha256"] = _model_hashes(folder)
        (folder / "result.json").write_text(json.dumps(facts, indent=1))


def read_result(tasks: Path, digest: str) -> FoldResult | None:
    """The result in `tasks/<digest>/`, or None where that training has not finished.

    Raises:
        StudyError: the directory is there and damaged.
    """
    folder = tasks / digest
    if not folder.is_dir():
        return None
    try:
        facts = json.loads((folder / "result.json").read_text())
        if facts.pop("scores_sha256") != _sha256(folder / "scores.csv"):
            raise ValueError("scores.csv was cut off or changed")
        facts.pop("model_sha256", None)
        scores = pd.read_csv(
            folder / "scores.csv",
            dtype={"image_id": str, "role": str},
            converters={"score": float},  # exact, as not every version of pandas is by default
            keep_default_na=False,
        )
        curve = pd.read_csv(folder / "curve.csv")
        facts["notes"] = tuple(facts.get("notes", ()))  # an earlier version kept none
        return FoldResult(scores=scores, curve=curve, **facts)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise _damaged(folder, error) from error


def model_is_whole(tasks: Path, digest: str) -> bool:
    """Whether the fitted model in `tasks/<digest>/model/` is the one that was written."""
    folder = tasks / digest
    try:
        facts = json.loads((folder / "result.json").read_text())
        return bool(facts["model_sha256"] == _model_hashes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _model_hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in (folder / "model").iterdir() if path.is_file())
    return {path.name: _sha256(path) for path in files}


def read_task(tasks: Path, digest: str) -> dict[str, Any]:
    """What was run, of the result in `tasks/<digest>/`.

    Raises:
        StudyError: the directory is damaged.
    """
    folder = tasks / digest
    try:
        task: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        if not task.keys() >= _TASK:
            raise ValueError("task.json lacks settings")
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(folder, error) from error
    return task


def recipe_of(facts: Mapping[str, Any]) -> int:
    """By which recipe a study, of its environment record, or a task was computed."""
    return int(facts.get("recipe", _FIRST_RECIPE))


def _damaged(folder: Path, error: Exception) -> StudyError:
    mend = f"`hpsearch recover {folder.parent.parent}` sets it aside, and a run makes it again"
    return StudyError(f"{folder}: damaged ({error}); {mend}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
