from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from dpa_core.efficientnet_lite import EfficientNetLite
from dpa_core.vgg import VGG_MINI
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.pooled_features import FeaturesDetector, pooled_features
from hpsearch.errors import SpecError, TaskError, WeightsError

View = Callable[[slice], ImageView]
TRAIN, NEW = slice(0, 30), slice(30, 50)  # of the new ones the last ten are anomalous


def _mahalanobis(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    fitted = LedoitWolf().fit(train)
    centred = new - fitted.location_
    inverse = np.linalg.inv(fitted.covariance_)
    return np.einsum("ij,jk,ik->i", centred, inverse, centred)


def _knn(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.sort(cdist(new, train), axis=1)[:, :5].mean(axis=1)


def _forest(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    return -IsolationForest(n_estimators=200, random_state=7).fit(train).score_samples(new)


def _local_density(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    return -LocalOutlierFactor(n_neighbors=20, novelty=True).fit(train).score_samples(new)


def _mixture(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    fitted = GaussianMixture(5, covariance_type="diag", reg_covar=0.01, random_state=7).fit(train)
    parts = [
        np.log(weight) + multivariate_normal(mean, np.diag(variances)).logpdf(new)
        for weight, mean, variances in zip(
            fitted.weights_, fitted.means_, fitted.covariances_, strict=True
        )
    ]
    return -logsumexp(parts, axis=0)


def _kernel_density(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    n, length = train.shape
    width = n ** (-1 / (length + 4))  # Scott's rule
    exponents = -(cdist(new, train) ** 2) / (2 * width**2)
    return -logsumexp(exponents, axis=1) + np.log(n) + length * np.log(2 * np.pi * width**2) / 2


def _one_class(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    fitted = OneClassSVM(nu=0.1, gamma=1 / (train.shape[1] * train.var())).fit(train)
    sums = fitted.decision_function(new) + fitted.offset_
    scores = -np.log(np.maximum(sums, 1e-99) / fitted.offset_)
    far = sums < 1e-9  # lost in the sum of which the offset is taken away again
    squares = cdist(new, fitted.support_vectors_) ** 2
    logarithms = logsumexp(-fitted._gamma * squares, axis=1, b=fitted.dual_coef_[0])
    scores[far] = np.log(fitted.offset_) - logarithms[far]
    return scores


def _components(train: np.ndarray, new: np.ndarray) -> np.ndarray:
    _, values, directions = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    shares = np.cumsum(values**2) / np.sum(values**2)
    n_kept = min(np.searchsorted(shares, 0.95, side="right") + 1, train.shape[1] - 1)
    kept = directions[:n_kept]
    centred = new - train.mean(axis=0)
    return (centred**2).sum(axis=1) - ((centred @ kept.T) ** 2).sum(axis=1)


BY_HAND = {
    "mahalanobis": _mahalanobis,
    "knn": _knn,
    "isolation_forest": _forest,
    "lof": _local_density,
    "gmm": _mixture,
    "kde": _kernel_density,
    "ocsvm": _one_class,
    "pca": _components,
}


def _fitted(setup: Setup, view: View) -> FeaturesDetector:
    detector = FeaturesDetector(setup)
    training = detector.fit(view(TRAIN), None, max_steps=1)
    assert (training.best_step, training.best_loss, len(training.curve)) == (0, None, 0)
    return detector


@pytest.mark.parametrize("layer", ["colour", "colour_percentiles", "r12", "r32"])
@pytest.mark.parametrize("kind", BY_HAND)
def test_scores_are_those_of_the_method_and_rise_with_abnormality(
    kind: str, layer: str, setup: Callable[..., Setup], view: View
) -> None:
    made = setup(kind=kind, layer=layer, seed=7)
    scores = _fitted(made, view).score(view(NEW))
    train, new = (
        pooled_features(view(rows), layer, made.backbone, device="cpu", cache_dir=made.cache_dir)
        for rows in (TRAIN, NEW)
    )
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std < 1e-10] = 1
    expected = BY_HAND[kind]((train - mean) / std, (new - mean) / std)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert scores[10:].min() > scores[:10].max(), "stripes are more abnormal than noise"


@pytest.mark.parametrize("pooling", ["mean", "mean_std"])
def test_the_vectors_of_several_layers_are_joined(
    pooling: str, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    made = setup(kind="knn", layer="r22+colour+r12", pooling=pooling)
    detector = _fitted(made, view)
    train, new = (
        np.concatenate(
            [
                pooled_features(
                    view(rows),
                    layer,
                    made.backbone,
                    pooling=pooling,
                    device="cpu",
                    cache_dir=made.cache_dir,
                )
                for layer in ("r22", "colour", "r12")
            ],
            axis=1,
        )
        for rows in (TRAIN, NEW)
    )
    assert train.shape[1] == 6 + (32 + 16) * (1 if pooling == "mean" else 2)
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std < 1e-10] = 1
    expected = _knn((train - mean) / std, (new - mean) / std)
    np.testing.assert_allclose(detector.score(view(NEW)), expected, rtol=1e-6)
    detector.save(tmp_path / "model")
    again = FeaturesDetector.load(tmp_path / "model", made)
    np.testing.assert_allclose(again.score(view(NEW)), expected, rtol=1e-6)
    found = detector.graph()(torch.from_numpy(view(NEW).array()))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_the_pooling_of_before_there_was_a_choice_is_the_mean(
    setup: Callable[..., Setup], view: View
) -> None:
    older, mean, both = (
        _fitted(setup(kind="knn", layer="r12", **pooling), view).score(view(NEW))
        for pooling in ({}, {"pooling": "mean"}, {"pooling": "mean_std"})
    )
    assert np.array_equal(older, mean)
    assert not np.allclose(older, both)
    params = {"kind": "knn", "layer": "r12"}
    assert FeaturesDetector.canonical(params | {"pooling": "mean"}) == params
    assert FeaturesDetector.canonical(params) == params
    with_deviation = params | {"pooling": "mean_std"}
    assert FeaturesDetector.canonical(with_deviation) == with_deviation
    colour = {"kind": "knn", "layer": "colour+colour_percentiles"}
    assert FeaturesDetector.canonical(colour | {"pooling": "mean_std"}) == colour


def test_the_layers_searched_are_those_of_the_network() -> None:
    usual = {"layer": ("r12", "r22", "r32", "r42")}
    assert FeaturesDetector.layer_axes(VGG_MINI) == usual
    assert FeaturesDetector.layer_axes(EfficientNetLite("lite0")) == {
        "layer": ("s4", "s2+s3", "s1+s2+s3+s4+s5"),
        "pooling": ("mean_std",),
    }


def test_fewer_normals_than_neighbours(setup: Callable[..., Setup], view: View) -> None:
    detector = FeaturesDetector(setup(kind="knn", layer="colour"))
    detector.fit(view(slice(0, 3)), None, max_steps=1)
    assert np.isfinite(detector.score(view(NEW))).all()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"kind": "svm", "layer": "r12"}, "kind must be one of mahalanobis, knn"),
        ({"kind": "knn", "layer": "r99"}, "r99.*or colour"),
        ({"kind": "knn", "layer": "pixels"}, "pixels.*or colour"),
        ({"kind": "knn", "layer": "r12+r12"}, r"'r12\+r12' names one twice"),
        (
            {"kind": "knn", "layer": "r12", "pooling": "max"},
            "pooling must be one of mean, mean_std",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(params: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        FeaturesDetector.check(params, VGG_MINI, TrainingSpec())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", ["colour", "r12"])
@pytest.mark.parametrize("kind", BY_HAND)
def test_the_saved_vectors_give_the_model_again(
    kind: str, layer: str, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    made = setup(kind=kind, layer=layer, seed=7)
    detector = _fitted(made, view)
    detector.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.safetensors"]
    again = FeaturesDetector.load(tmp_path / "model", made)
    once = replace(view(NEW), key=None)  # nothing of these is kept in a cache
    np.testing.assert_allclose(again.score(once), detector.score(view(NEW)), rtol=1e-5)


@pytest.mark.parametrize("layer", ["r12", "r22"])
def test_vectors_of_another_configuration_are_refused(
    layer: str, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    _fitted(setup(kind="knn", layer="colour"), view).save(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"'normals' must have shape \(any, "):
        FeaturesDetector.load(tmp_path / "model", setup(kind="knn", layer=layer))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "scale"}, "lacks 'scale'"),
        (lambda t: t | {"normals": t["normals"][:0].clone()}, r"\(any, 6\), got \(0, 6\)"),
        (lambda t: t | {"scale": t["scale"] * 0}, "a scale that is not above 0"),
        (lambda t: t | {"mean": t["mean"].bfloat16()}, "'mean' must be float64, got bfloat16"),
        (lambda t: t | {"normals": t["normals"] * torch.nan}, "'normals' holds values that are"),
        (lambda t: t | {"normals": t["normals"][0].clone()}, r"\(any, 6\), got \(6,\)"),
        (lambda t: t | {"more": torch.ones(1)}, "holds 'more', which has no use"),
    ],
)
def test_saved_vectors_that_cannot_be_are_one_line(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    says: str,
    setup: Callable[..., Setup],
    view: View,
    tmp_path: Path,
) -> None:
    made = setup(kind="mahalanobis", layer="colour")
    _fitted(made, view).save(tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(WeightsError, match=says) as caught:
        FeaturesDetector.load(tmp_path / "model", made)
    assert str(caught.value).isprintable()


def test_a_seed_that_the_forest_cannot_have_is_one_line(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    made = setup(kind="isolation_forest", layer="colour")
    _fitted(made, view).save(tmp_path / "model")
    with pytest.raises(WeightsError, match="cannot be fitted again") as caught:
        FeaturesDetector.load(tmp_path / "model", replace(made, seed=-1))
    assert str(caught.value).isprintable()


def test_features_that_are_not_finite_fail_the_training(
    setup: Callable[..., Setup], view: View
) -> None:
    made = setup(kind="knn", layer="r12")
    huge = {key: value * 1e30 for key, value in made.backbone.weights.items()}
    broken = replace(made, backbone=replace(made.backbone, weights=huge, digest="0" * 64))
    with pytest.raises(TaskError, match="features of r12 are not finite"):
        FeaturesDetector(broken).fit(view(TRAIN), None, max_steps=1)


def test_it_has_no_maps(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(SpecError, match="no maps"):
        _fitted(setup(kind="knn", layer="colour"), view).maps(view(NEW))
