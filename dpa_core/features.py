"""The frozen network whose features the perceptual loss compares (paper, section 3.1).

Any network will do that has layers by name; each family of them is a file of its own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dpa_core.errors import ConfigError, WeightsError

Precision = Literal["float32", "bfloat16"]
"""What the network computes in: as its caller asks, the same on every device."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

LayerStatistics = Mapping[str, tuple[Tensor, Tensor]]
"""Per layer: mean and standard deviation of each channel, both of shape `(C,)`."""


class Architecture(Protocol):
    """A network without its weights. All methods that take a layer raise ConfigError for others."""

    @property
    def name(self) -> str:
        """By which it is asked for."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that can be compared, from the shallowest."""

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """What is subtracted from the channels of pixels in [0, 1]."""

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """By what they are then divided."""

    def channels(self, layer: str) -> int:
        """Number of channels of `layer`."""

    def stride(self, layer: str) -> int:
        """Pixels between two positions of `layer`."""

    def smallest_image(self, layer: str) -> int:
        """Least side in px of an image that has a position left at `layer`."""

    def depth(self, layer: str) -> int:
        """How many parts of the network it takes to compute `layer`."""

    def build(self, deepest: str) -> nn.Module:
        """The network down to layer `deepest`, freshly initialised.

        It is called with normalised images `(N, 3, H, W)` and names of layers, computes nothing
        deeper than these, and returns `(N, C, H', W')` of each.
        """

    def published_key(self, key: str) -> str:
        """What the file of its published weights calls the tensor `key` of `build`."""


class Chain(nn.ModuleList):
    """Modules that follow one another; its layers are the outputs of some of them.

    Args:
        modules: from the images on.
        ends: how many modules each layer takes, from the shallowest.
    """

    def __init__(self, modules: Iterable[nn.Module], ends: Mapping[str, int]) -> None:
        super().__init__(modules)
        self.ends = dict(ends)

    def forward(self, x: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Per layer asked for `(N, C, H', W')`, of images `(N, 3, H, W)`."""
        found: dict[str, Tensor] = {}
        wanted = {end: layer for layer, end in self.ends.items() if layer in layers}
        for done, module in enumerate(self, start=1):
            if len(found) == len(wanted):
                break
            x = module(x)
            if done in wanted:
                found[wanted[done]] = x
        return found


def unknown_layer(layer: str, name: str, layers: Collection[str]) -> ConfigError:
    """What is raised for a layer that the network does not have."""
    return ConfigError(f"layer {layer!r}: {name} has {', '.join(layers)}; choose among them")


class FeatureExtractor(nn.Module):
    """Normalised features `f̂ = (f - μ) / σ` of the layers asked for, and of nothing deeper.

    Args:
        architecture: the network to build.
        layers: names such as `("r32", "r42")`.
        weights: under the keys of the network that is built, with or without `features.` before
            them; deeper layers are ignored.
        statistics: μ and σ of each layer; None leaves the features as they are (μ = 0, σ = 1).

    Raises:
        ConfigError: an unknown layer.
        WeightsError: weights or statistics that are missing, of another shape, or not finite.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        architecture: Architecture,
        layers: Sequence[str],
        weights: Mapping[str, Tensor],
        statistics: LayerStatistics | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("layers: at least one layer is needed, got none")
        depths = {layer: architecture.depth(layer) for layer in layers}
        self.layers = tuple(sorted(depths, key=lambda layer: depths[layer]))
        self.features = architecture.build(self.layers[-1])
        _load_weights(self.features, weights, architecture.name)
        _fold_normalisation(self.features.eval())
        pixel_mean, pixel_std = architecture.pixel_mean, architecture.pixel_std
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1))
        for layer in self.layers:
            mean, std = layer_statistics(statistics, layer, architecture.channels(layer))
            self.register_buffer(f"mean_{layer}", mean.view(1, -1, 1, 1))
            self.register_buffer(f"std_{layer}", std.view(1, -1, 1, 1))
        self.requires_grad_(False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is, and where everything that uses it runs."""
        return self.pixel_mean.device

    def train(self, mode: bool = True) -> "FeatureExtractor":
        """Nothing changes: batch normalisation keeps the statistics that it was trained with."""
        return super().train(False)

    def forward(
        self,
        images: Tensor,
        layers: Collection[str] | None = None,
        precision: Precision = "float32",
    ) -> dict[str, Tensor]:
        """Features of a batch.

        Args:
            images: `(N, 1 or 3, H, W)` in [-1, 1]; one channel is repeated to three.
            layers: some of the layers, None for all; nothing deeper than these is computed.
            precision: of the convolutions, whatever the device and the caller's own autocast.

        Returns:
            per layer `(N, C, H', W')` in float32.
        """
        x = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        x = ((x + 1) / 2 - self.pixel_mean) / self.pixel_std
        wanted = self.layers if layers is None else [name for name in self.layers if name in layers]
        enabled = precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
            found: dict[str, Tensor] = self.features(x, wanted)
            return {
                layer: (found[layer] - self.get_buffer(f"mean_{layer}"))
                / self.get_buffer(f"std_{layer}")
                for layer in wanted
            }


def needed_weights(features: nn.Module) -> dict[str, Tensor]:
    """The tensors that a network's output depends on; batch normalisation also counts batches."""
    tensors = features.state_dict()
    return {key: value for key, value in tensors.items() if value.is_floating_point()}


def _load_weights(features: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    for key, target in needed_weights(features).items():
        value = weights.get(f"features.{key}", weights.get(key))
        if value is None:
            raise WeightsError(f"{name} weights: 'features.{key}' is missing")
        if value.shape != target.shape:
            raise WeightsError(
                f"{name} weights: 'features.{key}' must have shape {tuple(target.shape)}, "
                f"got {tuple(value.shape)}"
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} weights: 'features.{key}' holds values that are not finite")
        target.copy_(value)  # state_dict shares storage with the parameters


def _fold_normalisation(network: nn.Module) -> None:
    """Put batch normalisation into the convolution before it, which on a CPU saves a third."""
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential):
            for position, (convolution, normalisation) in enumerate(pairwise(block)):
                if isinstance(convolution, nn.Conv2d) and isinstance(normalisation, nn.BatchNorm2d):
                    block[position] = fuse_conv_bn_eval(convolution, normalisation)
                    block[position + 1] = nn.Identity()


def layer_statistics(
    statistics: LayerStatistics | None, layer: str, channels: int
) -> tuple[Tensor, Tensor]:
    """μ and σ of a layer, each `(channels,)` in float32; 0 and 1 where `statistics` is None.

    Raises:
        WeightsError: they are missing, of another shape, not finite, or a σ is not positive.
    """
    if statistics is None:
        return torch.zeros(channels), torch.ones(channels)
    if layer not in statistics:
        raise WeightsError(f"channel statistics: layer {layer!r} is missing")
    mean, std = (values.detach().float() for values in statistics[layer])
    if mean.shape != (channels,) or std.shape != (channels,):
        raise WeightsError(
            f"channel statistics: layer {layer!r} must have {channels} channels, "
            f"got {tuple(mean.shape)} and {tuple(std.shape)}"
        )
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise WeightsError(f"channel statistics: layer {layer!r} must be finite with std > 0")
    return mean, std


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions of float32 tensors in float32 on CUDA too, where cuDNN would take TF32."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before
