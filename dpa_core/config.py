"""Settings of the network and of its training, checked where they enter."""

from dataclasses import dataclass

from dpa_core.errors import ConfigError


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the autoencoder.

    Raises:
        ConfigError: a size that cannot be halved down to the bottleneck, or out of range.
    """

    image_size: int  # px, a power of two from 16 to 256
    channels: int  # of the image: 1 or 3
    latent_dim: int  # channels of the bottleneck
    latent_res: int = 1  # side of the bottleneck: 1 or a power of two below image_size

    def __post_init__(self) -> None:
        if not (_is_power_of_two(self.image_size) and 16 <= self.image_size <= 256):
            raise ConfigError(
                f"image_size must be 16, 32, 64, 128 or 256 px, got {self.image_size}"
            )
        if self.channels not in (1, 3):
            raise ConfigError(f"channels must be 1 or 3, got {self.channels}")
        if self.latent_dim < 1:
            raise ConfigError(f"latent_dim must be at least 1, got {self.latent_dim}")
        if not (_is_power_of_two(self.latent_res) and self.latent_res < self.image_size):
            raise ConfigError(
                "latent_res must be 1 or a power of two below image_size "
                f"({self.image_size}), got {self.latent_res}"
            )

    @property
    def smallest_resolution(self) -> int:
        """Side in px of the last feature map that is reached by halving."""
        return 4 if self.latent_res == 1 else self.latent_res

    def width(self, resolution: int) -> int:
        """Channels of the blocks at `resolution` px: `latent_dim`, capped for 32 px images."""
        if self.image_size == 32:
            return min(self.latent_dim, 32 * 32 // resolution)
        return self.latent_dim


@dataclass(frozen=True)
class FitConfig:
    """How the autoencoder is trained; the defaults are the paper's (`check_every`: its code's).

    Raises:
        ConfigError: a number that is not positive, or negative where 0 has a meaning.
    """

    learning_rate: float = 1e-3  # of Adam
    batch_size: int = 128  # images a step
    max_steps: int = 100_000  # steps, the cap where early stopping does not come first
    check_every: int = 1_000  # steps between two validations on held-out normals
    patience: int = 3  # validations in a row without improvement that end the training
    min_improvement: float = 1e-3  # of the held-out loss, less does not count as better
    flips: bool = False  # random horizontal and vertical flips
    seed: int = 0  # of initialisation, batches, crops and flips
    feature_cache_bytes: int = 1 << 30  # budget on the device for features of the input
    compile: bool = False  # torch.compile both networks

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "max_steps", "check_every", "patience"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("min_improvement", "seed", "feature_cache_bytes"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
