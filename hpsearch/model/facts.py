"""`model.json`: everything about a trained model that is not a tensor.

The facts of a model, from the task that trained it.
"""

import json
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hpsearch.config.space import Params, preprocessing_of, statistics_in_words
from hpsearch.config.spec import AxisValue
from hpsearch.datasets.pixels import Fit, Preprocessing
from hpsearch.datasets.window import Window, as_window

if TYPE_CHECKING:  # these import torch, which a command that only reads need not wait for
    from hpsearch.detectors.backbones.backbone import Backbone
    from hpsearch.search.task import Task


Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # SHA-256


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PreprocessingFacts(_Facts):
    """What is done to an image before the detector sees it, in this order."""

    window: Annotated[Window, BeforeValidator(as_window)] | None = None  # of more than 8 bits
    greyscale: bool
    equalize: bool
    central_crop: float = Field(gt=0, le=1)  # kept fraction of the side
    fit: Fit = "crop"  # how an image that is not square becomes one; older models do not say
    size: int = Field(ge=8, le=10_240)  # px, side of the square that it is resized to
    resolution: int = Field(ge=8, le=1024)  # px, side of the central part that is scored
    channels: Literal[1, 3]

    @property
    def steps(self) -> Preprocessing:
        """The same as `hpsearch.datasets.pixels.preprocess` takes it."""
        return Preprocessing(self.size, self.greyscale, self.equalize, self.central_crop, self.fit)


class BackboneFacts(_Facts):
    """The frozen network, found by its name, and the values that its weights must have."""

    name: str
    digest: Digest
    statistics: str | None = None  # over which images those of its channels are; older: not said


class Calibration(_Facts):
    """From which score on an image is called anomalous, by normals that were held out.

    Split-conformal; see `hpsearch.evaluation`.
    """

    rate: float = Field(gt=0, lt=1)  # share of normal images that may be called anomalous
    threshold: float  # scores above it are
    bound: float = Field(ge=0, le=1)  # upper 95 % bound of the rate, given these normals
    n: int = Field(ge=1)
    scores: tuple[float, ...]  # of the held-out normals, ascending

    @model_validator(mode="after")
    def _is_consistent(self) -> "Calibration":
        if len(self.scores) != self.n or list(self.scores) != sorted(self.scores):
            raise ValueError("scores must be n numbers in ascending order")
        return self


class Provenance(_Facts):
    """Where the model came from; nothing of it is needed to use it."""

    study: str
    trial: int | None = None
    task: str = ""  # digest of its training
    steps: int | None = None
    dataset: str = ""
    data_fingerprint: str = ""
    test_auroc: float | None = None
    test_auroc_interval: tuple[float, float] | None = None  # 95 %
    versions: dict[str, str] = {}


class ModelFacts(_Facts):
    """A trained model but for its tensors.

    The configuration decides the architecture, the layers and the losses; `files` names what the
    detector saved, with its SHA-256.
    """

    format: Literal["hpsearch model 1"] = "hpsearch model 1"
    detector: str
    params: dict[str, AxisValue]
    seed: int
    preprocessing: PreprocessingFacts
    backbone: BackboneFacts
    provenance: Provenance
    calibration: Calibration | None = None
    files: dict[str, Digest] = {}

    def to_json(self) -> str:
        """Text from which `model_validate_json` makes the same."""
        return json.dumps(self.model_dump(mode="json"), indent=1)


def model_facts(
    task: "Task",
    *,
    backbone: "Backbone",
    channels: int,
    window: Window | None,
    provenance: Provenance,
) -> ModelFacts:
    """What the bundle of a trained task says beside its tensors.

    Args:
        task: that trained the model.
        backbone: the frozen network.
        channels: of the stored pixels, 1 or 3.
        window: through which files of more than 8 bits were seen.
        provenance: where the model came from.
    """
    return ModelFacts(
        detector=task.detector,
        params=dict(task.params),
        seed=task.seed,
        preprocessing=preprocessing_facts(task.params, channels=channels, window=window),
        backbone=BackboneFacts(
            name=backbone.architecture.name,
            digest=task.backbone_digest,
            statistics=statistics_in_words(task.params, backbone.statistics_source),
        ),
        provenance=provenance,
    )


def preprocessing_facts(
    params: Params, *, channels: int, window: Window | None = None
) -> PreprocessingFacts:
    """The preprocessing of a configuration, for images that are stored with `channels`.

    Raises:
        SpecError: a value out of its range.
    """
    steps = preprocessing_of(params)
    return PreprocessingFacts(
        window=window,
        greyscale=steps.greyscale,
        equalize=steps.equalize,
        central_crop=steps.central_crop,
        fit=steps.fit,
        size=steps.size,
        resolution=int(params["resolution"]),
        channels=1 if channels == 1 else 3,
    )
