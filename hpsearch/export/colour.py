"""Pillow's grey, YCbCr and histogram equalisation as tensor operations, to the last bit.

Planes are `(N, C, H, W)` of float64 that hold whole numbers from 0 to 255.
"""

import torch
from torch import Tensor

_GREY = (19_595, 38_470, 7_471)  # 0.299, 0.587 and 0.114 of 2**16 (ITU-R 601)
_YCBCR = (  # of red, green and blue (JFIF 1.02)
    (0.29900, 0.58700, 0.11400),
    (-0.16874, -0.33126, 0.50000),
    (0.50000, -0.41869, -0.08131),
)
_RED_OF_RED, _GREEN_OF_BLUE, _GREEN_OF_RED, _BLUE_OF_BLUE = 1.40200, -0.34414, -0.71414, 1.77200
_FIXED = 64  # Pillow's YCbCr counts in 64ths of a level
_LEVELS = 256


def grey(planes: Tensor) -> Tensor:
    """The luminance of red, green and blue, one plane."""
    weights = planes.new_tensor(_GREY)[:, None, None]
    return (((planes * weights).sum(dim=1, keepdim=True) + 2**15) / 2**16).floor()


def equalized(planes: Tensor) -> Tensor:
    """The planes with the histogram of their luminance flattened."""
    if planes.shape[1] == 1:
        return _flattened(planes)
    luminance, blue, red = _ycbcr(planes).chunk(3, dim=1)
    return _rgb(_flattened(luminance), blue - 128, red - 128)


def _ycbcr(planes: Tensor) -> Tensor:
    weights = planes.new_tensor(_YCBCR)[:, :, None, None] * _FIXED
    terms = _nearest(planes[:, None] * weights)  # (N, 3, 3, H, W)
    offsets = planes.new_tensor((0, 128, 128))[:, None, None]
    return ((terms.sum(dim=2) / _FIXED).floor() + offsets).clamp(0, 255)


def _rgb(luminance: Tensor, blue: Tensor, red: Tensor) -> Tensor:
    """Red, green and blue of the luminance and the two differences, each from -128 to 127."""
    shifts = torch.cat(
        [
            _nearest(red * (_RED_OF_RED * _FIXED)),
            _nearest(blue * (_GREEN_OF_BLUE * _FIXED)) + _nearest(red * (_GREEN_OF_RED * _FIXED)),
            _nearest(blue * (_BLUE_OF_BLUE * _FIXED)),
        ],
        dim=1,
    )
    return (luminance + (shifts / _FIXED).floor()).clamp(0, 255)


def _flattened(plane: Tensor) -> Tensor:
    """One plane after `PIL.ImageOps.equalize`."""
    levels = plane.flatten(1).long()  # (N, H W)
    counts = plane.new_zeros(plane.shape[0], _LEVELS)
    counts = counts.scatter_add(1, levels, torch.ones_like(levels, dtype=plane.dtype))
    of_highest = counts.gather(1, levels.amax(dim=1, keepdim=True))
    step = ((counts.sum(dim=1, keepdim=True) - of_highest) / 255).floor()  # (N, 1)
    below = counts.cumsum(dim=1) - counts
    table = (((step / 2).floor() + below) / step.clamp(min=1)).floor().clamp(max=255)
    unchanged = torch.arange(_LEVELS, dtype=plane.dtype, device=plane.device)
    table = torch.where(step > 0, table, unchanged)
    return table.gather(1, levels).reshape(plane.shape)


def _nearest(values: Tensor) -> Tensor:
    # Pillow cuts off what follows the point, so that negative values are rounded otherwise.
    return (values + 0.5).trunc()
