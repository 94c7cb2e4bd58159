"""A trained model in memory: scores, p-values, flags and maps of images."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hpsearch.config.space import network_of
from hpsearch.config.spec import AxisValue, TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.base import Detector, ImageView, Setup, faults_of, load_detector
from hpsearch.errors import SpecError, WeightsError
from hpsearch.evaluation.averaging import averaged_scores
from hpsearch.evaluation.threshold import conformal_p_values
from hpsearch.io.text import printable
from hpsearch.model.bundle import (
    AverageFacts,
    Calibration,
    ModelFacts,
    member_folders,
    read_bundle,
)
from hpsearch.model.images import Images, PreprocessingFacts, Seen, chunks_as_seen


class AnyModel(ABC):
    """A trained model, of one detector or of several; scores rise with abnormality.

    Attributes:
        facts: of the bundle that it was read from.

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

    facts: ModelFacts | AverageFacts

    @property
    @abstractmethod
    def preprocessings(self) -> tuple[PreprocessingFacts, ...]:
        """What is done to an image, each way once; all have one window."""

    @property
    def mapped(self) -> int:
        """The number of the preprocessing whose central part the maps cover."""
        return 0

    @property
    def maps_in_words(self) -> str | None:
        """Of which detectors the maps are, where they are not of all."""
        return None

    def score(self, images: Images) -> NDArray[np.float64]:
        """Anomaly scores `(N,)`.

        Args:
            images: uint8 `(N, H, W, 1 or 3)`, or a list of files, Pillow images and arrays of any
                sizes.

        Raises:
            DataError: an image cannot be read.
        """
        parts = [self.score_seen(seen) for seen in chunks_as_seen(images, self.preprocessings)]
        return np.concatenate(parts) if parts else np.empty(0)

    def maps(self, images: Images) -> NDArray[np.float32]:
        """Where the scores come from: `(N, R, R)` of the central part that is scored, R px a side.

        Args: as of `score`. All maps are held in memory.

        Raises:
            DataError: an image cannot be read.
            SpecError: the detector has no maps.
        """
        parts = [self.maps_seen(seen) for seen in chunks_as_seen(images, self.preprocessings)]
        side = self.preprocessings[self.mapped].resolution
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

    @abstractmethod
    def score_seen(self, seen: Seen) -> NDArray[np.float64]:
        """Scores `(n,)` of images after each of `preprocessings`."""

    @abstractmethod
    def maps_seen(self, seen: Seen) -> NDArray[np.float32]:
        """Maps `(n, R, R)` of images after each of `preprocessings`.

        Raises:
            SpecError: the detector has no maps.
        """

    @property
    def _calibration(self) -> Calibration:
        if self.facts.calibration is None:
            raise SpecError(
                "model: holds no calibration, so no p-values and no threshold; "
                "use the scores, or train it again with normals held out"
            )
        return self.facts.calibration


@dataclass(frozen=True, eq=False)
class Model(AnyModel):
    """One trained detector with its preprocessing.

    Attributes:
        facts: of the bundle that it was read from.
        detector: fitted.
    """

    facts: ModelFacts
    detector: Detector

    @property
    def preprocessings(self) -> tuple[PreprocessingFacts, ...]:
        """The one that it has."""
        return (self.facts.preprocessing,)

    def score_seen(self, seen: Seen) -> NDArray[np.float64]:
        """Scores `(n,)`."""
        (pixels,) = seen
        return self.detector.score(_view(pixels)) if len(pixels) else np.empty(0)

    def maps_seen(self, seen: Seen) -> NDArray[np.float32]:
        """Maps `(n, R, R)`."""
        (pixels,) = seen
        return self.detector.maps(_view(pixels))


