"""The Deep Perceptual Autoencoder as a detector: bottleneck, VGG layers, losses and growing.

A study writes losses and layers as text: `r32+0.5*r42` is a weighted sum, and `8:r12 16:r22
64:r32+r42` says which one holds from which resolution (px) on. Learning rate and batch, where a
study names none, are the authors'.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import CheckpointError, ConfigError, DivergedError
from dpa_core.features import Architecture, LayerStatistics
from dpa_core.fit import Fitted, fit, require_time_to_grow
from dpa_core.growth import schedule_of
from dpa_core.loss import ReconstructionLoss
from dpa_core.score import MEAN, POOLS, Scorer, maps, score
from hpsearch.config.space import AXIS, NATURAL, OWN, Params
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.backbones.statistics import (
    cached_statistics,
    compute_statistics,
    natural_statistics,
)
from hpsearch.detectors.backbones.weight_files import (
    statistics_forms,
    statistics_of,
    statistics_tensors,
)
from hpsearch.detectors.base import CURVE_COLUMNS, ImageView, Setup, Training
from hpsearch.detectors.saved_tensors import (
    damaged,
    forms_of,
    load_tensors,
    save_tensors,
    saved_forms,
)
from hpsearch.errors import SpecError, TaskError
from hpsearch.io.files import remove

# Adam's rates by `latent_dim`, and batches, of the authors' configurations (studies/published.csv).
_RATES_AT_32_PX = {8: 1e-2, 16: 5e-3, 32: 2e-3, 64: 1e-3, 256: 2e-4}  # vectors
_RATES_AT_64_PX = {16: 2e-3, 64: 5e-4}  # vectors and 4x4 maps
_RATES_OF_GROWING = {16: 1e-3, 64: 5e-4}  # the same while the network grows
_RATES_OF_MAPS = {4: 1e-3, 32: 2e-4, 64: 1e-4}  # 8x8 and 16x16
_RATE_WITH_CRITIC = 2e-4  # of both networks, whatever the bottleneck
_BATCH, _BATCH_OF_WIDE, _BATCH_WITH_CRITIC = 128, 56, 32
_WIDE = 64  # channels, of a network that goes down to 4 px from 64 px or more

_TERM = re.compile(r"(?:(?P<weight>[0-9.]+(?:e-?[0-9]+)?)\*)?(?P<name>[a-z][a-z0-9_]*)")
_LEAST, _MOST = 1e-6, 1e6  # beyond it a sum in single precision is one of its terms alone
_ENTRY = re.compile(r"(?P<resolution>[1-9][0-9]{0,4}):(?P<sum>\S+)")

_LOSSES = ("perceptual", "l1", "adversarial")
_FEWEST_CHECKS = 4  # validations of a training at full size
_AUTOENCODER = "autoencoder."  # before the names of its weights


class PerceptualAutoencoder:
    """Reconstruction of VGG features by an autoencoder with a narrow bottleneck (paper, Fig. 2)."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "latent_dim": (4, 16, 64),
        "latent_res": (1, 8),
        "layers": ("r32", "r42"),  # or a schedule such as `8:r12 16:r22 32:r32 64:r42`
        "loss": ("perceptual",),  # or a weighted sum such as `perceptual+0.1*l1+0.1*adversarial`
        "start_resolution": (0,),  # px at which growing begins; 0: it does not grow
        "steps_per_phase": (20_000,),  # of each transition and each stabilisation while growing
        AXIS: (NATURAL,),  # of the channels, over natural images (paper), or `own`
        "pool": (MEAN,),  # of the errors in an image (paper), or the highest of them alone
    }
    cost: ClassVar[float] = 10.0

    def __init__(self, setup: Setup, statistics: LayerStatistics | None = None) -> None:
        """Not fitted yet; `statistics` are those of a saved detector."""
        self.setup = setup
        params = setup.params
        self.network = _network(params, channels=setup.normals.pixels.shape[3])
        config = _loss(params)
        self.statistics = statistics or _statistics(setup, config.every_layer)
        extractor = build_extractor(setup.backbone, config.every_layer, self.statistics)
        extractor.to(setup.device)
        extractor.to(memory_format=torch.channels_last)
        self.loss = ReconstructionLoss(config, extractor)
        self.pool = str(params.get("pool", MEAN))  # models of before the axis
        self.autoencoder: Autoencoder | None = None

    @staticmethod
    def layer_axes(architecture: Architecture) -> Mapping[str, AxisChoices]:
        """The paper's layers of a VGG; of other networks the deepest at their strides, 4 and 8."""
        usual = PerceptualAutoencoder.axes["layers"]
        if set(usual) <= set(architecture.layers):
            return {"layers": usual}
        deepest = {architecture.stride(layer): layer for layer in architecture.layers}
        layers = tuple(deepest[stride] for stride in (4, 8) if stride in deepest)
        return {"layers": layers or architecture.layers[-1:]}

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built or trained."""
        try:
            statistics = params.get(AXIS, OWN)  # models of before the axis hold their own
            if statistics not in (NATURAL, OWN):
                raise ConfigError(f"{AXIS} must be {NATURAL} or {OWN}, got {statistics!r:.40}")
            if (pool := params.get("pool", MEAN)) not in POOLS:
                raise ConfigError(f"pool must be one of {', '.join(POOLS)}, got {pool!r:.40}")
            network, loss = _network(params, channels=3), _loss(params)
            for resolution in network.resolutions:
                for layer in loss.layers_at(resolution):
                    least = architecture.smallest_image(layer)
                    if resolution < least:
                        raise ConfigError(
                            f"layer {layer} needs images of {least} px or more, got {resolution} px"
                        )
            config = _fit_config(params, training, max_steps=training.max_steps)
            require_time_to_grow(network, config)
        except ConfigError as error:
            raise SpecError(f"space: {error}; leave this choice out") from None

    @staticmethod
    def canonical(params: Params) -> Params:
        """The pool of before there was a choice is left out: such trainings are not repeated."""
        return {axis: value for axis, value in params.items() if axis != "pool" or value != MEAN}

    @staticmethod
    def size(params: Params) -> float:
        """Numbers in the bottleneck."""
        return int(params["latent_dim"]) * int(params["latent_res"]) ** 2

    def fit(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        *,
        max_steps: int,
        checkpoints: Path | None = None,
    ) -> Training:
        """Train the autoencoder; see `dpa_core.fit.fit`."""
        try:
            fitted, notes = self._train(train, early_stop, max_steps, checkpoints)
        except DivergedError as error:
            raise TaskError("non_finite", str(error)) from error
        except torch.OutOfMemoryError as error:
            raise TaskError(
                "out_of_memory", f"batch_size too large for {self.setup.device}"
            ) from error
        self.autoencoder = fitted.autoencoder
        curve = pd.DataFrame(
            [asdict(check) for check in fitted.history], columns=list(CURVE_COLUMNS)
        )
        return Training(fitted.best_step, fitted.best_loss, curve, notes)

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """The reconstruction loss of each image, or of where it is highest, `(n,)`."""
        scores = score(self._fitted, self.loss, images.array(), self.pool)
        return scores.astype(np.float64)

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """The reconstruction loss at each pixel of the part that the autoencoder sees."""
        return maps(self._fitted, self.loss, images.array())

    def graph(self) -> nn.Module:
        """Autoencoder, frozen network and loss as one network."""
        return Scorer(self._fitted, self.loss, self.pool)

    def save(self, folder: Path) -> None:
        """Autoencoder and channel statistics; the configuration says how they were shaped."""
        weights = self._fitted.state_dict()
        tensors = {f"{_AUTOENCODER}{key}": value for key, value in weights.items()}
        save_tensors(folder, tensors | statistics_tensors(self.statistics))

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "PerceptualAutoencoder":
        """The fitted detector again, with the statistics that it was trained with.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        network = _network(setup.params, channels=setup.normals.pixels.shape[3])
        network = _as_saved(folder, network)
        layers = _loss(setup.params).every_layer
        forms = forms_of(folder, lambda: Autoencoder(network), prefix=_AUTOENCODER)
        forms |= statistics_forms(setup.backbone.architecture, layers)
        tensors = load_tensors(folder, forms)
        statistics = statistics_of(tensors) or {}
        if not all((std > 0).all() for _, std in statistics.values()):
            raise damaged(folder, "holds a standard deviation that is not above 0")
        detector = cls(setup, statistics)
        autoencoder = Autoencoder(network)
        autoencoder.load_state_dict(
            {
                key.removeprefix(_AUTOENCODER): value
                for key, value in tensors.items()
                if key.startswith(_AUTOENCODER)
            }
        )
        autoencoder.to(setup.device)
        detector.autoencoder = autoencoder.to(memory_format=torch.channels_last).eval()
        return detector

    @property
    def _fitted(self) -> Autoencoder:
        if self.autoencoder is None:
            raise ValueError("the detector is not fitted yet; call fit first")
        return self.autoencoder

    def _train(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        max_steps: int,
        checkpoints: Path | None,
    ) -> tuple[Fitted, tuple[str, ...]]:
        """The training, and a note where its checkpoint was of no use and it began again."""

        config = _fit_config(self.setup.params, self.setup.training, max_steps=max_steps)
        config = replace(config, seed=self.setup.seed)

        def run() -> Fitted:
            return fit(
                self.network,
                config,
                self.loss,
                train.array(),
                held_out=early_stop.array() if early_stop is not None else None,
                checkpoints=checkpoints,
            )

        try:
            return run(), ()
        except CheckpointError as error:
            if checkpoints is None:
                raise
            remove(checkpoints)
            return run(), (f"{error}: it was removed, and the training began again",)


