"""The detector `few`: the labelled handful used in training too, as a linear head on features.

A head separates normal images from the labelled anomalies, on features of a frozen network: mean
and deviation of each channel over the whole image. With an image's features x, in units of the
training normals' mean and deviation, it sees x itself (`raw`), how far each feature is from the
normals that the image is most like, |x - mean of the nearest training normals| (`residual`), or
both side by side. Residuals carry over to types and backgrounds that no label showed, for what they
say of an image is not what it shows but what is unusual about it. A training normal is never its
own neighbour: its residual would say that it was trained on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from dpa_core.features import Architecture
from dpa_core.tensor_files import Form
from hpsearch.config.space import Params, layers_of
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.base import ImageView, Setup, Training, require_choice, require_layers
from hpsearch.detectors.outlier_models import Matrix
from hpsearch.detectors.pooled_features import (
    MEAN_STD,
    USUAL_LAYERS,
    JoinedVectors,
    PooledGraph,
    joined_features,
)
from hpsearch.detectors.saved_tensors import damaged, load_tensors, save_tensors
from hpsearch.errors import SpecError, TaskError

KINDS = ("logistic", "lda")
INPUTS = ("both", "residual", "raw")

_NEIGHBOURS = 5
_FEWEST_NORMALS = 2  # one, and its neighbour


class LinearHead(Protocol):
    """A classifier of scikit-learn with one weight a feature; class 1 is anomalous."""

    coef_: Matrix
    intercept_: Matrix

    def fit(self, features: Matrix, labels: NDArray[np.intp]) -> object:
        """Fit on features `(n, D)` of labels `(n,)`."""


class FewLabelsDetector:
    """Logistic regression or shrinkage LDA of normal images against the labelled anomalies.

    The score is the head's decision function, where normal and anomalous weigh alike for `logistic`
    (classes balanced).
    """

    trains_on_labels: ClassVar[bool] = True
    cost: ClassVar[float] = 1.0
    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "kind": ("logistic",),  # or lda, which takes longer and holds worse on types not labelled
        "inputs": INPUTS,
        "layer": ("+".join(USUAL_LAYERS),),
        "C": (0.003, 0.001, 0.03),  # of logistic regression: the smaller, the more regularised
    }

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.layers = layers_of(setup.params)
        self.inputs = str(setup.params["inputs"])
        self.scaler = StandardScaler()
        self.normals: Matrix = np.empty((0, 0))
        self.weights: Matrix = np.empty(0)
        self.intercept = 0.0

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built."""
        require_choice("kind", params["kind"], KINDS)
        require_choice("inputs", params["inputs"], INPUTS)
        if not float(params["C"]) > 0:
            raise SpecError(f"space: C must be above 0, got {params['C']}")
        require_layers(params, architecture)

    @staticmethod
    def layer_axes(architecture: Architecture) -> Mapping[str, AxisChoices]:
        """All stages together."""
        names = architecture.layers
        return {"layer": ("+".join(USUAL_LAYERS if set(USUAL_LAYERS) <= set(names) else names),)}

    @staticmethod
    def canonical(params: Params) -> Params:
        """The configuration with `C` at its default where the head does not read it."""
        if params["kind"] == "logistic":
            return params
        return {**params, "C": FewLabelsDetector.axes["C"][0]}

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
        """Fit on all of `train` and the labelled anomalies; the other arguments do not matter.

        Raises:
            TaskError: there is no labelled anomaly, or a single normal.
        """
        labelled = self.setup.labelled
        if labelled is None or not len(labelled.images):
            raise TaskError("error", "few: there is no labelled anomaly to train on")
        if len(train) < _FEWEST_NORMALS:
            raise TaskError("error", f"few: {len(train)} normal is too few; add some")
        self.normals = self.scaler.fit_transform(self._vectors(train))
        anomalies = self.scaler.transform(self._vectors(labelled.images))
        features = np.concatenate(
            [
                self._head_inputs(self.normals, are_the_normals=True),
                self._head_inputs(anomalies),
            ]
        )
        units = StandardScaler()
        head = self._head()
        head.fit(units.fit_transform(features), np.repeat([0, 1], [len(train), len(anomalies)]))
        self.weights = head.coef_[0] / units.scale_
        self.intercept = float(head.intercept_[0] - self.weights @ units.mean_)
        return Training.without_curve()

    def score(self, images: ImageView) -> Matrix:
        """The decision function of each image, `(n,)`; above 0 it is more like the anomalies."""
        if not len(images):
            return np.empty(0)
        found = self._head_inputs(self.scaler.transform(self._vectors(images)))
        scores: Matrix = found @ self.weights + self.intercept
        return scores

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Refused: the vectors are of the whole image."""
        raise SpecError(
            "maps: the detector few gives one score an image and no maps; leave them out, or take "
            "a model of the detector dpa"
        )

    def graph(self) -> nn.Module:
        """Frozen network, pooling, residuals and head as one network."""
        extractor = build_extractor(self.setup.backbone, self.layers)
        return PooledGraph(
            JoinedVectors(self.layers, extractor, MEAN_STD),
            torch.from_numpy(np.asarray(self.scaler.mean_)),
            torch.from_numpy(np.asarray(self.scaler.scale_)),
            HeadOnResiduals(
                torch.from_numpy(self.normals),
                torch.from_numpy(self.weights),
                self.intercept,
                self.inputs,
            ),
        )

    def save(self, folder: Path) -> None:
        """Head and scale, and the scaled training normals where residuals need them."""
        arrays = {
            "mean": np.asarray(self.scaler.mean_),
            "scale": np.asarray(self.scaler.scale_),
            "weights": self.weights,
            "intercept": np.array([self.intercept]),
        }
        if self.inputs != "raw":
            arrays["normals"] = self.normals
        save_tensors(folder, {name: torch.from_numpy(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "FewLabelsDetector":
        """The fitted detector again.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        detector = cls(setup)
        architecture = setup.backbone.architecture
        length = 2 * sum(architecture.channels(layer) for layer in detector.layers)
        shapes: dict[str, tuple[int | None, ...]] = {
            "mean": (length,),
            "scale": (length,),
            "weights": (2 * length if detector.inputs == "both" else length,),
            "intercept": (1,),
        }
        if detector.inputs != "raw":
            shapes["normals"] = (None, length)
        forms = {name: Form(shape, (torch.float64,)) for name, shape in shapes.items()}
        arrays = {name: value.numpy() for name, value in load_tensors(folder, forms).items()}
        if not (arrays["scale"] > 0).all():
            raise damaged(folder, "holds a scale that is not above 0")
        detector.scaler.mean_, detector.scaler.scale_ = arrays["mean"], arrays["scale"]
        detector.normals = arrays.get("normals", detector.normals)
        detector.weights, detector.intercept = arrays["weights"], float(arrays["intercept"][0])
        return detector

    def _head(self) -> LinearHead:
        head: LinearHead
        if self.setup.params["kind"] == "lda":
            head = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        else:
            strength = float(self.setup.params["C"])
            head = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        return head

    def _head_inputs(self, vectors: Matrix, *, are_the_normals: bool = False) -> Matrix:
        """What the head sees of scaled vectors `(n, F)`."""
        if self.inputs == "raw":
            return vectors
        found = residuals(vectors, self.normals, are_the_normals=are_the_normals)
        return found if self.inputs == "residual" else np.concatenate([vectors, found], axis=1)

    def _vectors(self, images: ImageView) -> Matrix:
        return joined_features(images, self.layers, MEAN_STD, self.setup)


