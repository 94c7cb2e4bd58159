"""What the search asks of a detector, and how one is found by its name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from dpa_core.features import VGGArchitecture
from hpsearch.backbones.backbone import Backbone
from hpsearch.errors import HpsearchError, SpecError
from hpsearch.failures import failure_of
from hpsearch.space import Params
from hpsearch.spec import AxisChoices, TrainingSpec

_GROUP = "hpsearch.detectors"

CURVE_COLUMNS = ("step", "train_loss", "held_out_loss", "seconds")


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
class Setup:
    """All that a detector is built from."""

    params: Params
    training: TrainingSpec
    backbone: Backbone
    normals: ImageView  # every training normal of the study, for statistics; none to load a model
    seed: int
    device: str
    cache_dir: Path


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


class Detector(Protocol):
    """Fitted on normal images alone; scores rise with abnormality."""

    axes: ClassVar[Mapping[str, AxisChoices]]
    """The axes that it adds to the search space, with the choices where a study names none."""

    def __init__(self, setup: Setup) -> None: ...

    @staticmethod
    def check(params: Params, architecture: VGGArchitecture, training: TrainingSpec) -> None:
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
    """Names of the installed detectors, this project's and plug-ins'."""
    return tuple(sorted(entry_points(group=_GROUP).names))


def load_detector(name: str) -> type[Detector]:
    """The detector class registered under `name` in the entry point group `hpsearch.detectors`.

    Raises:
        SpecError: there is none of that name, or it cannot be imported.
    """
    found = entry_points(group=_GROUP, name=name)
    if not found:
        raise SpecError(
            f"detector {name!r}: none of that name; choose {', '.join(detector_names())}"
        )
    with faults_of(name, "module"):
        detector: type[Detector] = next(iter(found)).load()
    return detector


def size_of(name: str, params: Params) -> float | None:
    """How many numbers a configuration of a detector squeezes an image into, None for no such.

    Raises:
        SpecError: the detector cannot say.
    """
    detector = load_detector(name)
    with faults_of(name, "size"):
        size = detector.size(params)
        return None if size is None else float(size)


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
