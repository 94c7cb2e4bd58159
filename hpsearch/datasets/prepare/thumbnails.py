"""A picture of a slide for people to look at: what was taken for tissue, and where the tiles lie.

On the left the slide; on the right the same, pale where it is no tissue, with the edge of the
tissue in green, the tiles in yellow, annotated tumour in red and what is cut out of it in blue.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from hpsearch.datasets.prepare.annotations import Annotations
from hpsearch.datasets.prepare.tissue import Corner

ENLARGED = 4  # px of the picture along one of the thumbnail
LONGEST = 4096  # px of a panel; of a larger one it is shrunk

_TISSUE, _TILE, _TUMOUR, _CUT_OUT = (0, 150, 0), (255, 220, 0), (220, 0, 0), (0, 0, 220)


def draw_slide(
    thumbnail: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    corners: Iterable[Corner],
    *,
    side: int,
    scale: int,
    annotations: Annotations | None = None,
) -> Image.Image:
    """The picture.

    Args:
        thumbnail: (H, W, 3).
        tissue: (H, W).
        corners: of the tiles, at level 0.
        side: of a tile, in px of level 0.
        scale: px of level 0 along one of the thumbnail.
        annotations: outlines at level 0.
    """
    height, width = tissue.shape
    factor = min(ENLARGED, LONGEST / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    pale = np.where(tissue[..., None], thumbnail, 170 + thumbnail // 3)
    left, right = (
        Image.fromarray(pixels).resize(size, Image.Resampling.BOX) for pixels in (thumbnail, pale)
    )
    inside = np.asarray(Image.fromarray(tissue).resize(size, Image.Resampling.NEAREST))
    right.paste(_TISSUE, mask=Image.fromarray(inside & ~binary_erosion(inside)))
    pen = ImageDraw.Draw(right)
    zoom = factor / scale
    for x, y in corners:
        begin, end = (x * zoom, y * zoom), ((x + side) * zoom - 1, (y + side) * zoom - 1)
        pen.rectangle((begin, end), outline=_TILE, width=2)
    if annotations is not None:
        for outlines, colour in ((annotations.tumour, _TUMOUR), (annotations.cut_out, _CUT_OUT)):
            for outline in outlines:
                points = [(x, y) for x, y in (outline * zoom).tolist()]
                pen.line([*points, points[0]], fill=colour, width=2)
    picture = Image.new("RGB", (2 * size[0], size[1]))
    picture.paste(left, (0, 0))
    picture.paste(right, (size[0], 0))
    return picture
