"""The autoencoder g of the Deep Perceptual Autoencoder (paper, Figs. 2 and 3, section 4.3)."""

import torch
from torch import Tensor, nn

from dpa_core.blocks import ResidualBlock, conv3x3, initialise, leaky_relu
from dpa_core.config import AutoencoderConfig
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase
from dpa_core.resampling import double, halve


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
