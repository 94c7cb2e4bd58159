"""The detectors `pyod:CLASS`: outlier detectors of PyOD on pooled features of a frozen network."""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import nn

from dpa_core.features import Architecture
from dpa_core.tensor_files import Form
from hpsearch.config.space import LAYER, Params
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.base import (
    CURVE_COLUMNS,
    Detector,
    ImageView,
    Setup,
    Training,
    damaged,
    load_tensors,
    save_tensors,
)
from hpsearch.detectors.foreign import (
    constructor_arguments,
    constructor_axes,
    quiet,
    seeded,
    unknown_model,
)
from hpsearch.detectors.pooled_features import FeaturesDetector, pooled_features
from hpsearch.errors import SpecError, TaskError

_INSTALL = "detectors pyod:CLASS need PyOD; pip install 'hpsearch[pyod]'"
_SEEDS = ("random_state", "random_seed")
_NOT_SEARCHED = ("contamination", "n_jobs", "verbose", "device", *_SEEDS)
REFUSED = {
    "DeepSVDD": "in PyOD 3.6 it scores like a network that was never trained",
}
_COMPARED = 8  # normals that show whether the score of one depends on the others


class PyODDetector:
    """A detector of PyOD on one standardised vector per image.

    A class is made of it for each detector of PyOD; see `detector_of`.
    """

    name: ClassVar[str]
    kind: ClassVar[Any]
    axes: ClassVar[Mapping[str, AxisChoices]]
    cost: ClassVar[float] = 1.0

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.layer = str(setup.params[LAYER])
        self.scaler = StandardScaler()
        self.normals: NDArray[np.float64] = np.empty((0, 0))
        self.one_by_one = False
        arguments = constructor_arguments(self.kind, setup.params)
        accepted = inspect.signature(self.kind).parameters
        arguments |= {seed: setup.seed for seed in _SEEDS if seed in accepted}
        if "device" in accepted:
            arguments["device"] = setup.device
        with quiet(), seeded(setup.seed):
            self.model = self.kind(**arguments)

    @staticmethod
    def layer_axes(architecture: Architecture) -> Mapping[str, AxisChoices]:
        """As of `features`."""
        of_layers = getattr(FeaturesDetector, "layer_axes", None)
        return of_layers(architecture) if of_layers else {}

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where the layer is none; PyOD says in the trial what else is wrong."""
        FeaturesDetector.check({**params, "kind": "knn"}, architecture, training)

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
        """Fit on all of `train`, for as long as the detector's own parameters say."""
        self.normals = self.scaler.fit_transform(self._vectors(train))
        self._fit()
        return Training(0, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """PyOD's `decision_function`, `(n,)`.

        ECOD, COPOD and others rank a vector among those that they are called with. They are called
        with one at a time, so that the score of an image does not depend on its company.
        """
        vectors = self.scaler.transform(self._vectors(images))
        if not self.one_by_one:
            return self._decisions(vectors)
        return np.concatenate([np.empty(0), *(self._decisions(row[None]) for row in vectors)])

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Refused: the vectors are means over the whole image."""
        raise SpecError(f"maps: the detector {self.name} gives one score an image and no maps")

    def graph(self) -> nn.Module:
        """Refused: PyOD's detectors are no networks."""
        raise SpecError(f"export: the detector {self.name} is no network; use hpsearch predict")

    def save(self, folder: Path) -> None:
        """The scaled training vectors, from which the model is fitted again with the same seed."""
        arrays = {
            "normals": self.normals,
            "mean": np.asarray(self.scaler.mean_),
            "scale": np.asarray(self.scaler.scale_),
        }
        save_tensors(folder, {name: torch.from_numpy(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "PyODDetector":
        """The detector fitted again on the vectors that it was fitted on.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        detector = cls(setup)
        length = detector._vectors(setup.normals).shape[1]
        shapes = {"normals": (None, length), "mean": (length,), "scale": (length,)}
        forms = {name: Form(shape, (torch.float64,)) for name, shape in shapes.items()}
        arrays = {name: value.numpy() for name, value in load_tensors(folder, forms).items()}
        if not (arrays["scale"] > 0).all():
            raise damaged(folder, "holds a scale that is not above 0")
        detector.normals = arrays["normals"]
        detector.scaler.mean_, detector.scaler.scale_ = arrays["mean"], arrays["scale"]
        try:
            detector._fit()
        except ValueError as error:
            raise damaged(folder, f"cannot be fitted again ({error})") from error
        return detector

    def _fit(self) -> None:
        with quiet(), seeded(self.setup.seed):
            self.model.fit(self.normals)
        some = self.normals[:_COMPARED]
        self.one_by_one = not np.allclose(self._decisions(some)[:1], self._decisions(some[:1]))

    def _decisions(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(vectors):
            return np.empty(0)
        with quiet(), seeded(self.setup.seed):
            return np.asarray(self.model.decision_function(vectors), dtype=np.float64).reshape(-1)

    def _vectors(self, images: ImageView) -> NDArray[np.float64]:
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


@cache
def detector_of(model: str) -> type[Detector]:
    """The detector `pyod:MODEL`.

    Raises:
        SpecError: PyOD or what the model needs is not installed, PyOD has none of that name, or it
            is none that is fitted on vectors without labels.
    """
    name = f"pyod:{model}"
    try:
        with quiet():
            knowledge = import_module("pyod.utils.knowledge").KnowledgeBase()
            import_module("pyod.models.base")
    except ImportError as error:
        raise SpecError(f"detector {name!r:.60}: {_INSTALL} ({error})") from error
    known = {
        one: about
        for one, about in knowledge.algorithms.items()
        if about["status"] != "planned" and "tabular" in about["data_types"]
    }
    if model not in known:
        raise unknown_model(name, known)
    module, class_name = known[model]["class_path"].rsplit(".", 1)
    try:
        with quiet():
            kind = getattr(import_module(module), class_name)
    except ImportError as error:
        raise SpecError(
            f"detector {name}: PyOD needs {error.name} for it; pip install {error.name}"
        ) from error
    reason = REFUSED.get(model) or _unusable(kind)
    if reason is not None:
        raise SpecError(f"detector {name}: {reason}; choose another, such as pyod:LOF")
    axes = {LAYER: FeaturesDetector.axes[LAYER], **constructor_axes(kind, without=_NOT_SEARCHED)}
    return type(f"PyOD{model}", (PyODDetector,), {"name": name, "kind": kind, "axes": axes})


def _unusable(kind: Any) -> str | None:
    """Why a class of PyOD cannot be a detector here, None where it can."""
    needed = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        return f"its {needed[0]} has no default, and no axis can be one"
    labels = inspect.signature(kind.fit).parameters.get("y")
    if labels is not None and labels.default is labels.empty:
        return "it is fitted on labels"
    return None
