"""Pillow's central crop and bilinear resizing as tensor operations, to the last bit.

Pillow resizes an 8-bit image along its rows and then along its columns, with weights in fixed point
and a rounding after each. Each pass is a product with a matrix of weights, so that one graph serves
images of any size.
"""

import torch
from torch import Tensor

_ONE = 2.0**22  # a weight of 1 in Pillow's fixed point


def resized_square(planes: Tensor, *, fraction: float, size: int) -> Tensor:
    """What `hpsearch.datasets.pixels.preprocess` makes of an image by cropping and resizing.

    Args:
        planes: `(N, C, H, W)` of float64, whole numbers from 0 to 255.
        fraction: of the shorter side that the central square keeps.
        size: side in px of what is returned.

    Returns:
        `(N, C, size, size)` of float64, whole numbers from 0 to 255.
    """
    rows, columns = (
        torch.arange(length, dtype=torch.float64, device=planes.device)
        for length in planes.shape[2:]
    )
    shorter = torch.minimum(rows[-1], columns[-1]) + 1
    side = (shorter * fraction).round().clamp(min=1)
    widened = _rounded(planes @ _weights(columns, side, size).T)
    return _rounded(_weights(rows, side, size) @ widened)


def _weights(positions: Tensor, side: Tensor, size: int) -> Tensor:
    """Weight `(size, L)` of each of `L` positions in each resized pixel, in fixed point."""
    start = ((positions[-1] + 1 - side) / 2).floor()
    inside = positions - start
    scale = side / size
    resized = torch.arange(size, dtype=torch.float64, device=positions.device)
    centres = (resized + 0.5) * scale
    distance = (inside + 0.5 - centres[:, None]) / scale.clamp(min=1)
    tent = (1 - distance.abs()).clamp(min=0) * ((inside >= 0) & (inside < side))
    shares = tent / tent.sum(dim=1, keepdim=True)
    return (shares * _ONE + 0.5).floor()


def _rounded(sums: Tensor) -> Tensor:
    return (sums / _ONE + 0.5).floor().clamp(0, 255)