def _network(params: Params, *, channels: int) -> AutoencoderConfig:
    return AutoencoderConfig(
        image_size=int(params["resolution"]),
        channels=channels,
        latent_dim=int(params["latent_dim"]),
        latent_res=int(params["latent_res"]),
        start_resolution=int(params["start_resolution"]) or None,
    )


def _as_saved(folder: Path, network: AutoencoderConfig) -> AutoencoderConfig:
    """The network with the widths of its file: older models grew without a cap on them."""
    entry = saved_forms(folder).get(
        f"{_AUTOENCODER}encoder.from_image.{network.image_size}.0.weight"
    )
    if entry is None or not entry.shape:
        return network
    return replace(network, uncapped=(entry.shape[0] or 0) > network.width(network.image_size))


def _loss(params: Params) -> LossConfig:
    weights = known_weights(str(params["loss"]), _LOSSES)
    return LossConfig(layer_schedule(str(params["layers"])), **weights)


def _fit_config(params: Params, training: TrainingSpec, *, max_steps: int) -> FitConfig:
    network, loss = _network(params, channels=3), _loss(params)
    config = FitConfig(
        learning_rate=training.learning_rate or learning_rate(network, loss),
        batch_size=training.batch_size or batch_size(network, loss),
        max_steps=max_steps,
        steps_per_phase=int(params["steps_per_phase"]),
        patience=training.patience,
        min_improvement=training.min_improvement,
        flips=training.flips,
        feature_cache_bytes=training.feature_cache_mb << 20,
        compile=training.compile,
        precision=training.precision,
    )
    # A training that is capped for a first look is still validated a few times.
    at_full_size = max_steps - schedule_of(network, config).growth_steps
    check_every = min(training.check_every, max(1, at_full_size // _FEWEST_CHECKS))
    return replace(config, check_every=check_every)


def _statistics(setup: Setup, layers: Sequence[str]) -> LayerStatistics:
    """Over natural images, as the paper has it, or over the study's own normal images."""
    if setup.params[AXIS] == NATURAL:
        stored = natural_statistics(setup.backbone)
        return {layer: stored[layer] for layer in layers}
    if setup.normals.key is None:
        return compute_statistics(
            setup.backbone, setup.normals.array(), layers, device=setup.device
        )
    return cached_statistics(
        setup.backbone,
        setup.normals.array(),
        layers,
        data_key=setup.normals.key,
        cache_dir=setup.cache_dir,
        device=setup.device,
    )


def learning_rate(network: AutoencoderConfig, loss: LossConfig) -> float:
    """Adam's rate: the authors', by the shape of the network.

    Log-log interpolated in `latent_dim` between their configurations, and constant beyond them.
    """
    if loss.adversarial:
        return _RATE_WITH_CRITIC
    if network.latent_res > 4:
        table = _RATES_OF_MAPS
    elif network.grows:
        table = _RATES_OF_GROWING
    elif network.latent_res == 1 and network.image_size <= 32:
        table = _RATES_AT_32_PX
    else:
        table = _RATES_AT_64_PX
    widths, rates = np.log(list(table)), np.log(list(table.values()))
    return float(np.exp(np.interp(math.log(network.latent_dim), widths, rates)))


def batch_size(network: AutoencoderConfig, loss: LossConfig) -> int:
    """Images a step: the authors', fewer for the widest networks and beside a critic."""
    if loss.adversarial:
        return _BATCH_WITH_CRITIC
    wide = network.latent_dim >= _WIDE and network.image_size >= 64 and network.latent_res <= 4
    return _BATCH_OF_WIDE if wide else _BATCH


def weighted_sum(text: str) -> dict[str, float]:
    """Weight of each name in `text`, 1 where none is written.

    Raises:
        SpecError: not a sum of `NAME` or `WEIGHT*NAME`, a name twice, or a weight that is not from
            1e-6 to 1e6.
    """
    weights: dict[str, float] = {}
    for term in text.split("+"):
        match = _TERM.fullmatch(term.strip())
        try:
            weight = float(match["weight"] or 1) if match else 0.0
        except ValueError:  # such as 1.2.3
            weight = 0.0
        if match is None or match["name"] in weights or not _LEAST <= weight <= _MOST:
            raise SpecError(
                f"space: {text!r:.80}: write a sum of different names with weights from "
                f"{_LEAST:g} to {_MOST:g}, e.g. r32+0.5*r42"
            )
        weights[match["name"]] = weight
    return weights


def layer_schedule(text: str) -> dict[int, dict[str, float]]:
    """Layers and their weights by the resolution from which on they hold; 0 where none is written.

    Raises:
        SpecError: neither a weighted sum nor `RESOLUTION:SUM` entries, or a resolution twice.
    """
    if ":" not in text:
        return {0: weighted_sum(text)}
    schedule: dict[int, dict[str, float]] = {}
    for entry in text.split():
        match = _ENTRY.fullmatch(entry)
        if match is None or int(match["resolution"]) in schedule:
            raise SpecError(
                f"space: layers {text!r:.80}: write a layer for each resolution, "
                "e.g. 8:r12 16:r22 32:r32 64:r42"
            )
        schedule[int(match["resolution"])] = weighted_sum(match["sum"])
    return schedule


def known_weights(text: str, names: Collection[str]) -> Mapping[str, float]:
    """A weighted sum of some of `names`; the others have weight 0.

    Raises:
        SpecError: as `weighted_sum`, or another name.
    """
    weights = weighted_sum(text)
    if unknown := weights.keys() - set(names):
        raise SpecError(
            f"space: {text!r:.80}: no {', '.join(sorted(unknown))} here; "
            f"choose among {', '.join(names)}"
        )
    return {name: weights.get(name, 0.0) for name in names}
