"""A model's preprocessing as a network: any image in, the square that its detector sees out.

What Pillow does in `hpsearch.datasets.pixels.preprocess` is done here with tensors, to the last
bit. Planes are `(N, C, H, W)` of float64 that hold whole numbers from 0 to 255. Pillow resizes an
8-bit image along its rows and along its columns, with weights in fixed point and a rounding after
each. Each pass is a product with a matrix of weights, so that one graph serves images of any size.
Which pass comes first hangs on the sizes since Pillow 13, so both orders are here.
"""

import torch
from torch import Tensor, nn

from hpsearch.model.images import PreprocessingFacts


class Preprocess(nn.Module):
    """What `hpsearch.model.images.as_seen` does to an image, on a batch of one size.

    Args:
        facts: of the model. A window of two numbers is applied here; the window that a DICOM file
            names itself is applied by whoever reads the file.
            So are an EXIF orientation and white behind what is transparent: see
            `hpsearch.datasets.reading`.

    Attributes:
        channels: of the images that it takes, 1 or 3. Where it is 3, a grey image is given as three
            equal channels.
        dtype: of these images: uint8, or float32 where a window says what is black and white.
    """

    def __init__(self, facts: PreprocessingFacts) -> None:
        super().__init__()
        self.facts = facts
        self.limits = facts.window if isinstance(facts.window, tuple) else None
        always_grey = facts.channels == 1 and not facts.steps.greyscale
        self.channels = 1 if facts.window or always_grey else 3
        self.dtype = torch.float32 if self.limits else torch.uint8

    def forward(self, images: Tensor) -> Tensor:
        """uint8 `(N, size, size, channels)` of images `(N, H, W, self.channels)`."""
        steps = self.facts.steps
        planes = images.permute(0, 3, 1, 2).double()  # (N, C, H, W)
        if self.limits:
            low, high = self.limits
            planes = ((planes - low) / (high - low) * 255).clamp(0, 255).round()
        if steps.greyscale and self.channels == 3:
            planes = grey(planes)
        if steps.equalize:
            planes = equalized(planes)
        square = resized_square(
            planes, fraction=steps.central_crop, size=steps.size, stretch=steps.fit == "stretch"
        )
        return square.to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, self.facts.channels)


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
    weights = planes.new_tensor(_YCBCR)[:, :, None, None] * _FIXED
    terms = _nearest(planes[:, None] * weights)  # (N, 3, 3, H, W)
    offsets = planes.new_tensor((0, 128, 128))[:, None, None]
    ycbcr = ((terms.sum(dim=2) / _FIXED).floor() + offsets).clamp(0, 255)
    luminance, blue, red = ycbcr.chunk(3, dim=1)
    return _rgb(_flattened(luminance), blue - 128, red - 128)


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
