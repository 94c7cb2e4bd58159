"""Stored scores that no training made."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from hpsearch.evaluation.stored_scores import StoredScores

N_FOLDS = 3
PER_FOLD = (7, 5, 6)
SIZES = {"a": 6, "b": 9, "c": 4}
N_TEST_NORMALS = 11


def make_table(sizes: Mapping[str, int], *, borrowed: bool) -> pd.DataFrame:
    """Normals of the folds, anomalies to draw from, and test images; pairs share a group."""
    rows: list[tuple[int, str, str]] = [(0, "", "train")] * sum(PER_FOLD)
    for kind, size in sizes.items():
        rows += [(1, kind, "test" if borrowed else "train")] * size
        rows += [] if borrowed else [(1, kind, "test")] * 2
    rows += [(0, "", "test")] * N_TEST_NORMALS
    table = pd.DataFrame(rows, columns=["label", "anomaly_type", "split"])
    table["image_id"] = [f"{number}.png" for number in range(len(table))]
    # Within a type of one split, as images of one slide or part.
    table["group"] = [
        f"{row.split}{row.anomaly_type}{row.Index // 2}" for row in table.itertuples()
    ]
    return table


@pytest.fixture
def made() -> Callable[..., StoredScores]:
    """Makes stored scores of random, often equal numbers."""

    def make(
        *,
        configurations: int = 5,
        borrowed: bool = False,
        without_final: tuple[int, ...] = (),
        sizes: Mapping[str, int] = SIZES,
        seed: int = 0,
    ) -> StoredScores:
        table = make_table(sizes, borrowed=borrowed)
        rng = np.random.default_rng(seed)

        def scores(*shape: int) -> Any:
            return rng.integers(20, size=shape).astype(float)

        anomalies = (table["label"] == 1).to_numpy()
        of_training = (table["split"] == "train").to_numpy()
        pool = np.flatnonzero(anomalies & (of_training | borrowed))
        test = np.flatnonzero(~of_training)
        normals = np.split(np.arange(sum(PER_FOLD)), np.cumsum(PER_FOLD)[:-1])
        of_images = scores(configurations, N_FOLDS, len(table))
        final = scores(configurations, len(test))
        final[list(without_final)] = np.nan
        return StoredScores(
            table=table,
            # Numbers with gaps, as where trials in between were pruned.
            trials=tuple(_trial(2 * number) for number in range(configurations)),
            normals=tuple(normals),
            normal_scores=tuple(of_images[:, fold, own] for fold, own in enumerate(normals)),
            pool=pool,
            pool_scores=of_images[:, :, pool],
            test=test,
            fold_test_scores=of_images[:, :, test],
            final_tasks=tuple(
                None if number in without_final else f"{number:016x}"
                for number in range(configurations)
            ),
            final_test_scores=final,
        )

    return make


def _trial(number: int) -> optuna.trial.FrozenTrial:
    trial = optuna.trial.create_trial(value=0.5)
    trial.number = number
    return trial
