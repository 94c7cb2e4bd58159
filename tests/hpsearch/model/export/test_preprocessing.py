from dataclasses import fields
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hpsearch.datasets.pixels import STEPS, Preprocessing
from hpsearch.datasets.window import Window
from hpsearch.model.export.pillow import Preprocess
from hpsearch.model.images import PreprocessingFacts, as_seen


def _facts(channels: int, window: Window | None = None, **changed: Any) -> PreprocessingFacts:
    plain = {"greyscale": False, "equalize": False, "central_crop": 0.8, "fit": "crop", "size": 24}
    return PreprocessingFacts(
        **{**plain, **changed}, resolution=16, channels=1 if channels == 1 else 3, window=window
    )


def _seen(images: NDArray[Any], facts: PreprocessingFacts) -> NDArray[np.uint8]:
    return np.stack([as_seen(image, facts) for image in images])


@pytest.mark.parametrize(
    "facts",
    [
        _facts(3),
        _facts(3, equalize=True),
        _facts(3, fit="stretch"),
        _facts(1, greyscale=True),
        _facts(1, greyscale=True, equalize=True, central_crop=0.3),
        _facts(1),
        _facts(1, equalize=True),
    ],
    ids=[
        "plain",
        "equalized",
        "stretched",
        "grey",
        "grey equalized",
        "grey images",
        "grey images equalized",
    ],
)
def test_is_what_a_model_does_to_an_image(facts: PreprocessingFacts) -> None:
    preprocess = Preprocess(facts)
    assert preprocess.dtype == torch.uint8
    shape = (3, 50, 41, preprocess.channels)
    images = (np.random.default_rng(0).beta(2, 3, shape) * 255).astype(np.uint8)
    np.testing.assert_array_equal(
        preprocess(torch.from_numpy(images)).numpy(), _seen(images, facts)
    )


STEP_BY_NAME = {step.name: step for step in fields(Preprocessing)}


@pytest.mark.parametrize("name", STEPS)
def test_every_step_that_an_image_may_take_is_in_the_graph(name: str) -> None:
    default, kind = STEPS[name], STEP_BY_NAME[name].type
    others = {bool: [not default], float: [0.5], str: get_args(kind)}[type(default)]
    shape = (2, 40, 31, 3)
    images = (np.random.default_rng(0).beta(2, 3, shape) * 255).astype(np.uint8)
    for value in others:
        facts = _facts(3, **{name: value})
        found = Preprocess(facts)(torch.from_numpy(images)).numpy()
        np.testing.assert_array_equal(found, _seen(images, facts))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_window_is_part_of_it(channels: int) -> None:
    facts = _facts(channels, window=(100.0, 3000.0))
    preprocess = Preprocess(facts)
    assert (preprocess.channels, preprocess.dtype) == (1, torch.float32)
    images = np.random.default_rng(0).integers(0, 4096, (2, 30, 40, 1)).astype(np.float32)
    found = preprocess(torch.from_numpy(images)).numpy()
    assert found.min() < 40 and found.max() > 215
    np.testing.assert_array_equal(found, _seen(images, facts))


def test_the_window_of_dicom_files_is_left_to_their_reader() -> None:
    facts = _facts(1, window="dicom")
    preprocess = Preprocess(facts)
    assert (preprocess.channels, preprocess.dtype) == (1, torch.uint8)
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 40, 1), dtype=np.uint8)
    np.testing.assert_array_equal(
        preprocess(torch.from_numpy(images)).numpy(), _seen(images, facts)
    )
