"""Pillow's central crop and bilinear resizing as tensor operations, to the last bit.

Pillow resizes an 8-bit image along its rows and along its columns, with weights in fixed point and
a rounding after each. Each pass is a product with a matrix of weights, so that one graph serves
images of any size. Which pass comes first hangs on the sizes since Pillow 13, so both orders are
here.
"""

import torch
from torch import Tensor

_ONE = 2.0**22  # a weight of 1 in Pillow's fixed point


def resized_square(planes: Tensor, *, fraction: float, size: int, stretch: bool = False) -> Tensor:
    """What `hpsearch.datasets.pixels.preprocess` makes of an image by cropping and resizing.

    Args:
        planes: `(N, C, H, W)` of float64, whole numbers from 0 to 255.
        fraction: of the side that the central part keeps.
        size: side in px of what is returned.
        stretch: whether the part has the image's own shape; else it is a square.

    Returns:
        `(N, C, size, size)` of float64, whole numbers from 0 to 255.
    """
    rows, columns = (
        torch.arange(length, dtype=torch.float64, device=planes.device)
        for length in planes.shape[2:]
    )
    height, width = rows[-1] + 1, columns[-1] + 1
    if not stretch:
        height = width = torch.minimum(height, width)
    down, across = ((side * fraction).round().clamp(min=1) for side in (height, width))
    along_rows = _weights(columns, across, size).T  # (W, size)
    along_columns = _weights(rows, down, size)  # (size, H)
    rows_first = _rounded(along_columns @ _rounded(planes @ along_rows))
    if not stretch:
        return rows_first
    columns_first = _rounded(_rounded(along_columns @ planes) @ along_rows)
    shrinks_more = (down > size) & (down - size > 2 * (across - size))
    return torch.where(shrinks_more, columns_first, rows_first)


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
