"""The Deep Perceptual Autoencoder as a detector: searched over bottleneck and VGG layer."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dpa_core.checkpoint import save_checkpoint
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import CheckpointError, ConfigError, DivergedError
from dpa_core.features import LayerStatistics, VGGArchitecture
from dpa_core.fit import Fit, fit
from dpa_core.score import score
from hpsearch.backbones.extractor import build_extractor
from hpsearch.backbones.statistics import cached_statistics
from hpsearch.detectors.base import CURVE_COLUMNS, ImageView, Setup, Training
from hpsearch.errors import SpecError, TaskError
from hpsearch.space import Params
from hpsearch.spec import AxisChoices

_RATES_OF_VECTORS = {8: 1e-2, 16: 5e-3, 32: 2e-3, 64: 1e-3, 256: 2e-4}  # latent_res = 1
_RATES_OF_MAPS = {4: 1e-3, 64: 1e-4}  # latent_res > 1
_FEWEST_CHECKS = 4  # validations of a training


class DPADetector:
    """Reconstruction of VGG features by an autoencoder with a narrow bottleneck (paper, Fig. 2)."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "latent_dim": (4, 16, 64),
        "latent_res": (1, 8),
        "layers": ("r32", "r42"),
    }

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        params = setup.params
        self.network = _network(params, channels=setup.normals.pixels.shape[3])
        layers = _layers(params)
        self.statistics = _statistics(setup, layers)
        self.extractor = build_extractor(setup.backbone, layers, self.statistics).to(setup.device)
        self.extractor.to(memory_format=torch.channels_last)
        self.fitted: Fit | None = None

    @staticmethod
    def check(params: Params, architecture: VGGArchitecture) -> None:
        """Raise SpecError where a configuration cannot be built."""
        try:
            _network(params, channels=3)
            for layer in _layers(params):
                architecture.depth(layer)
        except ConfigError as error:
            raise SpecError(f"space: {error}; leave this choice out") from None

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
            fitted = fit(
                self.network,
                self._fit_config(max_steps),
                self.extractor,
                train.array(),
                held_out=early_stop.array() if early_stop is not None else None,
                checkpoints=checkpoints,
            )
        except DivergedError as error:
            raise TaskError("non_finite", str(error)) from error
        except torch.OutOfMemoryError as error:
            raise TaskError(
                "out_of_memory", f"batch_size too large for {self.setup.device}"
            ) from error
        except CheckpointError as error:
            raise TaskError("bad_data", str(error)) from error
        self.fitted = fitted
        curve = pd.DataFrame(
            [asdict(check) for check in fitted.history], columns=list(CURVE_COLUMNS)
        )
        return Training(fitted.best_step, fitted.best_loss, curve)

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """The perceptual loss of each image, `(n,)`."""
        scores = score(self._autoencoder.autoencoder, self.extractor, images.array())
        return scores.astype(np.float64)

    def save(self, folder: Path) -> None:
        """Autoencoder and channel statistics as safetensors, the rest as JSON."""
        tensors = {
            f"autoencoder.{key}": value
            for key, value in self._autoencoder.autoencoder.state_dict().items()
        }
        for layer, (mean, std) in self.statistics.items():
            tensors |= {f"statistics.{layer}.mean": mean, f"statistics.{layer}.std": std}
        state = {
            "detector": "dpa",
            "network": asdict(self.network),
            "params": dict(self.setup.params),
            "backbone": self.setup.backbone.architecture.name,
            "backbone_digest": self.setup.backbone.digest,
        }
        save_checkpoint(folder, tensors, state, name="model")

    @property
    def _autoencoder(self) -> Fit:
        if self.fitted is None:
            raise ValueError("the detector is not fitted yet; call fit first")
        return self.fitted

    def _fit_config(self, max_steps: int) -> FitConfig:
        spec = self.setup.training
        return FitConfig(
            learning_rate=spec.learning_rate or learning_rate(self.network),
            batch_size=spec.batch_size,
            max_steps=max_steps,
            # A training that is capped for a first look is still validated a few times.
            check_every=min(spec.check_every, max(1, max_steps // _FEWEST_CHECKS)),
            patience=spec.patience,
            min_improvement=spec.min_improvement,
            flips=spec.flips,
            seed=self.setup.seed,
            feature_cache_bytes=spec.feature_cache_mb << 20,
            compile=spec.compile,
        )


def learning_rate(network: AutoencoderConfig) -> float:
    """Adam's rate by the bottleneck: the authors' rates, log-log interpolated in `latent_dim`."""
    table = _RATES_OF_VECTORS if network.latent_res == 1 else _RATES_OF_MAPS
    widths, rates = np.log(list(table)), np.log(list(table.values()))
    return float(np.exp(np.interp(math.log(network.latent_dim), widths, rates)))


def _network(params: Params, *, channels: int) -> AutoencoderConfig:
    return AutoencoderConfig(
        image_size=int(params["resolution"]),
        channels=channels,
        latent_dim=int(params["latent_dim"]),
        latent_res=int(params["latent_res"]),
    )


def _layers(params: Params) -> tuple[str, ...]:
    return tuple(str(params["layers"]).split("+"))


def _statistics(setup: Setup, layers: tuple[str, ...]) -> LayerStatistics:
    """Those that came with the weights, else those of the study's own normal images."""
    stored = setup.backbone.statistics
    if stored is not None and all(layer in stored for layer in layers):
        return {layer: stored[layer] for layer in layers}
    return cached_statistics(
        setup.backbone,
        setup.normals.array(),
        layers,
        data_key=setup.normals.key,
        cache_dir=setup.cache_dir,
        device=setup.device,
    )
