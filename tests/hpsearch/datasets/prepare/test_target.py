from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.datasets.prepare.challenge import find_slides
from hpsearch.datasets.prepare.settings import TilingSettings
from hpsearch.datasets.prepare.slides import open_slide
from hpsearch.datasets.prepare.tiling import (
    choose_target,
    choose_tiles,
    read_target,
    target_digest,
    write_target,
)
from hpsearch.errors import DataError

SETTINGS = TilingSettings(tile_size=96, tiles_per_slide=9)


def test_the_rule_takes_the_tile_of_median_brightness(challenge: Path, tmp_path: Path) -> None:
    slides = [slide for slide in find_slides(challenge) if slide.name != "normal_001"]
    target, name = choose_target(slides, SETTINGS)
    assert name == "normal_003"  # the first by name; normal_002 is blank
    (chosen,) = [slide for slide in slides if slide.name == name]
    with open_slide(chosen.path) as slide:
        corners = choose_tiles(slide, chosen, SETTINGS).record.corners
        tiles = [slide.tile(x, y, 96) for x, y in corners]
    means = [tile.mean() for tile in tiles]
    (middle,) = [tile for tile in tiles if tile.mean() == np.median(means)]
    np.testing.assert_array_equal(target, middle)
    write_target(target, tmp_path / "target.png")
    np.testing.assert_array_equal(read_target(tmp_path / "target.png"), middle)


def test_no_slide_to_choose_it_from(challenge: Path) -> None:
    slides = [slide for slide in find_slides(challenge) if slide.name == "normal_002"]
    with pytest.raises(
        DataError, match="no 96 px tile of a normal training slide is wholly tissue"
    ):
        choose_target(slides, SETTINGS)


def test_a_digest_is_of_the_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    one, two = (target_digest(read_target(tmp_path / f"a.{kind}")) for kind in ("png", "bmp"))
    assert one == two == target_digest(pixels)
    assert one != target_digest(pixels[::-1])
    assert one != target_digest(pixels.reshape(64, 16, 3))
