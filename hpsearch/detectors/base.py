"""What the search asks of a detector, and how one is found by its name.

What a detector returns is checked, for it may come with a package that nobody here has seen.
"""

import math
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from dpa_core.errors import ConfigError
from dpa_core.features import Architecture
from hpsearch.config.space import Params, layers_of
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone
from hpsearch.errors import HpsearchError, SpecError, TaskError
from hpsearch.io.faults import failure_of

BUILT_IN: Mapping[str, str] = {
    "dpa": "hpsearch.detectors.dpa:PerceptualAutoencoder",
    "features": "hpsearch.detectors.pooled_features:FeaturesDetector",
    "patch": "hpsearch.detectors.patch:PatchDetector",
    "few": "hpsearch.detectors.few:FewLabelsDetector",
}
"""Our detectors: where the class of each name is, which is imported when it is asked for."""

FAMILIES: Mapping[str, str] = {
    "anomalib:MODEL": "hpsearch.detectors.anomalib_models:detector_of",
    "pyod:CLASS": "hpsearch.detectors.pyod_models:detector_of",
}
"""Detectors of other libraries: what makes the class of each from its name after the colon."""

PLUG_INS = "hpsearch.detectors"
"""The entry point group in which other packages register theirs."""

CURVE_COLUMNS = ("step", "train_loss", "held_out_loss", "seconds")
_CURVE = {column: "int64" if column == "step" else "float64" for column in CURVE_COLUMNS}


@dataclass(frozen=True, eq=False)
class ImageView:
    """Some images of one stored variant, read only when asked for.

    Attributes:
        pixels: uint8 `(N, S, S, C)`, usually a memory map.
        positions: `(n,)` rows of `pixels`.
        key: tells this variant's pixels from any other's; None for images that come once, of which
            no cache keeps anything.
    """

    pixels: NDArray[np.uint8]
    positions: NDArray[np.intp]
    key: str | None

    def __len__(self) -> int:
        return len(self.positions)

    def array(self) -> NDArray[np.uint8]:
        """The images in memory, `(n, S, S, C)`."""
        return np.asarray(self.pixels[self.positions])


@dataclass(frozen=True, eq=False)
class LabelledView:
    """Labelled anomalies that a training may see.

    Attributes:
        images: the anomalies.
        groups: slide, patient or object of each.
        types: of each.
    """

    images: ImageView
    groups: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Setup:
    """All that a detector is built from.

    Attributes:
        params: its configuration.
        training: how it is trained.
        backbone: the frozen network.
        normals: every training normal of the study, for statistics; none to load a model.
        seed: of everything random.
        device: as torch names it.
        cache_dir: folder that keeps what can be computed again.
        labelled: anomalies to train on; None for every detector that does not say
            `trains_on_labels`, and to load a model.
    """

    params: Params
    training: TrainingSpec
    backbone: Backbone
    normals: ImageView
    seed: int
    device: str
    cache_dir: Path
    labelled: LabelledView | None = None


@dataclass(frozen=True, eq=False)
class Training:
    """How a training went.

    Attributes:
        best_step: the step whose weights were kept; 0 for a detector without steps.
        best_loss: on the images held out for early stopping, None where there were none.
        curve: one row a validation, columns `CURVE_COLUMNS`.
        notes: what was out of the ordinary, a line each.
    """

    best_step: int
    best_loss: float | None
    curve: pd.DataFrame
    notes: tuple[str, ...] = ()

    @classmethod
    def without_curve(cls, steps: int = 0) -> "Training":
        """Of a detector that is not validated on the way."""
        return cls(steps, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))


