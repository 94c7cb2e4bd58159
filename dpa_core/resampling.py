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
    """Square images at `resolution` px, bilinear in one step and without a filter before it.

    By two this is the mean of each 2x2 square. By four or more a pixel is the mean of the four in
    the middle of its square, where a mean over the square would be smoother: the authors' images.
    """
    if images.shape[-1] == resolution:
        return images
    return functional.interpolate(images, size=(resolution, resolution), mode="bilinear")


def images_at(images: Tensor, phase: Phase) -> Tensor:
    """What the network is fed in a phase: in a transition the image is mixed with its coarse copy.

    Args:
        images: `(N, C, S, S)` at full size.
        phase: with R = `phase.resolution`.

    Returns:
        `(N, C, R, R)`.
    """
    fine = shrink(images, phase.resolution)
    if phase.alpha == 1:
        return fine
    # Of the full size again: halving what was shrunk by two or more would be another image.
    coarse = shrink(images, phase.settled_resolution)
    return lerp(double(coarse), fine, phase.alpha)
