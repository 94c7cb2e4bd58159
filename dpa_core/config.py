"""Settings of the network, of its loss and of its training, checked where they enter."""

from collections.abc import Mapping
from dataclasses import dataclass

from dpa_core.errors import ConfigError
from dpa_core.features import PRECISIONS, Precision

_POSITIVE = (
    "learning_rate",
    "batch_size",
    "max_steps",
    "steps_per_phase",
    "check_every",
    "patience",
    "critic_steps",
    "critic_learning_rate",
)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the autoencoder.

    Attributes:
        image_size: px, a power of two from 16 to 256.
        channels: of the image, 1 or 3.
        latent_dim: channels of the bottleneck.
        latent_res: side of the bottleneck, 1 or a power of two below `image_size`.
        start_resolution: px at which growing begins; None: it does not grow.
        uncapped: growing with `latent_dim` channels throughout, as older models did.

    Raises:
        ConfigError: a size that cannot be halved down to the bottleneck, or out of range.
    """

    image_size: int
    channels: int
    latent_dim: int
    latent_res: int = 1
    start_resolution: int | None = None
    uncapped: bool = False

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
        start, least = self.start_resolution, max(8, self.smallest_resolution)
        if start is not None and not (
            _is_power_of_two(start) and least <= start <= self.image_size
        ):
            raise ConfigError(
                f"start_resolution must be a power of two from {least} to image_size "
                f"({self.image_size}), got {start}"
            )

    @property
    def smallest_resolution(self) -> int:
        """Side in px of the last feature map that is reached by halving."""
        return 4 if self.latent_res == 1 else self.latent_res

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides in px of the images that the network is trained on, the smallest first."""
        start = self.image_size if self.start_resolution is None else self.start_resolution
        doublings = (self.image_size // start).bit_length() - 1
        return tuple(start << doubling for doubling in range(doublings + 1))

    @property
    def grows(self) -> bool:
        """Whether training begins below `image_size`."""
        return len(self.resolutions) > 1

    def width(self, resolution: int) -> int:
        """Channels of the blocks at `resolution` px: `latent_dim`, where nothing caps it.

        For 32 px images, and in a network that grows, at most 128 at 8 px, 64 at 16 px and 32 from
        32 px on.
        """
        if self.image_size == 32 or (self.grows and not self.uncapped):
            return min(self.latent_dim, max(32, 32 * 32 // resolution))
        return self.latent_dim


@dataclass(frozen=True)
class LossConfig:
    """What training minimises: a weighted sum of losses (paper, sections 3.1, 3.2 and 4.6).

    The sum without its adversarial part is the anomaly score.

    Attributes:
        layers: layers and their weights by the resolution (px) from which on they hold.
        perceptual: weight of the relative perceptual L1 loss.
        l1: weight of the mean absolute difference of pixels.
        adversarial: weight of what the Wasserstein critic says.

    Raises:
        ConfigError: a negative weight, no reconstruction loss, or no layer.
    """

    layers: Mapping[int, Mapping[str, float]]
    perceptual: float = 1.0
    l1: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        for name in ("perceptual", "l1", "adversarial"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.perceptual + self.l1 == 0:
            raise ConfigError("perceptual or l1 must be above 0: the score is their weighted sum")
        weights = [weight for layers in self.layers.values() for weight in layers.values()]
        if not all(self.layers.values()) or not weights or not all(w > 0 for w in weights):
            raise ConfigError(f"layers must have weights above 0, got {dict(self.layers)}")

    def layers_at(self, resolution: int) -> Mapping[str, float]:
        """Weights of the layers that images of `resolution` px are compared by.

        Raises:
            ConfigError: the layers begin at a higher resolution.
        """
        begun = [first for first in self.layers if first <= resolution]
        if not begun:
            raise ConfigError(
                f"layers begin at {min(self.layers)} px, and training at {resolution} px"
            )
        return self.layers[max(begun)]

    @property
    def every_layer(self) -> tuple[str, ...]:
        """Names of the layers of all resolutions, each once."""
        return tuple(dict.fromkeys(name for layers in self.layers.values() for name in layers))


@dataclass(frozen=True)
class FitConfig:
    """How the autoencoder is trained; the defaults are the paper's (`check_every`: its code's).

    Attributes:
        learning_rate: of Adam.
        batch_size: images a step.
        max_steps: in all, the cap where early stopping does not come first.
        steps_per_phase: of each transition and each stabilisation while growing.
        check_every: steps between two validations on held-out normals.
        patience: validations in a row without improvement that end the training.
        min_improvement: of the held-out loss, less does not count as better.
        flips: random horizontal and vertical flips.
        seed: of initialisation, batches, crops and flips.
        feature_cache_bytes: budget on the device for features of the input.
        compile: both networks by torch.compile.
        precision: of the frozen network while training.
        critic_steps: of the adversarial critic, for each step of the autoencoder.
        critic_learning_rate: of the critic's Adam.

    Raises:
        ConfigError: a number that is not positive, or negative where 0 has a meaning.
    """

    learning_rate: float = 1e-3
    batch_size: int = 128
    max_steps: int = 100_000
    steps_per_phase: int = 20_000
    check_every: int = 1_000
    patience: int = 3
    min_improvement: float = 1e-3
    flips: bool = False
    seed: int = 0
    feature_cache_bytes: int = 1 << 30
    compile: bool = False
    precision: Precision = "float32"
    critic_steps: int = 2
    critic_learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision must be {' or '.join(PRECISIONS)}, got {self.precision!r:.40}"
            )
        for name in ("min_improvement", "seed", "feature_cache_bytes"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0
