import doctest
import pickle

import numpy as np
import pytest
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import hpsearch.model.estimator
from hpsearch.detectors.backbones.backbone import load_backbone
from hpsearch.model.estimator import DPADetector

SMALL = {"layers": "r12", "resolution": 16, "max_steps": 30, "batch_size": 16, "random_state": 0}
# The checks hand in a few rows of numbers around 0 or 100.
FOR_CHECKS = DPADetector(
    **(SMALL | {"max_steps": 2, "batch_size": 8}),
    target_fpr=0.3,
    calibration_share=0.5,
    value_range=(-50, 150),
)


@parametrize_with_checks([FOR_CHECKS])
def test_scikit_learns_own_checks(estimator, check) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def many_images() -> np.ndarray:
    """120 noisy images of 16 px, and 20 with stripes."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 15, (140, 16, 16, 3))
    pixels[120:, ::4] += 90
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted(many_images: np.ndarray) -> DPADetector:
    return DPADetector(**SMALL).fit(many_images[:100])


def test_scores_fall_with_abnormality(fitted: DPADetector, many_images: np.ndarray) -> None:
    scores = fitted.score_samples(many_images[100:])
    normal = np.arange(40) < 20
    assert roc_auc_score(normal, scores) > 0.99  # scikit-learn's sign: normal is high
    decisions = fitted.decision_function(many_images[100:])
    assert np.array_equal(decisions, scores - fitted.offset_)
    assert np.array_equal(fitted.predict(many_images[100:]), np.where(decisions >= 0, 1, -1))
    assert (fitted.predict(many_images[120:]) == -1).all()


def test_the_threshold_keeps_its_rate_on_held_out_normals(many_images: np.ndarray) -> None:
    """Of 40 held out and a rate of 0.25, rank ceil(41 x 0.75) = 31: nine score above."""
    detector = DPADetector(**SMALL, target_fpr=0.25, calibration_share=0.5).fit(many_images[:80])
    held_out = np.random.RandomState(0).permutation(80)[:40]
    assert (detector.predict(many_images[held_out]) == -1).sum() == 9


def test_flat_rows_and_floats_are_the_same_images(
    fitted: DPADetector, many_images: np.ndarray
) -> None:
    expected = fitted.score_samples(many_images[:5])
    flat = many_images[:5].reshape(5, -1)
    for same in (flat, flat.astype(np.float64), many_images[:5].astype(np.float32)):
        np.testing.assert_allclose(fitted.score_samples(same), expected, rtol=1e-6)
    assert fitted.image_shape_ == (16, 16, 3)
    assert fitted.n_features_in_ == 768


def test_a_fitted_one_can_be_pickled_and_cloned(
    fitted: DPADetector, many_images: np.ndarray
) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.score_samples(many_images), fitted.score_samples(many_images))
    assert not hasattr(clone(fitted), "offset_")


def test_in_a_pipeline(many_images: np.ndarray) -> None:
    inverted = make_pipeline(FunctionTransformer(lambda x: 255 - x), DPADetector(**SMALL))
    labels = inverted.fit(many_images[:100]).predict(many_images[100:])
    assert (labels[20:] == -1).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target_fpr": 0.001}, "100: 20 of them are held out, and target_fpr=0.001 needs 999"),
        ({"target_fpr": 0}, "above 0 and below 1"),
        ({"calibration_share": 1.0}, "above 0 and below 1"),
        ({"resolution": 48}, "image_size must be 16, 32, 64, 128 or 256 px, got 48"),
        ({"layers": "r99"}, "r99"),
        ({"backbone": "resnet"}, "must be one of lite0, lite1"),
        ({"value_range": (1, 0)}, "value_range must rise"),
        ({"device": "tpu"}, "must be one of auto, cpu"),
        ({"value_range": (0, 65_535)}, r"value_range=\(0, 65535\) does not fit"),
    ],
)
def test_what_cannot_be_is_a_value_error(
    changes: dict[str, object], says: str, many_images: np.ndarray
) -> None:
    given = many_images[:100].astype(float) if "value_range" in changes else many_images[:100]
    with pytest.raises(ValueError, match=says):
        DPADetector(**(SMALL | changes)).fit(given)


def test_floats_of_another_scale_are_refused_at_every_entry(many_images: np.ndarray) -> None:
    shares = (many_images / 255).astype(np.float32)
    says = "value_range=.* does not fit images with values from 0"
    with pytest.raises(ValueError, match=says):
        DPADetector(**SMALL).fit(shares[:100])
    fitted = DPADetector(**SMALL).fit(many_images[:100])
    for entry in (fitted.predict, fitted.score_samples, fitted.decision_function):
        with pytest.raises(ValueError, match=says):
            entry(shares[100:])
    rescaled = DPADetector(**(SMALL | {"value_range": (0, 1)})).fit(shares[:100])
    np.testing.assert_allclose(
        rescaled.score_samples(shares[100:]), fitted.score_samples(many_images[100:]), rtol=1e-4
    )


def test_a_shape_that_does_not_fit(many_images: np.ndarray) -> None:
    flat = many_images[:100].reshape(100, -1)
    with pytest.raises(ValueError, match=r"image_shape=\(8, 8, 3\) has 192 values, got 768"):
        DPADetector(**SMALL, image_shape=(8, 8, 3)).fit(flat)
    with pytest.raises(ValueError, match=r"must have the shape \(H, W, 1\) or \(H, W, 3\)"):
        DPADetector(**SMALL).fit(np.zeros((100, 3, 16, 16), np.uint8))


def test_no_images_are_refused_in_scikit_learns_words(fitted: DPADetector) -> None:
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        fitted.predict(np.empty((0, 16, 16, 3), np.uint8))


def test_the_example_runs() -> None:
    result = doctest.testmod(hpsearch.model.estimator)
    assert result.attempted > 0
    assert result.failed == 0


def test_statistics_are_of_the_images_only_where_asked(many_images: np.ndarray, tmp_path) -> None:
    bare = tmp_path / "bare.safetensors"
    save_file(dict(load_backbone("vgg-mini").weights), bare)
    few = SMALL | {"max_steps": 2, "target_fpr": 0.2, "backbone_weights": bare}
    with pytest.raises(ValueError, match=r"hold no channel statistics.*\(statistics='own'\)"):
        DPADetector(**few).fit(many_images[:40])
    own = DPADetector(**few, statistics="own").fit(many_images[:40])
    natural = DPADetector(**(few | {"backbone_weights": None})).fit(many_images[:40])
    assert not np.allclose(
        own.score_samples(many_images[:4]), natural.score_samples(many_images[:4])
    )
    with pytest.raises(ValueError, match="statistics must be natural or own"):
        DPADetector(**few, statistics="mine").fit(many_images[:40])
