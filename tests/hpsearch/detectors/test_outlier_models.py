import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from hpsearch.detectors.outlier_models import OUTLIER_MODELS, Mahalanobis
from hpsearch.evaluation.auroc import auroc

LENGTH = 6
BASE = np.linspace(-2, 2, LENGTH)
AXIS = np.eye(LENGTH)[0]
WITHOUT_SPREAD = {
    "one": BASE[None],
    "30 alike": np.tile(BASE, (30, 1)),
    "two": np.stack([BASE - AXIS, BASE + AXIS]),
    "30 of two kinds": np.tile([BASE - AXIS, BASE + AXIS], (15, 1)),
}


def _scores(kind: str, normals: np.ndarray, new: np.ndarray) -> np.ndarray:
    scaler, model = StandardScaler(), OUTLIER_MODELS[kind](0)
    model.fit(scaler.fit_transform(normals))
    return np.asarray(model.score(scaler.transform(new)))


@pytest.mark.parametrize("normals", WITHOUT_SPREAD.values(), ids=WITHOUT_SPREAD)
@pytest.mark.parametrize("kind", OUTLIER_MODELS)
def test_without_spread_what_is_unlike_the_normals_scores_higher(
    kind: str, normals: np.ndarray
) -> None:
    unlike = BASE + np.random.default_rng(0).normal(0, 5, (20, LENGTH)) + 5
    scores = _scores(kind, normals, np.concatenate([normals, unlike]))
    assert np.isfinite(scores).all()
    assert auroc(scores[: len(normals)], scores[len(normals) :]) == 1


@pytest.mark.parametrize("kind", ["mahalanobis", "knn"])
def test_two_normals_leave_no_direction_unseen(kind: str) -> None:
    away = BASE + 3 * np.eye(LENGTH)[1:]  # where the two do not differ
    scores = _scores(kind, WITHOUT_SPREAD["two"], np.concatenate([WITHOUT_SPREAD["two"], away]))
    assert scores[2:].min() > scores[:2].max()


def test_the_distance_from_normals_that_are_all_alike_is_euclidean() -> None:
    model = Mahalanobis(0)
    model.fit(np.tile(BASE, (9, 1)))
    new = np.random.default_rng(1).normal(size=(5, LENGTH))
    np.testing.assert_allclose(model.score(new), ((new - BASE) ** 2).sum(axis=1))


def test_normals_with_spread_are_left_to_ledoit_and_wolf() -> None:
    rng = np.random.default_rng(2)
    normals, new = (
        rng.normal(size=(40, LENGTH)) * 10.0 ** -np.arange(LENGTH),
        rng.normal(size=(9, 6)),
    )
    model = Mahalanobis(0)
    model.fit(normals)
    np.testing.assert_allclose(model.score(new), LedoitWolf().fit(normals).mahalanobis(new))
