"""The pre-activation residual block and the initialisation that all networks share."""

import torch
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.2  # of every LeakyReLU


def leaky_relu() -> nn.LeakyReLU:
    """The activation used throughout."""
    return nn.LeakyReLU(NEGATIVE_SLOPE)


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the resolution."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


class ResidualBlock(nn.Module):
    """LeakyReLU - resampling - 3x3 convolution - LeakyReLU - 3x3 convolution, plus the input.

    Args:
        in_channels, out_channels: where they differ the input goes through a 1x1 convolution.
        resample: `nn.AvgPool2d(2)`, `nn.Upsample(scale_factor=2)`, or None to keep the resolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, resample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.residual = nn.Sequential(
            leaky_relu(),
            self.resample,
            conv3x3(in_channels, out_channels),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            conv3x3(out_channels, out_channels),
        )
        self.shortcut: nn.Module = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, R, R)` to `(N, out_channels, R', R')`."""
        skip: Tensor = self.shortcut(self.resample(x))
        residual: Tensor = self.residual(x)
        return residual.add_(skip)  # in place: the block is bound by memory, not by arithmetic


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal weights (fan_out) in every convolution.

    Biases are torch's own: uniform within ± 1 / sqrt(fan_in).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, a=NEGATIVE_SLOPE, mode="fan_out", generator=generator
            )
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
