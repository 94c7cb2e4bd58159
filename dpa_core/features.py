"""The frozen VGG whose features the perceptual loss compares (paper, section 3.1).

Layers are named `rBC`: the ReLU after convolution C of block B, e.g. `r42` = conv4_2 + ReLU.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dpa_core.errors import ConfigError, WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Precision = Literal["float32", "bfloat16"]
"""What the network computes in: as its caller asks, the same on every device."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

LayerStatistics = Mapping[str, tuple[Tensor, Tensor]]
"""Per layer: mean and standard deviation of each channel, both of shape `(C,)`."""


@dataclass(frozen=True)
class VGGArchitecture:
    """A plain VGG: 3x3 convolutions with ReLU, a 2x2 max pooling after each block.

    Attributes:
        name: by which it is asked for.
        blocks: output channels of each convolution, block by block.
    """

    name: str
    blocks: tuple[tuple[int, ...], ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that can be compared, from the shallowest."""
        return tuple(
            f"r{block}{conv}"
            for block, widths in enumerate(self.blocks, start=1)
            for conv in range(1, len(widths) + 1)
        )

    def channels(self, layer: str) -> int:
        """Number of channels of `layer`."""
        block, conv = self._position(layer)
        return self.blocks[block][conv]

    def depth(self, layer: str) -> int:
        """How many modules of torchvision's `features` it takes to compute `layer`."""
        block, conv = self._position(layer)
        convolutions = sum(len(widths) for widths in self.blocks[:block]) + conv + 1
        return 2 * convolutions + block  # convolution + ReLU each, one pooling a finished block

    def smallest_image(self, layer: str) -> int:
        """Least side in px of an image that has a position left at `layer`."""
        block, _ = self._position(layer)
        return 1 << block

    def build(self, deepest: str) -> nn.Sequential:
        """Torchvision's `features`, freshly initialised and cut after layer `deepest`."""
        # Not by torchvision's `make_layers`: importing its models takes longer than torch itself.
        modules: list[nn.Module] = []
        channels = 3
        for widths in self.blocks:
            for width in widths:
                modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            modules.append(nn.MaxPool2d(2))
        return nn.Sequential(*modules[: self.depth(deepest)])

    def _position(self, layer: str) -> tuple[int, int]:
        match = re.fullmatch(r"r([1-9])([1-9])", layer)
        if match and layer in self.layers:
            return int(match[1]) - 1, int(match[2]) - 1
        raise ConfigError(
            f"layer {layer!r}: {self.name} has {', '.join(self.layers)}; choose among them"
        )


VGG19 = VGGArchitecture("vgg19", ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4))
VGG_MINI = VGGArchitecture("vgg-mini", ((16,) * 2, (32,) * 2, (64,) * 2, (128,) * 2))


class FeatureExtractor(nn.Module):
    """Normalised VGG features `f̂ = (f - μ) / σ` of the layers asked for, and of nothing deeper.

    Args:
        architecture: the VGG to build.
        layers: names such as `("r32", "r42")`.
        weights: torchvision's keys, `features.N.weight` or `N.weight`; deeper layers are ignored.
        statistics: μ and σ of each layer; None leaves the features as they are (μ = 0, σ = 1).

    Raises:
        ConfigError: an unknown layer.
        WeightsError: weights or statistics that are missing, of another shape, or not finite.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        architecture: VGGArchitecture,
        layers: Sequence[str],
        weights: Mapping[str, Tensor],
        statistics: LayerStatistics | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("layers: at least one layer is needed, got none")
        depths = {layer: architecture.depth(layer) for layer in layers}
        self.layers = tuple(sorted(depths, key=lambda layer: depths[layer]))
        self._depths = [depths[layer] for layer in self.layers]
        self.features = architecture.build(self.layers[-1])
        _load_weights(self.features, weights, architecture.name)
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
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
        found: dict[str, Tensor] = {}
        start = 0
        enabled = precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
            for layer, depth in zip(self.layers, self._depths, strict=True):
                if layers is None or layer in layers:
                    x = self.features[start:depth](x)
                    mean, std = self.get_buffer(f"mean_{layer}"), self.get_buffer(f"std_{layer}")
                    found[layer] = (x - mean) / std
                    start = depth
        return found


def _load_weights(features: nn.Sequential, weights: Mapping[str, Tensor], name: str) -> None:
    for key, target in features.state_dict().items():
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
