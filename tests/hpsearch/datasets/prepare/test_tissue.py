import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_dilation

from hpsearch.datasets.prepare.slides import open_slide
from hpsearch.datasets.prepare.tissue import otsu_threshold, tissue_mask, whole_cells

SCALE = 32


@given(st.lists(st.integers(0, 30), min_size=2, max_size=16).map(np.array))
def test_otsu_leaves_the_least_variance_within_the_classes(histogram: np.ndarray) -> None:
    values = np.repeat(np.arange(len(histogram)), histogram)
    found = otsu_threshold(histogram)
    if len(set(values)) < 2:
        assert found is None
        return

    def within(threshold: int) -> float:
        parts = values[values <= threshold], values[values > threshold]
        return float(sum(len(part) * np.var(part) for part in parts))

    assert found is not None
    least = min(within(t) for t in range(values.min(), values.max()))
    assert within(found) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("levels", [6, 4, 1])
@pytest.mark.parametrize("stain", ["pink", "blue"])
def test_the_mask_is_the_tissue(
    made: SimpleNamespace, tmp_path: Path, stain: str, levels: int
) -> None:
    path = made.write(tmp_path / "a.tif", made.pixels(made.tissue, stain, 0), levels=levels)
    with open_slide(path) as slide:
        mask = tissue_mask(slide.thumbnail(SCALE))
    columns, rows = (length // SCALE for length in made.size)
    share = made.tissue.mask().reshape(rows, SCALE, columns, SCALE).mean(axis=(1, 3))
    truth = share > 0.5
    overlap = (mask & truth).sum() / (mask | truth).sum()
    assert overlap >= 0.9


@pytest.mark.parametrize("stain", ["pink", "blue"])
def test_on_a_clean_slide_otsu_alone_decides(made: SimpleNamespace, stain: str) -> None:
    thumbnail = thumbnail_of(made.pixels(made.tissue, stain, 3))
    grey = np.rint(thumbnail @ np.array([0.299, 0.587, 0.114])).astype(int)
    threshold = otsu_threshold(np.bincount(grey.ravel(), minlength=256))
    assert threshold is not None
    np.testing.assert_array_equal(
        whole_cells(tissue_mask(thumbnail), 3), whole_cells(grey <= threshold, 3)
    )


def test_a_slide_of_glass_has_none(made: SimpleNamespace) -> None:
    noise = np.random.default_rng(0).normal(240, 5, (60, 80, 3)).clip(0, 255).astype(np.uint8)
    assert not tissue_mask(noise).any()
    assert not tissue_mask(np.full((6, 8, 3), 240, np.uint8)).any()


def test_a_slide_that_was_not_scanned_has_none() -> None:
    noise = np.random.default_rng(0).integers(0, 25, (60, 80, 3)).astype(np.uint8)
    assert not tissue_mask(noise).any()


def test_black_around_the_glass_is_no_tissue(made: SimpleNamespace) -> None:
    thumbnail = np.zeros((60, 80, 3), np.uint8)
    thumbnail[10:50, 10:70] = made.glass
    thumbnail[20:40, 20:50] = made.stains["blue"]
    expected = np.zeros((60, 80), dtype=bool)
    expected[20:40, 20:50] = True
    np.testing.assert_array_equal(tissue_mask(thumbnail), expected)


MARKS = ["blue pen", "green pen", "black pen", "ink pen", "ring", "bubbles"]


def thumbnail_of(pixels: np.ndarray) -> np.ndarray:
    rows, columns = (length // SCALE for length in pixels.shape[:2])
    cut = pixels[: rows * SCALE, : columns * SCALE].reshape(rows, SCALE, columns, SCALE, 3)
    return np.asarray(np.rint(cut.mean(axis=(1, 3))).astype(np.uint8))


def share_of(truth: np.ndarray) -> np.ndarray:
    """Of each pixel of a thumbnail."""
    return thumbnail_of(np.repeat(truth[..., None] * np.uint8(200), 3, axis=2))[..., 0] / 200


@pytest.mark.parametrize("stain", ["pink", "blue"])
@pytest.mark.parametrize("mark", MARKS)
def test_what_was_put_on_a_slide_is_no_tissue_and_hides_none(
    made: SimpleNamespace, mark: str, stain: str
) -> None:
    plain = made.pixels(made.tissue, stain, 0)
    draw, where = made.marks[mark]
    mask, expected = (tissue_mask(thumbnail_of(pixels)) for pixels in (draw(plain), plain))
    covered = share_of(where)
    seen = 0.7 if mark == "bubbles" else 0.2  # an edge that falls on two pixels darkens both less
    assert not (mask & (covered > seen)).any()
    clear = ~binary_dilation(covered > 0, np.ones((3, 3), dtype=bool))
    assert ((mask ^ expected) & clear).sum() <= 0.01 * expected.sum()  # at the edge of the tissue


@pytest.mark.parametrize("grey", range(90, 240, 20))
def test_a_ring_of_any_grey_leaves_the_tissue(made: SimpleNamespace, grey: int) -> None:
    plain = thumbnail_of(made.pixels(made.tissue, "pink", 0))
    ringed = plain.copy()
    ringed[:3] = ringed[-3:] = ringed[:, :3] = ringed[:, -3:] = grey
    mask, expected = tissue_mask(ringed), tissue_mask(plain)
    assert not (mask[:3].any() or mask[-3:].any() or mask[:, :3].any() or mask[:, -3:].any())
    assert (mask ^ expected)[4:-4, 4:-4].sum() <= 0.01 * expected.sum()  # at the edge of the tissue


def test_pieces_of_tissue_are_found_however_they_differ(made: SimpleNamespace) -> None:
    thumbnail = np.empty((60, 80, 3), np.uint8)
    thumbnail[:] = made.glass
    expected = np.zeros((60, 80), dtype=bool)
    pieces = {(110, 70, 150): 5, (150, 118, 196): 30, (226, 186, 212): 55}
    for colour, left in pieces.items():
        thumbnail[10:50, left : left + 20] = colour
        expected[10:50, left : left + 20] = True
    np.testing.assert_array_equal(tissue_mask(thumbnail), expected)


def test_a_pale_piece_with_hardly_a_contrast_to_glass_stays_none(made: SimpleNamespace) -> None:
    thumbnail = np.empty((60, 80, 3), np.uint8)
    thumbnail[:] = made.glass
    thumbnail[10:50, 5:25] = made.stains["pink"]
    thumbnail[10:50, 40:70] = (240, 214, 232)  # fat
    assert not tissue_mask(thumbnail)[:, 40:].any()


@pytest.mark.shared_data
def test_real_tissue_is_within_the_limits_of_colour(shared_data: Path) -> None:
    """Thirds of LC25000's tiles, which are of some 256 px at x40, on glass as a slide has it."""
    with tarfile.open(shared_data / "lc25000_lung.tar.gz") as archive:
        names = [m for m in archive if m.name.endswith((".png", ".jpg", ".jpeg"))][::20]
        tiles = [Image.open(archive.extractfile(m)).convert("RGB") for m in names]  # type: ignore[arg-type]
    thirds = np.stack([np.asarray(tile.resize((3, 3), Image.Resampling.BOX)) for tile in tiles])
    thumbnail = np.full((3 * len(tiles), 9, 3), 243, np.uint8)
    thumbnail[:, 3:6] = thirds.reshape(-1, 3, 3)
    grey = thumbnail @ np.array([0.299, 0.587, 0.114])
    by_otsu = grey[:, 3:6] <= (otsu_threshold(np.bincount(np.rint(grey).astype(int).ravel())) or 0)
    lost = by_otsu & ~tissue_mask(thumbnail)[:, 3:6]
    assert lost.sum() <= 0.01 * by_otsu.sum()


def test_a_cell_is_whole_or_not_taken() -> None:
    mask = np.ones((7, 11), dtype=bool)
    mask[4, 5] = False
    np.testing.assert_array_equal(whole_cells(mask, 3), [[True, True, True], [True, False, True]])
