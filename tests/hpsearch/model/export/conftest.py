"""Models of any preprocessing and detector, trained for a step or two in memory."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hpsearch.datasets.window import Window
from hpsearch.detectors.base import (
    ImageView,
    LabelledView,
    Setup,
    load_detector,
    trains_on_labels,
)
from hpsearch.model.bundle import (
    BackboneFacts,
    ModelFacts,
    Provenance,
    calibrated,
    preprocessing_facts,
)
from hpsearch.model.model import Model

PREPROCESSING = {
    "resolution": 16,
    "random_crop": 0.8,  # stored at 20 px
    "central_crop": 0.9,
    "fit": "crop",
    "greyscale": False,
    "equalize": False,
}
OF_DETECTOR = {
    "dpa": {
        "latent_dim": 2,
        "latent_res": 4,
        "layers": "r12+0.5*r22",
        "loss": "perceptual+0.1*l1",
        "start_resolution": 0,
        "steps_per_phase": 20_000,
        "statistics": "natural",
    },
    "features": {"kind": "mahalanobis", "layer": "r22"},
    "few": {"kind": "logistic", "inputs": "both", "layer": "r12+r22", "C": 0.01},
    "patch": {
        "kind": "nearest",
        "layer": "r12+r22",
        "pool": "max",
        "coreset": 0.1,
        "reweight": False,
    },
}

MakeModel = Callable[..., Model]


@pytest.fixture(scope="session")
def make_model(make_setup: Callable[..., Setup]) -> MakeModel:
    def make(
        detector: str = "dpa",
        *,
        backbone: str = "vgg-mini",
        channels: int = 3,
        window: Window | None = None,
        **changed: object,
    ) -> Model:
        params = {**PREPROCESSING, **OF_DETECTOR[detector], **changed}
        how = preprocessing_facts(params, channels=channels, window=window)
        pixels = np.random.default_rng(0).integers(0, 256, (24, *how.shape), dtype=np.uint8)
        normals = ImageView(pixels, np.arange(16), None)
        labelled = LabelledView(ImageView(pixels, np.arange(16, 20), None), ("g",) * 4, ("",) * 4)
        setup = make_setup(params, normals, backbone=backbone, batch_size=4, max_steps=2)
        setup = replace(setup, labelled=labelled if trains_on_labels(detector) else None)
        fitted = load_detector(detector)(setup)
        fitted.fit(normals, None, max_steps=2)
        held_out = fitted.score(ImageView(pixels, np.arange(16, 24), None))
        facts = ModelFacts(
            detector=detector,
            params=params,
            seed=0,
            preprocessing=how,
            backbone=BackboneFacts(name=backbone, digest=setup.backbone.digest),
            provenance=Provenance(study="by hand"),
            calibration=calibrated(held_out, rate=0.2),
        )
        return Model(facts, fitted)

    return make
