from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from hpsearch.budget import TestRoles as Roles
from hpsearch.choices import Choice
from hpsearch.errors import StudyError
from hpsearch.estimate import Estimate
from hpsearch.final import (
    FinalResult,
    final_result,
    mean_best_step,
    read_final,
    rewrite_final,
    write_final,
)
from hpsearch.results import FoldResult

TABLE = pd.DataFrame({"image_id": [str(n) for n in range(8)], "group": [str(n) for n in range(8)]})

CRITERIA = {"weak": 0.1 + 0.2, "unsupervised": -1 / 3, "synthetic": 0.75}
CHOICES = (
    Choice("weak", 0, 0.1 + 0.2, Estimate(0.7, 0.6, 0.8, 4, 4), 0.0),
    Choice("unsupervised", 3, -1 / 3, Estimate(2 / 3, 0.5, 0.8, 4, 4), 0.7 - 2 / 3),
)


@pytest.mark.parametrize(("steps", "mean"), [([7000, 7000, 8000], 7333), ([0, 0, 0], 0), ([3], 3)])
def test_final_training_takes_the_mean_of_the_best_steps(steps: list[int], mean: int) -> None:
    """7333 is what the paper's authors published for CIFAR10 'car'."""
    trial = optuna.trial.create_trial(value=0.5, user_attrs={"best_steps": steps})
    assert mean_best_step(trial) == mean


def _run(scores: list[float], digest: str = "a") -> FoldResult:
    frame = pd.DataFrame({"image_id": TABLE["image_id"], "role": "test", "score": scores})
    return FoldResult(digest, frame, 1, None, pd.DataFrame(), 1.0, 1.0, "cpu")


def _final(**roles: Any) -> FinalResult:
    """Normals 0-3; of the anomalies 4, 5 are of a seen type and 6, 7 of an unseen one."""
    trial = optuna.trial.create_trial(
        params={"width": 4, "flag": True},
        distributions={
            "width": optuna.distributions.CategoricalDistribution([4, 8]),
            "flag": optuna.distributions.CategoricalDistribution([False, True]),
        },
        value=0.1 + 0.2,
        user_attrs={"fold_aurocs": [0.5, 1 / 3], **CRITERIA},
    )
    everything = {
        "normals": np.arange(4),
        "seen": np.array([4, 5]),
        "unseen": np.array([6, 7]),
        "headline": np.arange(4, 8),
    }
    return final_result(
        trial,
        [_run([0, 1, 2, 3, 9, 9, 1.5, 1.5], "a"), _run([0, 1, 2, 3, 9, 9, 9, 9], "b")],
        {"colour": _run([0, 0, 0, 0, 0, 0, 0, 0], "c")},
        choices=CHOICES,
        table=TABLE,
        roles=Roles(**(everything | roles)),
        steps=12,
        seed=0,
    )


def test_seen_and_unseen_types_are_told_apart() -> None:
    result = _final()
    assert result.seen is not None
    assert result.unseen is not None
    assert result.seen.auroc == 1.0
    assert result.unseen.auroc == 0.75  # of two runs: two of four normals below 1.5, and all
    assert result.runs == (0.75, 1.0)
    assert result.test.auroc == 0.875
    assert dict(result.references)["colour"].auroc == 0.5
    assert result.tasks == ("a", "b")


def test_round_trip(tmp_path: Path) -> None:
    result = _final(seen=np.array([], dtype=int))
    assert result.seen is None
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    write_final(tmp_path / "final", result, tmp_path / "model")
    assert read_final(tmp_path / "final", result.trial) == result
    assert result.criteria == CRITERIA
    assert (tmp_path / "final" / str(result.trial) / "model" / "model.json").exists()
    assert read_final(tmp_path / "final", 99) is None


def test_a_result_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    first = _final()
    write_final(tmp_path / "final", first, tmp_path / "model")
    (tmp_path / "final" / str(first.trial) / "stray").touch()
    (tmp_path / "final" / f".tmp-0123456789ab-{first.trial}").mkdir()  # of a killed writer
    write_final(tmp_path / "final", first, tmp_path / "model")
    names = {path.name for path in (tmp_path / "final").rglob("*")}
    assert names == {str(first.trial), "result.json", "model"}


def test_facts_are_rewritten_beside_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    first = _final()
    write_final(tmp_path / "final", first, tmp_path / "model")
    fewer = replace(first, choices=CHOICES[:1])
    rewrite_final(tmp_path / "final", fewer)
    assert read_final(tmp_path / "final", first.trial) == fewer
    assert (tmp_path / "final" / str(first.trial) / "model" / "model.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"trial": 0, "fold_aurocs": []}'])
def test_facts_that_are_damaged_or_old_are_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "7" / "result.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(StudyError, match=r"^.*7/result\.json: damaged, .* and run again$"):
        read_final(tmp_path, 7)