class Detector(Protocol):
    """Fitted on normal images; scores rise with abnormality.

    What a detector may have beside what stands here: `layer_axes(architecture)`, the choices of
    axes that name layers of a network; `canonical(params)`, the configuration that stands for all
    that cannot differ from it; `cost`, what scoring an image costs relative to others; and
    `trains_on_labels`, True where it is fitted on the anomalies `Setup.labelled` too. No other
    detector is given these.
    """

    axes: ClassVar[Mapping[str, AxisChoices]]
    """The axes that it adds to the search space, with the choices where a study names none."""

    def __init__(self, setup: Setup) -> None: ...

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built or trained."""

    @staticmethod
    def size(params: Params) -> float | None:
        """How many numbers an image is squeezed into; None for a detector without a bottleneck."""

    def fit(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        *,
        max_steps: int,
        checkpoints: Path | None = None,
    ) -> Training:
        """Train on `train`; stop early by `early_stop`, or take `max_steps` where it is None.

        Raises:
            TaskError: the training failed for a reason worth recording.
        """

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """Anomaly scores `(n,)`."""

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Where in each image the score comes from, `(n, R, R)` with R the `resolution` in px.

        Raises:
            SpecError: the detector gives one score an image and no maps.
        """

    def graph(self) -> nn.Module:
        """The score as one network on the CPU: uint8 `(N, S, S, C)` to `(N,)`.

        Raises:
            SpecError: what was fitted is no network.
        """

    def save(self, folder: Path) -> None:
        """Write what was fitted into a new folder; nothing in it can run code."""

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "Detector":
        """The fitted detector again: what `save` wrote, in the setup of its training.

        Raises:
            WeightsError: the files are damaged, or are not of this configuration.
        """


def detector_names() -> tuple[str, ...]:
    """Names of the detectors that there are: this project's, and those of plug-ins."""
    return tuple(sorted({*BUILT_IN, *entry_points(group=PLUG_INS).names}))


def is_of_family(name: str) -> bool:
    """Whether a name is that of a detector of another library, such as `pyod:LOF`."""
    return name.partition(":")[0] in {family.partition(":")[0] for family in FAMILIES}


def load_detector(name: str) -> type[Detector]:
    """The class of a detector of ours, of another library, or of a package that registers one.

    Raises:
        SpecError: there is none of that name, or it cannot be imported, or another package
            registers one under a name of ours.
    """
    for family, place in FAMILIES.items():
        prefix = family.partition(":")[0] + ":"
        if name.startswith(prefix):
            module, function = place.split(":")
            of_family: type[Detector] = getattr(import_module(module), function)(
                name.removeprefix(prefix)
            )
            return of_family
    plug_ins = _plug_ins(name, tuple(sys.path))
    if name in BUILT_IN:
        if plug_ins:
            raise SpecError(
                f"detector {name!r}: {plug_ins[0].value} has taken the name of a detector of "
                "hpsearch; rename it, or uninstall its package"
            )
        module, class_name = BUILT_IN[name].split(":")
        ours: type[Detector] = getattr(import_module(module), class_name)
        return ours
    if not plug_ins:
        raise SpecError(
            f"detector {name!r}: none of that name; choose "
            f"{', '.join((*detector_names(), *FAMILIES))}"
        )
    with faults_of(name, "module"):
        theirs: type[Detector] = plug_ins[0].load()
    return theirs


