"""The VGG whose features the paper's perceptual loss compares (section 3.1).

Its layers are named `rBC`: the ReLU after convolution C of block B, e.g. `r42` = conv4_2 + ReLU.
"""

import re
from dataclasses import dataclass

from torch import nn

from dpa_core.features import Chain, unknown_layer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


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

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """ImageNet's, as torchvision trains on it."""
        return IMAGENET_MEAN

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """ImageNet's, as torchvision trains on it."""
        return IMAGENET_STD

    def channels(self, layer: str) -> int:
        """Number of channels of `layer`."""
        block, conv = self._position(layer)
        return self.blocks[block][conv]

    def depth(self, layer: str) -> int:
        """How many modules of torchvision's `features` it takes to compute `layer`."""
        block, conv = self._position(layer)
        convolutions = sum(len(widths) for widths in self.blocks[:block]) + conv + 1
        return 2 * convolutions + block  # convolution + ReLU each, one pooling a finished block

    def stride(self, layer: str) -> int:
        """Pixels between two positions of `layer`."""
        block, _ = self._position(layer)
        return 1 << block

    def smallest_image(self, layer: str) -> int:
        """Least side in px of an image that has a position left at `layer`."""
        return self.stride(layer)

    def build(self, deepest: str) -> Chain:
        """Torchvision's `features`, freshly initialised and cut after layer `deepest`."""
        # Not by torchvision's `make_layers`: importing its models takes longer than torch itself.
        modules: list[nn.Module] = []
        channels = 3
        for widths in self.blocks:
            for width in widths:
                modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            modules.append(nn.MaxPool2d(2))
        depth = self.depth(deepest)
        ends = {layer: self.depth(layer) for layer in self.layers}
        return Chain(modules[:depth], ends)

    def published_key(self, key: str) -> str:
        """Torchvision's."""
        return f"features.{key}"

    def _position(self, layer: str) -> tuple[int, int]:
        match = re.fullmatch(r"r([1-9])([1-9])", layer)
        if match and layer in self.layers:
            return int(match[1]) - 1, int(match[2]) - 1
        raise unknown_layer(layer, self.name, self.layers)


VGG19 = VGGArchitecture("vgg19", ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4))
VGG_MINI = VGGArchitecture("vgg-mini", ((16,) * 2, (32,) * 2, (64,) * 2, (128,) * 2))