@dataclass(frozen=True, eq=False)
class AverageModel(AnyModel):
    """The weighted average of several models, each score in units of its held-out normals.

    A map is the average of theirs in the units of their scores: 0 where a place is as a normal
    image is as a whole. Those without maps are left out, and so are those that see another part of
    an image than the first with maps; the others are resized to the largest.

    Attributes:
        facts: of the bundle that it was read from.
        members: the models.
    """

    facts: AverageFacts
    members: tuple[Model, ...]

    @cached_property
    def preprocessings(self) -> tuple[PreprocessingFacts, ...]:
        """Those of the members."""
        return tuple(dict.fromkeys(member.facts.preprocessing for member in self.members))

    @cached_property
    def with_maps(self) -> tuple[int, ...]:
        """Numbers of the members of whose maps the average's are made."""
        found = []
        for number, member in enumerate(self.members):
            try:
                member.maps_seen([np.empty((0, *member.facts.preprocessing.shape), np.uint8)])
            except SpecError:
                continue
            found.append(number)
        parts = [_part_seen(self.members[number].facts.preprocessing) for number in found]
        return tuple(n for n, part in zip(found, parts, strict=True) if part == parts[0])

    @property
    def mapped(self) -> int:
        """That of the largest maps; the first where there are no maps."""
        hows = [self.members[number].facts.preprocessing for number in self.with_maps]
        largest = max(hows, key=lambda how: how.resolution, default=self.preprocessings[0])
        return self.preprocessings.index(largest)

    @property
    def maps_in_words(self) -> str | None:
        """Of which detectors the maps are, where they are not of all."""
        n_with, n = len(self.with_maps), len(self.members)
        if n_with in (0, n):
            return None
        names = ", ".join(dict.fromkeys(self.members[k].facts.detector for k in self.with_maps))
        return f"maps are of {n_with} of the {n} detectors ({names}); the others give none that fit"

    def score_seen(self, seen: Seen) -> NDArray[np.float64]:
        """Scores `(n,)`."""
        scores = [member.score_seen(self._of(member, seen)) for member in self.members]
        return averaged_scores(scores, [member.part for member in self.facts.members])

    def maps_seen(self, seen: Seen) -> NDArray[np.float32]:
        """Maps `(n, R, R)`."""
        if not self.with_maps:
            raise SpecError("maps: none of the detectors of this average has maps")
        side = self.preprocessings[self.mapped].resolution
        parts = [self.facts.members[number].part for number in self.with_maps]
        maps = [
            _resized(self.members[number].maps_seen(self._of(self.members[number], seen)), side)
            for number in self.with_maps
        ]
        average = averaged_scores(maps, parts) / sum(part.weight for part in parts)
        return average.astype(np.float32)

    def _of(self, member: Model, seen: Seen) -> Seen:
        return [seen[self.preprocessings.index(member.facts.preprocessing)]]


def _part_seen(how: PreprocessingFacts) -> tuple[object, ...]:
    """What of an image a detector's maps cover."""
    steps = how.steps
    return steps.fit, steps.central_crop, round(how.resolution / steps.size, 2)


def _resized(maps: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Maps `(n, side, side)` of any square ones."""
    given = torch.from_numpy(maps.astype(np.float64))[:, None]
    if given.shape[-1] == side or not len(given):
        return given[:, 0].numpy().reshape(-1, side, side)
    resized = torch.nn.functional.interpolate(given, size=(side, side), mode="bilinear")
    return resized[:, 0].numpy()


def load_model(
    folder: Path, *, device: str = "auto", backbone_weights: Path | None = None
) -> AnyModel:
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
    if isinstance(facts, AverageFacts):
        return _load_average(folder, facts, device=device, backbone_weights=backbone_weights)
    return _load_detector(folder, facts, device=device, backbone_weights=backbone_weights)


def _load_average(
    folder: Path, facts: AverageFacts, *, device: str, backbone_weights: Path | None
) -> AverageModel:
    members = []
    for member in member_folders(folder, facts):
        of_member = read_bundle(member)
        assert isinstance(of_member, ModelFacts)  # as was checked with the whole bundle
        members.append(
            _load_detector(member, of_member, device=device, backbone_weights=backbone_weights)
        )
    return AverageModel(facts, tuple(members))


def _load_detector(
    folder: Path, facts: ModelFacts, *, device: str, backbone_weights: Path | None
) -> Model:
    detector = load_detector(facts.detector)
    # A file is of the study's network; one that a configuration names is in the usual place.
    own_network = network_of(facts.params) is None
    weights_file = backbone_weights if own_network else None
    backbone = load_backbone(facts.backbone.name, weights_file=weights_file)
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
