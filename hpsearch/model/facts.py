"""`model.json`: everything about a trained model that is not a tensor."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hpsearch.datasets.pixels import Fit, Preprocessing
from hpsearch.datasets.window import Window, as_window
from hpsearch.spec import AxisValue

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

    Split-conformal; see `hpsearch.selection`.
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
