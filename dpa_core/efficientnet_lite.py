"""EfficientNet-Lite (Tan and Liu, 2020): inverted residual blocks without squeeze and excitation.

Its layers are named `s1` to `s5`: the last block before the image is halved again, and the last of
all. Padding is TensorFlow's 'same': where a stride leaves an odd number of rows or columns to add,
the right and the bottom get the larger half.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpa_core.features import Chain, unknown_layer

_STEM = 32  # channels
_STAGES = (  # blocks, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_ENDS = {"s1": 1, "s2": 2, "s3": 3, "s4": 5, "s5": 7}  # stages up to each layer


@dataclass(frozen=True)
class EfficientNetLite:
    """One of the family.

    Attributes:
        name: by which it is asked for.
        width_coefficient: of the channels of each stage.
        depth_coefficient: of the blocks of each stage but the first and the last.
    """

    name: str
    width_coefficient: float = 1.0
    depth_coefficient: float = 1.0

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers that can be compared, from the shallowest."""
        return tuple(_ENDS)

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """Pixels go from -1 to 1."""
        return (0.5, 0.5, 0.5)

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """Pixels go from -1 to 1."""
        return (0.5, 0.5, 0.5)

    def channels(self, layer: str) -> int:
        """Number of channels of `layer`."""
        return self._width(_STAGES[self._end(layer) - 1][-1])

    def stride(self, layer: str) -> int:
        """Pixels between two positions of `layer`."""
        return 2 * math.prod(stride for _, _, stride, _, _ in _STAGES[: self._end(layer)])

    def smallest_image(self, layer: str) -> int:
        """Least side in px of an image of which a position of `layer` sees more than padding."""
        return self.stride(layer)

    def depth(self, layer: str) -> int:
        """How many parts it takes to compute `layer`: the stem and a block each."""
        return 1 + sum(self._blocks(stage) for stage in range(self._end(layer)))

    def build(self, deepest: str) -> Chain:
        """The stem and the blocks down to `deepest`, freshly initialised."""
        modules: list[nn.Module] = [_Convolution(3, _STEM, kernel=3, stride=2)]
        width = _STEM
        for number, (_, kernel, stride, expansion, channels) in enumerate(
            _STAGES[: self._end(deepest)]
        ):
            for block in range(self._blocks(number)):
                modules.append(
                    _Block(
                        width,
                        self._width(channels),
                        kernel=kernel,
                        stride=stride if block == 0 else 1,
                        expansion=expansion,
                    )
                )
                width = self._width(channels)
        return Chain(modules, {layer: self.depth(layer) for layer in _ENDS})

    def published_key(self, key: str) -> str:
        """What the published weights call the tensor `key` of `build`."""
        part, *rest, kind, value = key.split(".")
        if part == "0":
            return f"_conv_stem.{value}" if kind == "0" else f"_bn0.{value}"
        (step,) = rest
        number = ("expand", "depthwise", "project").index(step)
        own = f"_{step}_conv" if kind == "0" else f"_bn{number}"
        return f"_blocks.{int(part) - 1}.{own}.{value}"

    def normalised_statistics(
        self, weights: Mapping[str, Tensor], layer: str
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel of `layer` over the images of its training.

        Batch normalisation gave each block's output the mean `bias` and the deviation `|weight|`.
        Where a block adds its input, means add up, and variances as if the two were uncorrelated.

        Args:
            weights: under the keys of `build`, at least as deep as `layer`.
            layer: its name.

        Returns:
            two tensors `(C,)`.
        """
        mean = torch.zeros(self.channels(layer))
        variance = torch.zeros(self.channels(layer))
        with torch.device("meta"):  # its shape alone
            blocks = self.build(layer)
        for number in reversed(range(len(blocks))):
            mean = mean + weights[f"{number}.project.1.bias"]
            variance = variance + weights[f"{number}.project.1.weight"].square()
            if not blocks[number].adds:
                break
        return mean, variance.sqrt()

    def _blocks(self, stage: int) -> int:
        blocks = _STAGES[stage][0]
        if stage in (0, len(_STAGES) - 1):
            return blocks
        return math.ceil(blocks * self.depth_coefficient)

    def _width(self, channels: int) -> int:
        """`channels` times the coefficient, as a multiple of 8 that is at most a tenth smaller."""
        wanted = channels * self.width_coefficient
        rounded = max(8, int(wanted + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * wanted else rounded

    def _end(self, layer: str) -> int:
        if layer not in _ENDS:
            raise unknown_layer(layer, self.name, self.layers)
        return _ENDS[layer]


LITE0 = EfficientNetLite("lite0")
LITE1 = EfficientNetLite("lite1", 1.0, 1.1)
LITE2 = EfficientNetLite("lite2", 1.1, 1.2)


class _Convolution(nn.Sequential):
    """Convolution with 'same' padding, batch normalisation, and ReLU6 unless it is linear."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0  # else it depends on the side
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_channels, eps=1e-3),
        )
        if not linear:
            self.append(nn.ReLU6(inplace=True))
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            margins: list[int] = []
            for side in (x.shape[-1], x.shape[-2]):
                needed = (math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side
                margins += [needed // 2, needed - needed // 2]
            x = functional.pad(x, [max(margin, 0) for margin in margins])
        for module in self:
            x = module(x)
        return x


class _Block(nn.Module):
    """Expand, convolve each channel, project; the input is added where its shape is the same."""

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand = _Convolution(in_channels, inner) if expansion > 1 else nn.Identity()
        self.depthwise = _Convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = _Convolution(inner, out_channels, linear=True)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return out + x if self.adds else out
