"""Outlier scores on pooled features of the frozen network: no training, and hard to beat."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import nn

from dpa_core.errors import ConfigError
from dpa_core.features import VGGArchitecture
from dpa_core.tensor_files import Form
from hpsearch.config.space import Params
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.base import (
    CURVE_COLUMNS,
    ImageView,
    Setup,
    Training,
    damaged,
    load_tensors,
    save_tensors,
)
from hpsearch.detectors.outlier_models import OUTLIER_MODELS, Matrix, OutlierModel
from hpsearch.detectors.pooled import (
    COLOUR,
    USUAL_LAYERS,
    ColourStatistics,
    PooledGraph,
    PooledLayers,
    pooled_features,
)
from hpsearch.errors import SpecError, TaskError


class FeaturesDetector:
    """Mahalanobis distance, nearest neighbours or isolation forest on one vector per image."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "kind": ("mahalanobis", "knn", "isolation_forest"),
        "layer": USUAL_LAYERS,
    }

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.layer = str(setup.params["layer"])
        self.kind = str(setup.params["kind"])
        self.scaler = StandardScaler()
        self.model: OutlierModel = OUTLIER_MODELS[self.kind](setup.seed)
        self.normals: Matrix = np.empty((0, 0))

    @staticmethod
    def check(params: Params, architecture: VGGArchitecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built."""
        if params["kind"] not in OUTLIER_MODELS:
            raise SpecError(
                f"space: kind must be one of {', '.join(OUTLIER_MODELS)}, got {params['kind']!r}"
            )
        if params["layer"] != COLOUR:
            try:
                architecture.depth(str(params["layer"]))
            except ConfigError as error:
                raise SpecError(f"space: {error}, or colour") from None

    @staticmethod
    def size(params: Params) -> None:
        """There is no bottleneck."""

    def fit(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        *,
        max_steps: int,
        checkpoints: Path | None = None,
    ) -> Training:
        """Fit on all of `train`; nothing is iterated, so the other arguments do not matter."""
        self.normals = self.scaler.fit_transform(self._vectors(train))
        self.model.fit(self.normals)
        return Training(0, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))

    def score(self, images: ImageView) -> Matrix:
        """Distance from the normal images, `(n,)`."""
        return self.model.score(self.scaler.transform(self._vectors(images)))

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Refused: the vectors are means over the whole image."""
        raise SpecError(
            "maps: the detector features gives one score an image and no maps; leave them out, "
            "or take a model of the detector dpa"
        )

    def graph(self) -> nn.Module:
        """Frozen network, pooling and distance as one network; a forest is none."""
        distance = self.model.network()
        if self.layer == COLOUR:
            vectors: nn.Module = ColourStatistics()
        else:
            vectors = PooledLayers(build_extractor(self.setup.backbone, (self.layer,)))
        return PooledGraph(
            vectors,
            torch.from_numpy(np.asarray(self.scaler.mean_)),
            torch.from_numpy(np.asarray(self.scaler.scale_)),
            distance,
        )

    def save(self, folder: Path) -> None:
        """The scaled training vectors, from which the model is fitted again in seconds."""
        arrays = {
            "normals": self.normals,
            "mean": np.asarray(self.scaler.mean_),
            "scale": np.asarray(self.scaler.scale_),
        }
        save_tensors(folder, {name: torch.from_numpy(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "FeaturesDetector":
        """The detector fitted again on the vectors that it was fitted on.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        detector = cls(setup)
        forms = {
            name: Form(shape, (torch.float64,))
            for name, shape in (
                ("normals", (None, detector._length)),
                ("mean", (detector._length,)),
                ("scale", (detector._length,)),
            )
        }
        arrays = {name: value.numpy() for name, value in load_tensors(folder, forms).items()}
        if not (arrays["scale"] > 0).all():
            raise damaged(folder, "holds a scale that is not above 0")
        detector.normals = arrays["normals"]
        detector.scaler.mean_, detector.scaler.scale_ = arrays["mean"], arrays["scale"]
        try:
            detector.model.fit(detector.normals)
        except ValueError as error:  # a seed that scikit-learn does not take
            raise damaged(folder, f"cannot be fitted again ({error})") from error
        return detector

    @property
    def _length(self) -> int:
        """Of the vector of an image."""
        if self.layer == COLOUR:
            return 2 * int(self.setup.normals.pixels.shape[3])
        return self.setup.backbone.architecture.channels(self.layer)

    def _vectors(self, images: ImageView) -> Matrix:
        vectors = pooled_features(
            images,
            self.layer,
            self.setup.backbone,
            device=self.setup.device,
            cache_dir=self.setup.cache_dir,
        )
        if not np.isfinite(vectors).all():
            raise TaskError("non_finite", f"features of {self.layer} are not finite")
        return vectors