def residuals(vectors: Matrix, normals: Matrix, *, are_the_normals: bool = False) -> Matrix:
    """|x - mean of the five nearest normals| `(n, F)` of vectors `(n, F)`.

    Args:
        vectors: of any images.
        normals: of the training normals, `(m, F)`; of fewer than five, all of them.
        are_the_normals: the vectors are those of the normals themselves, in their order, none of
            which is its own neighbour.
    """
    n_others = len(normals) - are_the_normals
    index = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, n_others)).fit(normals)
    nearest = index.kneighbors(None if are_the_normals else vectors, return_distance=False)
    # Neighbour by neighbour, for five times the vectors need not be in memory.
    mean = sum(normals[column] for column in nearest.T) / nearest.shape[1]
    found: Matrix = np.abs(vectors - mean)
    return found


class HeadOnResiduals(nn.Module):
    """The decision function of a head on raw vectors, their residuals or both.

    Args:
        normals: scaled vectors of the training normals, `(M, F)`.
        weights: of the head, one a feature that it sees.
        intercept: of the head.
        inputs: as of the detector.
    """

    def __init__(self, normals: Tensor, weights: Tensor, intercept: float, inputs: str) -> None:
        super().__init__()
        self.intercept = intercept
        self.inputs = inputs
        self.register_buffer("weights", weights)
        if inputs != "raw":
            self.register_buffer("normals", normals)

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores `(N,)` of scaled vectors `(N, F)`."""
        seen = vectors
        if self.inputs != "raw":
            normals = self.get_buffer("normals")
            # Less the vectors' own squares, which are the same for all normals.
            squares = (normals**2).sum(dim=1) - 2 * vectors @ normals.T
            _, nearest = squares.topk(min(_NEIGHBOURS, len(normals)), dim=1, largest=False)
            away = (vectors - normals[nearest].mean(dim=1)).abs()
            seen = away if self.inputs == "residual" else torch.cat([vectors, away], dim=1)
        scores: Tensor = seen @ self.get_buffer("weights") + self.intercept
        return scores
