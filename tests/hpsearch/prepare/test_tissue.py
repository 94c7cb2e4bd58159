from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.prepare.slides import open_slide
from hpsearch.prepare.tissue import otsu_threshold, tissue_mask, whole_cells

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


def test_a_cell_is_whole_or_not_taken() -> None:
    mask = np.ones((7, 11), dtype=bool)
    mask[4, 5] = False
    np.testing.assert_array_equal(whole_cells(mask, 3), [[True, True, True], [True, False, True]])
