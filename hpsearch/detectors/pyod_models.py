"""The detectors `pyod:CLASS`: outlier detectors of PyOD on pooled features of a frozen network."""

import inspect
from functools import cache
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dpa_core.features import Architecture
from hpsearch.config.space import Params
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.base import Detector, ImageView
from hpsearch.detectors.foreign import (
    constructor_arguments,
    constructor_axes,
    quiet,
    seeded,
    unknown_model,
)
from hpsearch.detectors.outlier_models import OUTLIER_MODELS, Matrix, OutlierModel
from hpsearch.detectors.pooled_features import FeaturesDetector
from hpsearch.errors import SpecError

_INSTALL = "detectors pyod:CLASS need PyOD; pip install 'hpsearch[pyod]'"
_SEEDS = ("random_state", "random_seed")
_NOT_SEARCHED = ("contamination", "n_jobs", "verbose", "device", *_SEEDS)
REFUSED = {
    "DeepSVDD": "in PyOD 3.6 it scores like a network that was never trained",
    "QMCD": "in PyOD 3.6 its score falls as a vector leaves the others",
}
_ANY_KIND = next(iter(OUTLIER_MODELS))  # which is not asked for
_COMPARED = 8  # normals that show whether the score of one depends on the others


class PyODDetector(FeaturesDetector):
    """A detector of PyOD on the vectors of `features`: fitted, kept and loaded as these are.

    A class is made of it for each detector of PyOD; see `detector_of`.
    """

    name: ClassVar[str]
    kind: ClassVar[Any]

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where the layer is none; PyOD says in the trial what else is wrong."""
        FeaturesDetector.check({**params, "kind": _ANY_KIND}, architecture, training)

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Refused: the vectors are means over the whole image."""
        raise SpecError(f"maps: the detector {self.name} gives one score an image and no maps")

    def outlier_model(self) -> OutlierModel:
        """PyOD's, with the seed and the device of the setup."""
        arguments = constructor_arguments(self.kind, self.setup.params)
        accepted = inspect.signature(self.kind).parameters
        arguments |= {seed: self.setup.seed for seed in _SEEDS if seed in accepted}
        if "device" in accepted:
            arguments["device"] = self.setup.device
        with quiet(), seeded(self.setup.seed):
            return PyODModel(self.name, self.kind(**arguments), self.setup.seed)


class PyODModel:
    """A detector of PyOD as one of our outlier models.

    Args:
        name: of the detector.
        model: not fitted yet.
        seed: of whatever it draws.
    """

    def __init__(self, name: str, model: Any, seed: int) -> None:
        self.name = name
        self.model = model
        self.seed = seed
        self.one_by_one = False

    def fit(self, normals: Matrix) -> None:
        """Fit on `(n, C)`, for as long as the detector's own parameters say."""
        with quiet(), seeded(self.seed):
            self.model.fit(normals)
        some = normals[:_COMPARED]
        self.one_by_one = not np.allclose(self._decisions(some)[:1], self._decisions(some[:1]))

    def score(self, vectors: Matrix) -> Matrix:
        """PyOD's `decision_function`, `(m,)`.

        ECOD, COPOD and others rank a vector among those that they are called with. They are called
        with one at a time, so that the score of an image does not depend on its company.
        """
        if not self.one_by_one:
            return self._decisions(vectors)
        return np.concatenate([np.empty(0), *(self._decisions(row[None]) for row in vectors)])

    def network(self) -> nn.Module:
        """Refused: PyOD's detectors are no networks."""
        raise SpecError(f"export: the detector {self.name} is no network; use hpsearch predict")

    def _decisions(self, vectors: Matrix) -> Matrix:
        if not len(vectors):
            return np.empty(0)
        with quiet(), seeded(self.seed):
            return np.asarray(self.model.decision_function(vectors), dtype=np.float64).reshape(-1)


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
    of_vectors = {axis: axes for axis, axes in FeaturesDetector.axes.items() if axis != "kind"}
    axes = {**of_vectors, **constructor_axes(kind, without=_NOT_SEARCHED)}
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
