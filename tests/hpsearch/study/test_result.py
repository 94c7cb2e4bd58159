from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from hpsearch.evaluation.auroc import Estimate
from hpsearch.evaluation.selection import CriterionChoice, Selection
from hpsearch.evaluation.threshold import ConformalThreshold, flagged
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.storage.database import mean_best_step
from hpsearch.storage.results import FoldResult
from hpsearch.study.result import FinalResult, final_result

TABLE = pd.DataFrame({"image_id": [str(n) for n in range(8)], "group": [str(n) for n in range(8)]})

CRITERIA = {"weak": 0.1 + 0.2, "unsupervised": -1 / 3, "synthetic": 0.75}
CHOICES = (
    CriterionChoice("weak", 0, 0.1 + 0.2, Estimate(0.7, 0.6, 0.8, 4, 4), 0.0),
    CriterionChoice("unsupervised", 3, -1 / 3, Estimate(2 / 3, 0.5, 0.8, 4, 4), 0.7 - 2 / 3),
)
SELECTION = Selection(0, "trial 0: it is the only configuration", (0,), ())


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
        selection=SELECTION,
        flagging=None,
        table=TABLE,
        roles=EvaluationRoles(**(everything | roles)),
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


def test_what_is_flagged_lies_above_the_threshold() -> None:
    threshold = ConformalThreshold(rate=0.25, threshold=2.0, bound=0.5, n=3)
    roles = EvaluationRoles(np.arange(4), np.array([4, 5]), np.array([6, 7]), np.arange(4, 8))
    found = flagged(threshold, _run([0, 1, 2, 3, 9, 9, 1.5, 2.0]), TABLE, roles)
    assert (found.normals, found.anomalies) == (0.25, 0.5)


def test_a_simpler_method_is_told_of_unless_it_is_the_winner_itself() -> None:
    forest, colour, r32, r42 = (
        "colour statistics, isolation forest",
        "colour statistics, Mahalanobis",
        "frozen VGG r32, Mahalanobis",
        "frozen VGG r42, Mahalanobis",
    )
    values = {forest: 0.95, colour: 0.875, r32: 0.91, r42: 0.874}
    references = tuple((name, Estimate(value, 0, 1, 4, 4)) for name, value in values.items())
    result = replace(_final(), references=references)
    assert result.test.auroc == 0.875
    assert result.simpler_and_as_good() == references[0]
    itself = replace(result, params={"kind": "isolation_forest", "layer": "colour", "size": 8})
    assert itself.simpler_and_as_good() == references[2]
    assert replace(result, references=references[3:]).simpler_and_as_good() is None
    assert replace(result, references=references[1:2]).simpler_and_as_good() == references[1]
