"""Progressive growing as pure functions of the step (paper, section 3.2).

Training begins with a stabilisation at a low resolution. Each doubling is a transition, in which
the new layers are faded in, and a stabilisation; the last, at full size, has no end of its own.
Images `(N, C, H, W)` are shrunk to the resolutions that the network sees.
"""

from dataclasses import dataclass

from torch import Tensor, lerp
from torch.nn import functional

from dpa_core.config import AutoencoderConfig, FitConfig


@dataclass(frozen=True)
class Phase:
    """Where in its growth a network is.

    Attributes:
        resolution: px, side of its images.
        alpha: weight α in [0, 1] of the newest resolution's layers.
    """

    resolution: int
    alpha: float = 1.0

    @property
    def settled_resolution(self) -> int:
        """The resolution at which the images do not depend on α."""
        return self.resolution if self.alpha == 1 else self.resolution // 2


@dataclass(frozen=True)
class GrowthSchedule:
    """When a network grows.

    Attributes:
        start: px, at first.
        end: px, at last.
        steps: of every stage but the last.
    """

    start: int
    end: int
    steps: int

    @property
    def last_stage(self) -> int:
        """Number of the stage at full size, which has no end of its own."""
        doublings = (self.end // self.start).bit_length() - 1
        return 2 * doublings

    @property
    def growth_steps(self) -> int:
        """Steps before the network has its full size; 0 where it does not grow."""
        return self.last_stage * self.steps


def schedule_of(network: AutoencoderConfig, training: FitConfig) -> GrowthSchedule:
    """The schedule of a training; without growing it is the last stage alone."""
    return GrowthSchedule(network.resolutions[0], network.image_size, training.steps_per_phase)


def stage_at(step: int, schedule: GrowthSchedule) -> int:
    """Number of the stage of a step, both from 0: even ones stabilise, odd ones are transitions."""
    return min(step // schedule.steps, schedule.last_stage)


def phase_at(step: int, schedule: GrowthSchedule) -> Phase:
    """Resolution and α of a step, counted from 0; α rises linearly from 0 within a transition."""
    stage = stage_at(step, schedule)
    resolution = schedule.start * 2 ** ((stage + 1) // 2)
    if stage % 2 == 0:
        return Phase(resolution)
    return Phase(resolution, alpha=(step - stage * schedule.steps) / schedule.steps)


def final_phase(config: AutoencoderConfig) -> Phase:
    """The phase of a network that is fully grown, or never grew."""
    return Phase(config.image_size)


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
