"""The autoencoder g of the Deep Perceptual Autoencoder (paper, Figs. 2 and 3, section 4.3).

Its pre-activation residual block and its initialisation are the critic's too.
"""

import torch
from torch import Tensor, nn

from dpa_core.config import AutoencoderConfig
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase, double, halve

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


class Autoencoder(nn.Module):
    """Compresses an image to `latent_dim x latent_res x latent_res` and rebuilds it.

    The output is linear: with a perceptual loss it is content rather than a picture. One that grows
    holds the layers of all its resolutions, and each phase runs those that it needs.

    Args:
        config: the shape of the network.
        seed: of the initialisation.
    """

    def __init__(self, config: AutoencoderConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        initialise(self, torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor, phase: Phase) -> Tensor:
        """Reconstruct a batch.

        Args:
            x: `(N, C, R, R)` in [-1, 1] with R = `phase.resolution`.
            phase: `final_phase(config)` for a network that is fully grown, or does not grow.

        Returns:
            `(N, C, R, R)`.

        Raises:
            ConfigError: the network has no such phase.
        """
        reconstruction: Tensor = self.decoder(self.encoder(x, phase), phase)
        return reconstruction


class Encoder(nn.Module):
    """Image to bottleneck: two blocks at the image's resolution, two more for each halving.

    Args:
        config: the shape of the network.
        out_channels: of the bottleneck, None for `latent_dim`.
    """

    def __init__(self, config: AutoencoderConfig, *, out_channels: int | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.from_image = nn.ModuleDict(
            {
                str(resolution): nn.Sequential(
                    conv3x3(config.channels, width(resolution)),
                    ResidualBlock(width(resolution), width(resolution)),
                    ResidualBlock(width(resolution), width(resolution)),
                )
                for resolution in config.resolutions
            }
        )
        self.down = nn.ModuleDict(
            {
                str(resolution): nn.Sequential(
                    ResidualBlock(width(resolution), width(resolution // 2), nn.AvgPool2d(2)),
                    ResidualBlock(width(resolution // 2), width(resolution // 2)),
                )
                for resolution in _halvings(config, config.image_size)
            }
        )
        smallest, out = width(config.smallest_resolution), out_channels or config.latent_dim
        self.to_latent: nn.Module = (
            nn.Sequential(leaky_relu(), nn.Conv2d(smallest, out, kernel_size=4))
            if config.latent_res == 1
            else ResidualBlock(smallest, out)
        )

    def forward(self, x: Tensor, phase: Phase) -> Tensor:
        """`(N, C, R, R)` to `(N, latent_dim, latent_res, latent_res)`."""
        _require_phase(phase, self.config)
        resolution = phase.resolution
        h: Tensor = self.from_image[str(resolution)](x)
        if phase.alpha < 1:
            h = self.down[str(resolution)](h)
            resolution //= 2
            h = torch.lerp(self.from_image[str(resolution)](halve(x)), h, phase.alpha)
        for larger in _halvings(self.config, resolution):
            h = self.down[str(larger)](h)  # (N, width(r / 2), r / 2, r / 2)
        latent: Tensor = self.to_latent(h)
        return latent


class Decoder(nn.Module):
    """Bottleneck to image: two blocks for each doubling."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        smallest = width(config.smallest_resolution)
        self.from_latent: nn.Module = (
            nn.Sequential(
                leaky_relu(), nn.Conv2d(config.latent_dim, smallest, kernel_size=4, padding=3)
            )
            if config.latent_res == 1
            else ResidualBlock(config.latent_dim, smallest)
        )
        self.up = nn.ModuleDict(
            {
                str(resolution): nn.Sequential(
                    ResidualBlock(
                        width(resolution // 2), width(resolution), nn.Upsample(scale_factor=2)
                    ),
                    ResidualBlock(width(resolution), width(resolution)),
                )
                for resolution in reversed(_halvings(config, config.image_size))
            }
        )
        self.to_image = nn.ModuleDict(
            {
                str(resolution): nn.Sequential(
                    leaky_relu(), conv3x3(width(resolution), config.channels)
                )
                for resolution in config.resolutions
            }
        )

    def forward(self, latent: Tensor, phase: Phase) -> Tensor:
        """`(N, latent_dim, latent_res, latent_res)` to `(N, C, R, R)`."""
        _require_phase(phase, self.config)
        settled = phase.settled_resolution
        h: Tensor = self.from_latent(latent)
        for resolution in reversed(_halvings(self.config, settled)):
            h = self.up[str(resolution)](h)  # (N, width(r), r, r)
        image: Tensor = self.to_image[str(settled)](h)
        if phase.alpha < 1:
            fine: Tensor = self.to_image[str(phase.resolution)](self.up[str(phase.resolution)](h))
            image = torch.lerp(double(image), fine, phase.alpha)
        return image


def _halvings(config: AutoencoderConfig, resolution: int) -> list[int]:
    """Resolutions in px that are halved on the way down from `resolution`, the largest first."""
    resolutions = []
    while resolution > config.smallest_resolution:
        resolutions.append(resolution)
        resolution //= 2
    return resolutions


def _require_phase(phase: Phase, config: AutoencoderConfig) -> None:
    known = {phase.resolution, phase.settled_resolution} <= set(config.resolutions)
    if not (known and 0 <= phase.alpha <= 1):
        sizes = ", ".join(map(str, config.resolutions))
        raise ConfigError(f"phase must be of a network of {sizes} px, alpha 0 to 1, got {phase}")
