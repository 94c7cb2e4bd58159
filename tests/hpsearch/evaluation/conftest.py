"""Scores of known AUC: unit normals and anomalies, correlated between configurations and folds."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from hpsearch.evaluation.delong import FoldScores

Draw = Callable[..., FoldScores]


@pytest.fixture(scope="session")
def draw_scores() -> Draw:
    """`draw(rng, aurocs, n_normal=, n_anomaly=, rho=)`: three folds that share the anomalies."""

    def draw(
        rng: np.random.Generator,
        aurocs: np.ndarray,
        *,
        n_normal: int = 300,
        n_anomaly: int = 20,
        rho: float = 0.3,
    ) -> FoldScores:
        n_configurations, n_folds = len(aurocs), 3
        shift = np.sqrt(2) * norm.ppf(aurocs)
        image, own, fold = np.sqrt([rho, 0.9 * (1 - rho), 0.1 * (1 - rho)])
        normals = image * rng.normal(size=n_normal) + np.sqrt(1 - rho) * rng.normal(
            size=(n_configurations, n_normal)
        )
        anomalies = (
            shift[:, None, None]
            + image * rng.normal(size=n_anomaly)
            + own * rng.normal(size=(n_configurations, 1, n_anomaly))
            + fold * rng.normal(size=(n_configurations, n_folds, n_anomaly))
        )
        return FoldScores(tuple(np.array_split(normals, n_folds, axis=1)), anomalies)

    return draw
