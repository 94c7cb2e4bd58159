"""One slide to a folder of tiles, which appears whole or not at all, and a picture of the slide.

The tile to whose stains all others are normalised is the user's, or one by a fixed rule.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from hpsearch.datasets.prepare.annotations import Annotations
from hpsearch.datasets.prepare.challenge import ChallengeSlide
from hpsearch.datasets.prepare.settings import TilingSettings
from hpsearch.datasets.prepare.slides import Slide, open_slide, reduction_to
from hpsearch.datasets.prepare.stains.normaliser import Normalise, StainName, normaliser
from hpsearch.datasets.prepare.tissue import (
    PIXELS_A_CELL,
    Corner,
    choose_corners,
    tissue_corners,
    tissue_mask,
    tumour_corners,
)
from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError
from hpsearch.io.files import atomic_path, write_directory_atomic
from hpsearch.io.text import printable

SLIDES = "slides"  # the folder of the slides' folders
THUMBNAILS = "thumbnails"  # the folder of their pictures
TARGET = "target.png"  # the tile to whose stains the others are normalised
TILES_IN_FLIGHT = 8  # read, normalised and written together by one worker
ENLARGED = 4  # px of the picture along one of the thumbnail
LONGEST = 4096  # px of a panel; of a larger one it is shrunk

_RECORD = "slide.json"
_TISSUE, _TILE, _TUMOUR, _CUT_OUT = (0, 150, 0), (255, 220, 0), (220, 0, 0), (0, 0, 220)


@dataclass(frozen=True)
class TilingJob:
    """A slide to tile and all that decides its tiles.

    Attributes:
        slide: to tile.
        settings: of all slides.
        out: the folder of all tiles.
        device: of the stain normalisation.
        threads: that it may use.
    """

    slide: ChallengeSlide
    settings: TilingSettings
    out: Path
    device: str
    threads: int

    def __str__(self) -> str:
        return self.slide.name


@dataclass(frozen=True)
class SlideRecord:
    """What a slide gave.

    Attributes:
        corners: x, y of each tile at level 0; its file is `tile_name` of them.
        left_out: why there is none.
    """

    corners: tuple[Corner, ...]
    left_out: str = ""


@dataclass(frozen=True, eq=False)
class ChosenTiles:
    """The tiles of a slide, and what they were chosen by.

    Attributes:
        record: the tiles.
        reduction: of level 0 to a tile's pixels.
        side: of a tile, in px of level 0.
        thumbnail: (H, W, 3), with `PIXELS_A_CELL` px along a tile.
        tissue: (H, W).
        annotations: of a slide with a tumour.
    """

    record: SlideRecord
    reduction: int
    side: int
    thumbnail: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    annotations: Annotations | None

    def picture(self) -> Image.Image:
        """For people to look at: what was taken for tissue, and where the tiles lie.

        On the left the slide; on the right the same, pale where it is no tissue, with the edge of
        the tissue in green, the tiles in yellow, annotated tumour in red and what is cut out of it
        in blue.
        """
        height, width = self.tissue.shape
        factor = min(ENLARGED, LONGEST / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pale = np.where(self.tissue[..., None], self.thumbnail, 170 + self.thumbnail // 3)
        left, right = (
            Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
            for pixels in (self.thumbnail, pale)
        )
        inside = Image.fromarray(self.tissue).resize(size, Image.Resampling.NEAREST)
        edge = np.asarray(inside) & ~binary_erosion(np.asarray(inside))
        right.paste(_TISSUE, mask=Image.fromarray(edge))
        pen = ImageDraw.Draw(right)
        side = self.side
        zoom = factor / (side // PIXELS_A_CELL)
        for x, y in self.record.corners:
            begin, end = (x * zoom, y * zoom), ((x + side) * zoom - 1, (y + side) * zoom - 1)
            pen.rectangle((begin, end), outline=_TILE, width=2)
        drawn = self.annotations or Annotations((), ())
        for outlines, colour in ((drawn.tumour, _TUMOUR), (drawn.cut_out, _CUT_OUT)):
            for outline in outlines:
                points = [(x, y) for x, y in (outline * zoom).tolist()]
                pen.line([*points, points[0]], fill=colour, width=2)
        picture = Image.new("RGB", (2 * size[0], size[1]))
        picture.paste(left, (0, 0))
        picture.paste(right, (size[0], 0))
        return picture


@dataclass(frozen=True)
class BadSlide:
    """A slide that cannot be read; takes the place of its record.

    Attributes:
        message: why.
    """

    message: str


def tile_slide(job: TilingJob) -> SlideRecord | BadSlide:
    """Write the picture of a slide, and its tiles into its folder; no tile of one that is bad."""
    # Outside the block below: a target that does not do is not the slide's fault.
    normalise = _normaliser(job.settings.stain, job.out / TARGET, job.device, job.threads)
    side = job.settings.side
    try:
        with open_slide(job.slide.path) as slide:
            chosen = choose_tiles(slide, job.slide, job.settings)
            record = chosen.record
            with atomic_path(thumbnail_file(job.out, job.slide.name)) as picture:
                chosen.picture().save(picture)
            with write_directory_atomic(slide_folder(job.out, job.slide.name)) as folder:
                for start in range(0, len(record.corners), TILES_IN_FLIGHT):
                    corners = record.corners[start : start + TILES_IN_FLIGHT]
                    tiles = np.stack([slide.tile(x, y, side, chosen.reduction) for x, y in corners])
                    for corner, tile in zip(corners, normalise(tiles), strict=True):
                        Image.fromarray(tile).save(folder / tile_name(corner))
                text = json.dumps({"corners": record.corners, "left_out": record.left_out})
                (folder / _RECORD).write_text(text + "\n", encoding="utf-8")
    except DataError as error:
        return BadSlide(str(error))
    return record


def choose_tiles(slide: Slide, source: ChallengeSlide, settings: TilingSettings) -> ChosenTiles:
    """Which tiles a slide gives: of tissue, and of a slide with a tumour wholly inside it.

    Raises:
        DataError: the slide or its annotations cannot be read, or it is coarser than the tiles.
    """
    reduction = reduction_to(slide, settings.magnification)
    side = settings.side * reduction
    thumbnail = slide.thumbnail(side // PIXELS_A_CELL)
    tissue = tissue_mask(thumbnail)
    annotations = None if source.annotation is None else source.annotation.read()
    corners, left_out = tissue_corners(tissue, side), ""
    if not corners:
        left_out = f"no {settings.side} px tile of it is wholly tissue"
    elif annotations is not None:
        corners = tumour_corners(corners, annotations, side)
        if not corners:
            left_out = f"no {settings.side} px tile of it is wholly inside annotated tumour"
    drawn = choose_corners(corners, settings.tiles_per_slide, seed=settings.seed, slide=source.name)
    record = SlideRecord(tuple(drawn), left_out)
    return ChosenTiles(record, reduction, side, thumbnail, tissue, annotations)


def read_target(file: Path) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a target tile.

    Raises:
        DataError: the file is no image.
    """
    return np.asarray(read_image(file).convert("RGB"))