@lru_cache
def _plug_ins(name: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Detectors of a name that packages register; they are found by `path`, in milliseconds."""
    return tuple(
        found
        for found in entry_points(group=PLUG_INS, name=name)
        if found.dist is None or found.dist.name != "hpsearch"  # as it was installed before
    )


def axes_of(name: str, architecture: Architecture) -> Mapping[str, AxisChoices]:
    """The axes of a detector, with the choices where a study names none, on a network.

    Raises:
        SpecError: the detector cannot say.
    """
    detector = load_detector(name)
    with faults_of(name, "axes"):
        of_layers = getattr(detector, "layer_axes", None)
        return {**detector.axes, **(of_layers(architecture) if of_layers else {})}


def canonical_of(name: str, params: Params) -> Params:
    """The configuration of a detector that stands for all that cannot differ from it.

    Raises:
        SpecError: the detector cannot say.
    """
    detector = load_detector(name)
    with faults_of(name, "canonical"):
        canonical = getattr(detector, "canonical", None)
        return canonical(params) if canonical else params


def cost_of(name: str, params: Params) -> float:
    """What scoring an image costs by a configuration, relative to others.

    Raises:
        SpecError: the detector cannot say.
    """
    detector = load_detector(name)
    with faults_of(name, "cost"):
        return float(getattr(detector, "cost", 1.0)) * float(params["resolution"]) ** 2


def size_of(name: str, params: Params) -> float | None:
    """How many numbers a configuration of a detector squeezes an image into, None for no such.

    Raises:
        SpecError: the detector cannot say.
    """
    detector = load_detector(name)
    with faults_of(name, "size"):
        size = detector.size(params)
        return None if size is None else float(size)


def trains_on_labels(name: str) -> bool:
    """Whether a detector is fitted on labelled anomalies too.

    Raises:
        SpecError: as `load_detector`.
    """
    return bool(getattr(load_detector(name), "trains_on_labels", False))


def require_choice(axis: str, value: object, choices: Collection[str]) -> None:
    """Refuse a value of an axis that is none of its choices.

    Raises:
        SpecError: in one line, with the choices.
    """
    if value not in choices:
        raise SpecError(f"space: {axis} must be one of {', '.join(choices)}, got {value!r:.40}")


def require_layers(params: Params, architecture: Architecture) -> None:
    """Refuse layers that a network does not have, or that an image is too small for.

    Raises:
        SpecError: in one line, with the layers that there are, or the least side.
    """
    resolution = int(params["resolution"])
    for layer in layers_of(params):
        try:
            least = architecture.smallest_image(layer)
        except ConfigError as error:
            raise SpecError(f"space: {error}") from None
        if resolution < least:
            raise SpecError(
                f"space: layer {layer} needs images of {least} px or more, got {resolution} px"
            )


@contextmanager
def faults_of(name: str, part: str) -> Iterator[None]:
    """Blame whatever a part of a detector raises on the detector: it may be of another package.

    Raises:
        SpecError: in one line, for anything but an error of this toolkit.
    """
    try:
        yield
    except HpsearchError:
        raise
    except Exception as error:
        raise SpecError(
            f"detector {name}: its {part} raised {failure_of(error).message}; mend the detector, "
            "or choose another"
        ) from error


def checked_scores(found: object, n: int) -> NDArray[np.float64]:
    """Scores `(n,)` of n images, in double precision, as they are read back from a result.

    Raises:
        TaskError: they are no array of that many floats, or not all are finite.
    """
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f" or found.shape != (n,):
        raise TaskError("bad_output", f"score returned {_kind(found)}, not {n} floats ({n},)")
    scores = found.astype(np.float64)
    if not np.isfinite(scores).all():
        raise TaskError("non_finite", f"{(~np.isfinite(scores)).sum()} scores are not finite")
    return scores


def checked_training(found: object) -> Training:
    """How a training went, as plain numbers.

    Raises:
        TaskError: it is no `Training`, or one of its fields is not what it says.
    """
    if not isinstance(found, Training):
        raise TaskError("bad_output", f"fit returned {_kind(found)}, not a Training")
    try:
        step = int(found.best_step)
        loss = None if found.best_loss is None else float(found.best_loss)
        curve = found.curve[list(CURVE_COLUMNS)].astype(_CURVE)
        notes = tuple(map(str, found.notes))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise TaskError("bad_output", f"fit returned a Training that is none: {error}") from error
    if loss is not None and not math.isfinite(loss):
        raise TaskError("non_finite", f"best_loss is {loss}")
    return Training(step, loss, curve, notes)


def _kind(found: object) -> str:
    if isinstance(found, np.ndarray):
        return f"an array of {found.dtype} {found.shape}"
    if isinstance(found, pd.DataFrame | pd.Series):
        return f"a {type(found).__name__} {found.shape}"
    return "None" if found is None else f"a {type(found).__name__}"
