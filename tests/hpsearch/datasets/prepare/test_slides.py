import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpsearch.datasets.prepare.slides import magnification_of, open_slide, reduction_to
from hpsearch.errors import DataError, UserError

SCALE = 32


@pytest.fixture(scope="module")
def pixels(made: SimpleNamespace) -> np.ndarray:
    rng = np.random.default_rng(1)
    grains = rng.integers(60, 240, (HEIGHT := 700, WIDTH := 900, 3)).astype(np.uint8)
    grains[: HEIGHT // 2, : WIDTH // 2] //= 2
    return grains


def test_a_tile_is_the_pixels_of_level_0(
    made: SimpleNamespace, pixels: np.ndarray, tmp_path: Path
) -> None:
    with open_slide(made.write(tmp_path / "a.tif", pixels)) as slide:
        assert slide.size == (900, 700)
        np.testing.assert_array_equal(slide.tile(123, 45, 96), pixels[45:141, 123:219])
        beyond = slide.tile(840, 640, 96)
    np.testing.assert_array_equal(beyond[:60, :60], pixels[640:, 840:])
    assert (beyond[60:] == 255).all()


@pytest.mark.parametrize("levels", [6, 3, 1])
def test_a_thumbnail_is_the_mean_with_any_pyramid(
    made: SimpleNamespace, pixels: np.ndarray, tmp_path: Path, levels: int
) -> None:
    with open_slide(made.write(tmp_path / "a.tif", pixels, levels=levels)) as slide:
        thumbnail = slide.thumbnail(SCALE)
    rows, columns = 700 // SCALE, 900 // SCALE
    blocks = pixels[: rows * SCALE, : columns * SCALE].reshape(rows, SCALE, columns, SCALE, 3)
    means = blocks.mean(axis=(1, 3))
    assert np.abs(thumbnail - means).max() <= (levels + 1) / 2  # each level is rounded


def test_blocks_leave_no_seams(
    made: SimpleNamespace, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.write(tmp_path / "a.tif", pixels, levels=1)
    with open_slide(path) as slide:
        at_once = slide.thumbnail(SCALE)
        monkeypatch.setattr("hpsearch.datasets.prepare.slides._BLOCK", 100)
        np.testing.assert_allclose(slide.thumbnail(SCALE).astype(int), at_once, atol=1)


def test_a_slide_smaller_than_a_tile(made: SimpleNamespace, tmp_path: Path) -> None:
    path = made.write(tmp_path / "a.tif", np.zeros((20, 500, 3), np.uint8), levels=1)
    with open_slide(path) as slide, pytest.raises(DataError, match="500x20 px, too small"):
        slide.thumbnail(SCALE)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, None),
        ({"openslide.mpp-x": "0.25"}, 40),
        ({"openslide.mpp-x": "0.5", "openslide.objective-power": "40"}, 20),
        ({"openslide.mpp-x": "0.25", "openslide.objective-power": "20"}, 40),
        ({"openslide.mpp-x": "352.8", "openslide.objective-power": "20"}, 20),  # 72 dpi
        ({"openslide.mpp-x": "352.8"}, None),
        ({"openslide.mpp-x": "nonsense"}, None),
        ({"openslide.mpp-x": "0"}, None),
        ({"openslide.objective-power": "nan"}, None),
    ],
)
def test_magnification(properties: dict[str, str], expected: float | None) -> None:
    assert magnification_of(properties) == expected


@pytest.mark.parametrize(
    ("microns", "asked", "reduction"),
    [
        (0.243, 40, 1),
        (0.226, 40, 1),
        (0.125, 40, 2),
        (None, 40, 1),
        (None, 10, 4),
        (0.5, 40, None),
        (0.5, 20, 1),
        (0.46, 20, 1),
        (0.5, 10, 2),
        (0.243, 20, 2),
        (1.0, 20, None),
    ],
)
def test_a_slide_is_read_at_its_own_scale_or_a_part_of_it_and_never_enlarged(
    made: SimpleNamespace,
    pixels: np.ndarray,
    tmp_path: Path,
    microns: float | None,
    asked: int,
    reduction: int | None,
) -> None:
    with open_slide(made.write(tmp_path / "a.tif", pixels, microns=microns, levels=1)) as slide:
        if reduction is None:
            with pytest.raises(
                DataError, match=rf"say x[12]0, not x{asked}; remove it, or give"
            ) as e:
                reduction_to(slide, asked)
            assert str(e.value).isprintable()
            return
        assert reduction_to(slide, asked) == reduction
        tile = slide.tile(10, 20, 24, reduction)
    side = 24 * reduction
    blocks = pixels[20 : 20 + side, 10 : 10 + side].reshape(24, reduction, 24, reduction, 3)
    assert np.abs(tile - blocks.mean(axis=(1, 3))).max() <= 0.5


def test_one_line_for_what_is_no_slide(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("not a slide")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "folder.tif").mkdir()
    os.mkfifo(tmp_path / "pipe.tif")
    for name in ("text.tif", "empty.tif", "folder.tif", "pipe.tif", "none.tif"):
        with pytest.raises(DataError) as caught, open_slide(tmp_path / name):
            pass
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert str(caught.value).isprintable()


def test_a_slide_that_was_cut_short(
    made: SimpleNamespace, pixels: np.ndarray, tmp_path: Path
) -> None:
    path = made.write(tmp_path / "a.tif", pixels, levels=1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="download it again") as caught, open_slide(path) as slide:
        slide.tile(800, 600, 96)
    assert str(caught.value).isprintable()


def test_without_openslide_the_extra_is_named(
    made: SimpleNamespace, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.write(tmp_path / "a.tif", pixels, levels=1)
    monkeypatch.setitem(sys.modules, "openslide", None)
    with (
        pytest.raises(UserError, match=r"pip install 'hpsearch\[wsi\]'") as caught,
        open_slide(path),
    ):
        pass
    assert str(caught.value).isprintable()
