"""A trained model in memory: scores, p-values, flags and maps of images."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hpsearch.config.spec import AxisValue, TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.base import Detector, ImageView, Setup, faults_of, load_detector
from hpsearch.errors import SpecError, WeightsError
from hpsearch.evaluation.threshold import conformal_p_values
from hpsearch.io.text import printable
from hpsearch.model.bundle import Calibration, ModelFacts, read_bundle
from hpsearch.model.images import Images, chunks_as_seen


@dataclass(frozen=True, eq=False)
class Model:
    """A trained detector with its preprocessing; scores rise with abnormality.

    Attributes:
        facts: of the bundle that it was read from.
        detector: fitted.

    Example:
        >>> import hpsearch
        >>> model = hpsearch.load("model")
        >>> scores = model.score(["normal.png", "striped.png"])
        >>> bool(scores[1] > scores[0])
        True
        >>> model.is_anomaly(scores).tolist()
        [False, True]
        >>> model.maps(["striped.png"]).shape
        (1, 16, 16)
    """

    facts: ModelFacts
    detector: Detector

    def score(self, images: Images) -> NDArray[np.float64]:
        """Anomaly scores `(N,)`.

        Args:
            images: uint8 `(N, H, W, 1 or 3)`, or a list of files, Pillow images and arrays of any
                sizes.

        Raises:
            DataError: an image cannot be read.
        """
        parts = [self.score_seen(seen) for seen in chunks_as_seen(images, self.facts.preprocessing)]
        return np.concatenate(parts) if parts else np.empty(0)

    def maps(self, images: Images) -> NDArray[np.float32]:
        """Where the scores come from: `(N, R, R)` of the central part that is scored, R px a side.

        Args: as of `score`. All maps are held in memory.

        Raises:
            DataError: an image cannot be read.
            SpecError: the detector has no maps.
        """
        parts = [self.maps_seen(seen) for seen in chunks_as_seen(images, self.facts.preprocessing)]
        side = self.facts.preprocessing.resolution
        return np.concatenate(parts) if parts else np.empty((0, side, side), np.float32)

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Conformal p-values: the share of held-out normals that score as high, of each score.

        Raises:
            SpecError: the model holds no calibration.
        """
        return conformal_p_values(scores, self._calibration.scores)

    def is_anomaly(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether each score is above the threshold that was set for a rate of false alarms.

        Raises:
            SpecError: the model holds no calibration.
        """
        above: NDArray[np.bool_] = np.asarray(scores) > self._calibration.threshold
        return above

    def score_seen(self, seen: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Scores `(n,)` of preprocessed pixels `(n, size, size, channels)`."""
        return self.detector.score(_view(seen)) if len(seen) else np.empty(0)

    def maps_seen(self, seen: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps `(n, R, R)` of preprocessed pixels `(n, size, size, channels)`."""
        return self.detector.maps(_view(seen))

    @property
    def _calibration(self) -> Calibration:
        if self.facts.calibration is None:
            raise SpecError(
                "model: holds no calibration, so no p-values and no threshold; "
                "use the scores, or train it again with normals held out"
            )
        return self.facts.calibration


def load_model(
    folder: Path, *, device: str = "auto", backbone_weights: Path | None = None
) -> Model:
    """The model of a bundle; no study is needed.

    Args:
        folder: of the bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        backbone_weights: file of the frozen network's weights, where they are not in the usual
            place. Their values must be those that the model was trained with.

    Raises:
        WeightsError: the bundle is damaged, or the backbone's weights are missing or others.
        SpecError: the detector is not installed, its configuration is impossible, or there is no
            such device.
    """
    facts = read_bundle(folder)
    detector = load_detector(facts.detector)
    backbone = load_backbone(facts.backbone.name, weights_file=backbone_weights)
    if backbone.digest != facts.backbone.digest:
        raise WeightsError(
            printable(
                f"backbone {facts.backbone.name} from {backbone.source}: not the weights that the "
                f"model was trained with (sha256 {backbone.digest[:12]}…, needed "
                f"{facts.backbone.digest[:12]}…); give their file as --backbone-weights "
                "(backbone_weights=)"
            )
        )
    how = facts.preprocessing
    _check(folder, facts, detector, backbone)
    setup = Setup(
        params=facts.params,
        training=TrainingSpec(),
        backbone=backbone,
        normals=_view(np.empty((0, *how.shape), np.uint8)),
        seed=facts.seed,
        device=usable_device(device),
        cache_dir=Path(os.devnull),  # a model that is only used keeps nothing
    )
    with faults_of(facts.detector, "load"):
        return Model(facts, detector.load(folder, setup))


def usable_device(device: str) -> str:
    """A device that torch can use: `auto` is the first GPU, or the CPU where there is none.

    Raises:
        SpecError: another name, or a GPU that is not there.
    """
    found = torch.cuda.device_count()
    if device == "auto":
        return "cuda:0" if found else "cpu"
    known = ["cpu", *(["cuda"] if found else []), *(f"cuda:{number}" for number in range(found))]
    if device not in known:
        raise SpecError(f"device {device!r:.40}: must be one of auto, {', '.join(known)}")
    return device


def _check(folder: Path, facts: ModelFacts, detector: type[Detector], backbone: Backbone) -> None:
    """Refuse a configuration that its detector cannot have, before anything is built from it."""
    params: Mapping[str, AxisValue] = facts.params
    try:
        if params["resolution"] != facts.preprocessing.resolution:
            raise SpecError("resolution is another one in the preprocessing")
        detector.check(params, backbone.architecture, TrainingSpec(max_steps=10**9))
    except (SpecError, KeyError, ValueError, TypeError, OverflowError) as error:
        what = f"lacks the setting {error}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            printable(f"model {folder}: its configuration: {what:.300}; train it again")
        ) from error


def _view(pixels: NDArray[np.uint8]) -> ImageView:
    return ImageView(pixels, np.arange(len(pixels)), key=None)
