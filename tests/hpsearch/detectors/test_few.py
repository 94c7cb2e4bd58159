"""A head is scikit-learn's on features that are counted by hand here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dpa_core.features import Architecture
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.base import ImageView, LabelledView, Setup, canonical_of
from hpsearch.detectors.few import INPUTS, KINDS, FewLabelsDetector, residuals
from hpsearch.detectors.pooled_features import pooled_features
from hpsearch.errors import SpecError, TaskError, WeightsError

View = Callable[[slice], ImageView]
NORMALS, LABELLED, NEW = slice(0, 30), slice(40, 45), slice(30, 50)
PARAMS = {"kind": "logistic", "inputs": "both", "layer": "r12+r22", "C": 0.01}


def _with_labels(setup: Callable[..., Setup], view: View, **params: Any) -> Setup:
    images = view(LABELLED)
    labelled = LabelledView(images, ("g",) * len(images), ("stripes",) * len(images))
    return replace(setup(**PARAMS | params), labelled=labelled)


def _fitted(made: Setup, view: View) -> FewLabelsDetector:
    detector = FewLabelsDetector(made)
    training = detector.fit(view(NORMALS), None, max_steps=1)
    assert (training.best_step, training.best_loss, len(training.curve)) == (0, None, 0)
    return detector


def _away(vectors: np.ndarray, normals: np.ndarray, *, own: bool) -> np.ndarray:
    """Residuals from all distances; a normal's own is made the largest."""
    distances = cdist(vectors, normals)
    if own:
        np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :5]
    return np.abs(vectors - normals[nearest].mean(axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_scores_are_those_of_scikit_learn(
    kind: str, inputs: str, setup: Callable[..., Setup], view: View
) -> None:
    made = _with_labels(setup, view, kind=kind, inputs=inputs)
    scores = _fitted(made, view).score(view(NEW))

    def vectors(rows: slice) -> np.ndarray:
        found = [
            pooled_features(
                view(rows),
                layer,
                made.backbone,
                pooling="mean_std",
                device="cpu",
                cache_dir=made.cache_dir,
            )
            for layer in ("r12", "r22")
        ]
        return np.concatenate(found, axis=1)

    units = StandardScaler().fit(vectors(NORMALS))
    normals, labelled, new = (units.transform(vectors(r)) for r in (NORMALS, LABELLED, NEW))
    seen = {
        "raw": (normals, labelled, new),
        "residual": (
            _away(normals, normals, own=True),
            _away(labelled, normals, own=False),
            _away(new, normals, own=False),
        ),
    }
    seen["both"] = tuple(
        np.hstack(pair) for pair in zip(seen["raw"], seen["residual"], strict=True)
    )
    of_normals, of_labelled, of_new = seen[inputs]
    head = {
        "logistic": LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000),
        "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    }[kind]
    pipeline = make_pipeline(StandardScaler(), head)
    pipeline.fit(np.vstack([of_normals, of_labelled]), [0] * 30 + [1] * 5)
    np.testing.assert_allclose(scores, pipeline.decision_function(of_new), rtol=1e-6, atol=1e-9)
    assert scores[10:].min() > scores[:10].max(), "stripes are more abnormal than noise"


@given(st.integers(2, 12), st.integers(0, 99))
@settings(deadline=None)
def test_a_training_normal_is_never_its_own_neighbour(n: int, seed: int) -> None:
    """Moved far away, it has its whole distance as residual; otherwise it would have a share."""
    normals = np.random.default_rng(seed).normal(size=(n, 3))
    normals[0] += 1000.0
    found = residuals(normals, normals, are_the_normals=True)
    others = normals[1:]
    nearest = others[np.argsort(cdist(normals[:1], others)[0])[:5]]
    np.testing.assert_allclose(found[0], np.abs(normals[0] - nearest.mean(axis=0)))
    assert (found[0] > 900).all()


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_gives_the_same_scores(
    kind: str, inputs: str, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    made = _with_labels(setup, view, kind=kind, inputs=inputs)
    detector = _fitted(made, view)
    detector.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.safetensors"]
    again = FewLabelsDetector.load(tmp_path / "model", replace(made, labelled=None))
    once = replace(view(NEW), key=None)
    np.testing.assert_allclose(again.score(once), detector.score(view(NEW)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_normals", [3, 30])
@pytest.mark.parametrize("inputs", INPUTS)
def test_the_graph_gives_the_same_scores(
    inputs: str, n_normals: int, setup: Callable[..., Setup], view: View
) -> None:
    detector = FewLabelsDetector(_with_labels(setup, view, inputs=inputs))
    detector.fit(view(slice(0, n_normals)), None, max_steps=1)
    images = torch.from_numpy(view(NEW).array())
    with torch.no_grad():
        scores = detector.graph()(images).numpy()
    np.testing.assert_allclose(scores, detector.score(view(NEW)), rtol=1e-4, atol=1e-5)


def test_a_model_of_other_inputs_is_refused(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    _fitted(_with_labels(setup, view, inputs="residual"), view).save(tmp_path / "model")
    for other in ("both", "raw"):
        with pytest.raises(WeightsError, match="is not of this configuration") as caught:
            FewLabelsDetector.load(tmp_path / "model", setup(**PARAMS | {"inputs": other}))
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"kind": "svm"}, "kind must be one of logistic, lda"),
        ({"inputs": "all"}, "inputs must be one of both, residual, raw"),
        ({"C": 0.0}, "C must be above 0"),
        ({"layer": "r12+r99"}, "r99"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    params: dict[str, Any], says: str, setup: Callable[..., Setup]
) -> None:
    architecture: Architecture = setup(**PARAMS).backbone.architecture
    with pytest.raises(SpecError, match=says) as caught:
        FewLabelsDetector.check(
            {"resolution": 16, **PARAMS, **params}, architecture, TrainingSpec()
        )
    assert "\n" not in str(caught.value)


def test_the_strength_of_what_does_not_read_it_makes_no_other_configuration() -> None:
    configurations = [PARAMS | {"kind": kind, "C": C} for kind in KINDS for C in (0.001, 0.03)]
    assert len({str(canonical_of("few", one)) for one in configurations}) == 3


def test_without_labelled_anomalies_the_training_fails(
    setup: Callable[..., Setup], view: View
) -> None:
    with pytest.raises(TaskError, match="no labelled anomaly to train on"):
        FewLabelsDetector(setup(**PARAMS)).fit(view(NORMALS), None, max_steps=1)


def test_a_single_normal_has_no_neighbour(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(TaskError, match="1 normal is too few"):
        FewLabelsDetector(_with_labels(setup, view)).fit(view(slice(0, 1)), None, max_steps=1)


def test_it_has_no_maps(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(SpecError, match="no maps"):
        FewLabelsDetector(setup(**PARAMS)).maps(view(NEW))
