"""Images `(N, C, H, W)` at the resolutions that a growing network sees (paper, section 3.2)."""

from torch import Tensor, lerp
from torch.nn import functional

from dpa_core.growth import Phase


def halve(images: Tensor) -> Tensor:
    """Bilinear down-sampling by two, which is the mean of each 2x2 square."""
    return functional.avg_pool2d(images, 2)


def double(images: Tensor) -> Tensor:
    """Nearest-neighbour up-sampling by two."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def shrink(images: Tensor, resolution: int) -> Tensor:
    """Square images at `resolution` px, by as many bilinear halvings as it takes."""
    while images.shape[-1] > resolution:
        images = halve(images)
    return images


def images_at(images: Tensor, phase: Phase) -> Tensor:
    """What the network is fed in a phase: in a transition the image is mixed with its coarse copy.

    Args:
        images: `(N, C, S, S)` at full size.
        phase: with R = `phase.resolution`.

    Returns:
        `(N, C, R, R)`.
    """
    fine = shrink(images, phase.resolution)
    return fine if phase.alpha == 1 else lerp(double(halve(fine)), fine, phase.alpha)
