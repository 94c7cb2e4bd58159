"""The autoencoder g of the Deep Perceptual Autoencoder (paper, Fig. 2 and section 4.3)."""

import torch
from torch import Tensor, nn

from dpa_core.blocks import ResidualBlock, conv3x3, initialise, leaky_relu
from dpa_core.config import AutoencoderConfig
from dpa_core.errors import ConfigError
from dpa_core.growth import Phase


class Autoencoder(nn.Module):
    """Compresses an image to `latent_dim x latent_res x latent_res` and rebuilds it.

    The output is linear: with a perceptual loss it is content rather than a picture.

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
            phase: `final_phase(config)` for a network that does not grow.

        Returns:
            `(N, C, R, R)`.
        """
        reconstruction: Tensor = self.decoder(self.encoder(x, phase), phase)
        return reconstruction


class Encoder(nn.Module):
    """Image to bottleneck: two blocks at full resolution, two more for each halving."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        size, width = config.image_size, config.width
        self.from_image = nn.ModuleDict(
            {
                str(size): nn.Sequential(
                    conv3x3(config.channels, width(size)),
                    ResidualBlock(width(size), width(size)),
                    ResidualBlock(width(size), width(size)),
                )
            }
        )
        self.down = nn.ModuleDict(
            {
                str(resolution): nn.Sequential(
                    ResidualBlock(width(resolution), width(resolution // 2), nn.AvgPool2d(2)),
                    ResidualBlock(width(resolution // 2), width(resolution // 2)),
                )
                for resolution in _halvings(config)
            }
        )
        smallest = width(config.smallest_resolution)
        self.to_latent: nn.Module = (
            nn.Sequential(leaky_relu(), nn.Conv2d(smallest, config.latent_dim, kernel_size=4))
            if config.latent_res == 1
            else ResidualBlock(smallest, config.latent_dim)
        )

    def forward(self, x: Tensor, phase: Phase) -> Tensor:
        """`(N, C, R, R)` to `(N, latent_dim, latent_res, latent_res)`."""
        _require_full_resolution(phase, self.config)
        x = self.from_image[str(phase.resolution)](x)
        for resolution in _halvings(self.config):
            x = self.down[str(resolution)](x)  # (N, width(r / 2), r / 2, r / 2)
        latent: Tensor = self.to_latent(x)
        return latent


class Decoder(nn.Module):
    """Bottleneck to image: two blocks for each doubling."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        size, width = config.image_size, config.width
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
                for resolution in reversed(_halvings(config))
            }
        )
        self.to_image = nn.ModuleDict(
            {str(size): nn.Sequential(leaky_relu(), conv3x3(width(size), config.channels))}
        )

    def forward(self, latent: Tensor, phase: Phase) -> Tensor:
        """`(N, latent_dim, latent_res, latent_res)` to `(N, C, R, R)`."""
        _require_full_resolution(phase, self.config)
        x: Tensor = self.from_latent(latent)
        for resolution in reversed(_halvings(self.config)):
            x = self.up[str(resolution)](x)  # (N, width(r), r, r)
        image: Tensor = self.to_image[str(phase.resolution)](x)
        return image


def _halvings(config: AutoencoderConfig) -> list[int]:
    """Resolutions in px that are halved on the way down, the largest first."""
    resolutions = []
    resolution = config.image_size
    while resolution > config.smallest_resolution:
        resolutions.append(resolution)
        resolution //= 2
    return resolutions


def _require_full_resolution(phase: Phase, config: AutoencoderConfig) -> None:
    if phase != Phase(config.image_size):
        raise ConfigError(f"phase must be {Phase(config.image_size)} without growing, got {phase}")
