import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyod.models.ecod import ECOD
from pyod.models.lof import LOF

from dpa_core.vgg import VGG_MINI
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.base import ImageView, Setup, axes_of, checked_scores, load_detector
from hpsearch.detectors.pooled_features import pooled_features
from hpsearch.detectors.pyod_models import detector_of
from hpsearch.errors import SpecError

View = Callable[[slice], ImageView]
TRAIN, NEW = slice(0, 30), slice(30, 50)  # of the new ones the last ten are anomalous


def _vectors(setup: Setup, view: View, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Standardised by the training images."""
    train, new = (
        pooled_features(view(rows), layer, setup.backbone, device="cpu", cache_dir=setup.cache_dir)
        for rows in (TRAIN, NEW)
    )
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[std < 1e-10] = 1
    return (train - mean) / std, (new - mean) / std


def _fitted(name: str, setup: Setup, view: View) -> Any:
    detector = load_detector(name)(setup)
    training = detector.fit(view(TRAIN), None, max_steps=1)
    assert (training.best_step, training.best_loss, len(training.curve)) == (0, None, 0)
    return detector


def test_scores_are_pyods_own_on_the_same_vectors(setup: Callable[..., Setup], view: View) -> None:
    made = setup(layer="r12", n_neighbors=7)
    scores = checked_scores(_fitted("pyod:LOF", made, view).score(view(NEW)), 20)
    train, new = _vectors(made, view, "r12")
    np.testing.assert_allclose(scores, LOF(n_neighbors=7).fit(train).decision_function(new))
    assert scores[10:].min() > scores[:10].max(), "stripes are more abnormal than noise"


def test_a_score_that_depends_on_the_other_images_is_taken_of_each_alone(
    setup: Callable[..., Setup], view: View
) -> None:
    made = setup(layer="r12")
    detector = _fitted("pyod:ECOD", made, view)
    train, new = _vectors(made, view, "r12")
    alone = ECOD().fit(train)
    expected = [float(alone.decision_function(row[None])[0]) for row in new]
    np.testing.assert_allclose(detector.score(view(NEW)), expected)
    np.testing.assert_allclose(detector.score(view(slice(33, 35))), expected[3:5])
    assert min(expected[10:]) > max(expected[:10])


@pytest.mark.parametrize("name", ["pyod:ECOD", "pyod:IForest", "pyod:KNN"])
def test_a_saved_detector_scores_as_before(
    name: str, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    made = setup(layer="r12", seed=3)
    detector = _fitted(name, made, view)
    detector.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.safetensors"]
    again = load_detector(name).load(tmp_path / "model", made)
    np.testing.assert_allclose(again.score(view(NEW)), detector.score(view(NEW)), rtol=1e-6)


def test_the_seed_decides_and_the_generators_go_on_as_before(
    setup: Callable[..., Setup], view: View
) -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    of_seed = [
        _fitted("pyod:IForest", setup(layer="r12", seed=seed), view).score(view(NEW))
        for seed in (1, 1, 2)
    ]
    assert np.random.random() == expected
    assert np.array_equal(of_seed[0], of_seed[1])
    assert not np.array_equal(of_seed[0], of_seed[2])


def test_axes_are_the_constructors_parameters_by_name_and_type() -> None:
    axes = axes_of("pyod:LOF", VGG_MINI)
    of_vectors = {name: axes_of("features", VGG_MINI)[name] for name in ("layer", "pooling")}
    assert axes == {
        **of_vectors,
        "n_neighbors": (20,),
        "algorithm": ("auto",),
        "leaf_size": (30,),
        "metric": ("minkowski",),
        "p": (2,),
        "novelty": (True,),
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pyod:DeepSVDD", "pyod:DeepSVDD: in PyOD 3.6 it scores like a network that was never"),
        ("pyod:lof", "'pyod:lof': pyod has none of that name; choose pyod:LOF"),
        ("pyod:DOMINANT", "has none of that name; choose pyod:"),  # of graphs
        ("pyod:LSCP", "its detector_list has no default"),
        ("pyod:DevNet", "it is fitted on labels"),
    ],
)
def test_what_cannot_be_searched_is_one_line(name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        load_detector(name)
    assert str(caught.value).isprintable()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyod.utils.knowledge", None)
    with pytest.raises(SpecError, match=r"need PyOD; pip install 'hpsearch\[pyod\]'"):
        detector_of.__wrapped__("HBOS")


def test_there_are_neither_maps_nor_a_graph(setup: Callable[..., Setup], view: View) -> None:
    detector = _fitted("pyod:LOF", setup(layer="r12"), view)
    for part in (lambda: detector.maps(view(NEW)), detector.graph):
        with pytest.raises(SpecError, match="pyod:LOF"):
            part()


def test_a_layer_that_there_is_not_is_one_line() -> None:
    with pytest.raises(SpecError, match="r99"):
        load_detector("pyod:LOF").check({"layer": "r99"}, VGG_MINI, TrainingSpec())