def slide_folder(out: Path, name: str) -> Path:
    """Where the tiles of a slide lie."""
    return out / SLIDES / name


def thumbnail_file(out: Path, name: str) -> Path:
    """The picture of a slide, its tissue and its tiles."""
    return out / THUMBNAILS / f"{name}.png"


def tile_name(corner: Corner) -> str:
    """A tile's file, by its place."""
    return f"x{corner[0]:06d}_y{corner[1]:06d}.png"


def read_record(folder: Path) -> SlideRecord | None:
    """The record of a slide's folder; None where the slide is still to be tiled.

    Raises:
        DataError: it is damaged.
    """
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return SlideRecord(tuple((x, y) for x, y in record["corners"]), record["left_out"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        remedy = f"remove the folder {printable(folder)} and run the same command again"
        raise DataError(f"{printable(folder / _RECORD)}: is damaged; {remedy}") from error


@cache
def _normaliser(stain: StainName, target: Path, device: str, threads: int) -> Normalise:
    """The normalisation of this process."""
    if stain == "none":
        return normaliser(stain, None)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    return normaliser(stain, read_target(target), device=device)


def target_digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of a target tile."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def choose_target(
    slides: Iterable[ChallengeSlide], settings: TilingSettings
) -> tuple[NDArray[np.uint8], str]:
    """The target tile (side, side, 3) by a fixed rule, and the name of its slide.

    Of the first normal training slide, by name, that has tissue, it is the tile of median
    brightness among those that are drawn from it: a usual tile, neither fold nor fat.

    Raises:
        DataError: a slide cannot be read, or none has tissue.
    """
    side = settings.side
    for source in slides:
        if source.split != "train" or not source.is_normal:
            continue
        with open_slide(source.path) as slide:
            chosen = choose_tiles(slide, source, settings)
            corners, reduction = chosen.record.corners, chosen.reduction
            if corners:
                brightness = [slide.tile(x, y, side, reduction).mean() for x, y in corners]
                x, y = corners[int(np.argsort(brightness)[(len(corners) - 1) // 2])]
                return slide.tile(x, y, side, reduction), source.name
    what = f"no {side} px tile of a normal training slide is wholly tissue"
    raise DataError(f"{what}; give another --tile-size, or a tile with --target")


def write_target(pixels: NDArray[np.uint8], to: Path) -> None:
    """Keep the target tile with what is normalised to it."""
    with atomic_path(to) as temporary:
        Image.fromarray(pixels).save(temporary)
