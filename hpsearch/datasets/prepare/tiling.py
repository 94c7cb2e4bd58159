"""One slide to a folder of tiles, which appears whole or not at all.

The tile to whose stains all others are normalised: the user's, or one by a fixed rule.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.prepare.annotations import Annotations
from hpsearch.datasets.prepare.challenge import ChallengeSlide
from hpsearch.datasets.prepare.settings import Stain, TilingSettings
from hpsearch.datasets.prepare.slides import Slide, open_slide, reduction_to
from hpsearch.datasets.prepare.thumbnails import draw_slide
from hpsearch.datasets.prepare.tissue import (
    PIXELS_A_CELL,
    Corner,
    choose_corners,
    tissue_corners,
    tissue_mask,
    tumour_corners,
)
from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import atomic_path, printable, write_directory_atomic

Normalise = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]  # tiles (N, H, W, 3) to the same

SLIDES = "slides"  # the folder of the slides' folders
THUMBNAILS = "thumbnails"  # the folder of their pictures
TARGET = "target.png"  # the tile to whose stains the others are normalised
TILES_IN_FLIGHT = 8  # read, normalised and written together by one worker

_RECORD = "slide.json"


@dataclass(frozen=True)
class TilingJob:
    """A slide to tile and all that decides its tiles."""

    slide: ChallengeSlide
    settings: TilingSettings
    out: Path
    device: str  # of the stain normalisation
    threads: int  # that it may use

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
        """The slide, its tissue and its tiles."""
        return draw_slide(
            self.thumbnail,
            self.tissue,
            self.record.corners,
            side=self.side,
            scale=self.side // PIXELS_A_CELL,
            annotations=self.annotations,
        )


@dataclass(frozen=True)
class BadSlide:
    """A slide that cannot be read; takes the place of its record."""

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
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return SlideRecord(tuple((x, y) for x, y in found["corners"]), found["left_out"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        mend = f"remove the folder {printable(folder)} and run the same command again"
        raise DataError(f"{printable(folder / _RECORD)}: is damaged; {mend}") from error


def make_normaliser(stain: Stain, target: NDArray[np.uint8], device: str) -> Normalise:
    """The normalisation of tiles to a target tile.

    Raises:
        SpecError: the device is not there, or a library that the normalisation needs.
        DataError: the target shows too little tissue.
    """
    if stain == "none":  # without importing torch, which takes seconds and memory
        return _unchanged
    from hpsearch.datasets.prepare.stains.choice import normaliser

    try:
        return normaliser(stain, target, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has no one error for it
        what = f"cannot be used ({printable(error).splitlines()[0][:100]})"
        raise SpecError(f"device '{printable(device)[:50]}' {what}; give cpu") from error


@cache
def _normaliser(stain: Stain, target: Path, device: str, threads: int) -> Normalise:
    """The normalisation of this process."""
    if stain == "none":
        return _unchanged
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    return make_normaliser(stain, read_target(target), device)


def _unchanged(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return tiles


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
