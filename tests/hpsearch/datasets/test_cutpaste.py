import numpy as np
import pytest
from numpy.typing import NDArray

from hpsearch.datasets.cutpaste import counterparts, cut_paste

Images = NDArray[np.uint8]
RNG = np.random.default_rng


def _noise(side: int, channels: int, seed: int = 0) -> Images:
    return RNG(seed).integers(0, 256, (side, side, channels), np.uint8)


def _changed(before: Images, after: Images) -> NDArray[np.bool_]:
    return (before != after).any(axis=-1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 9, 32, 64])
def test_some_pixels_differ_and_at_most_the_largest_patch(side: int, channels: int) -> None:
    image = _noise(side, channels)
    for seed in range(200):
        made = cut_paste(image, RNG(seed))
        assert (made.shape, made.dtype) == (image.shape, np.uint8)
        assert 0 < _changed(image, made).mean() <= 0.15


def test_the_input_is_left_as_it_is() -> None:
    image = _noise(32, 3)
    before = image.copy()
    cut_paste(image, RNG(0))
    assert np.array_equal(image, before)


def test_half_are_patches_and_half_are_thin_scars() -> None:
    image = _noise(64, 3)
    # A scar has at most 0.25 x 0.06 of the area, a patch at least 0.02; noise changes all over.
    areas = [_changed(image, cut_paste(image, RNG(seed))).mean() for seed in range(400)]
    thin = np.mean([area < 0.0175 for area in areas])
    assert 0.4 < thin < 0.6
    assert max(areas) > 0.12


def test_what_is_pasted_is_a_piece_of_the_image_from_elsewhere() -> None:
    """On a ramp each place has its own grey, so a piece in its own place would be no darker."""
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, axis=0)
    moved = []
    for seed in range(100):
        made = cut_paste(ramp, RNG(seed))
        where = _changed(ramp, made)
        assert made[where].max() <= 1.25 * ramp.max()
        moved.append(np.abs(made[where].astype(float) - ramp[where]).mean())
    # 64 columns, 4 grey levels a column: two places are a third of the width apart on average,
    # and brightness alone, by a tenth of the grey at most, would give less than 13.
    assert np.mean(moved) > 30


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 30, 200)])
def test_an_image_of_one_colour_comes_back(colour: tuple[int, ...]) -> None:
    image = np.full((16, 16, 3), colour, np.uint8)
    made = cut_paste(image, RNG(0))
    assert np.array_equal(made, image)
    assert made is not image


def test_the_smallest_difference_is_enough_to_make_a_defect() -> None:
    """Black but for one pixel, as the border of a scan is: most pieces equal what they cover."""
    image = np.zeros((16, 16, 1), np.uint8)
    image[8, 5] = 200
    for seed in range(50):
        assert _changed(image, cut_paste(image, RNG(seed))).any()


def test_a_counterpart_hangs_on_image_row_and_seed_and_on_nothing_else() -> None:
    pixels = np.stack([_noise(16, 3, seed) for seed in range(6)])
    pixels[5] = pixels[2]
    made = counterparts(pixels, np.array([2, 4, 5]), size=16, seed=7)
    assert np.array_equal(counterparts(pixels, np.array([4, 2]), size=16, seed=7), made[[1, 0]])
    assert not np.array_equal(made[0], made[2]), "the same image in another row"
    assert not np.array_equal(counterparts(pixels, np.array([2]), size=16, seed=8)[0], made[0])


@pytest.mark.parametrize(("side", "seen"), [(24, 8), (25, 8), (16, 16), (96, 32)])
def test_the_defect_lies_in_the_part_that_is_seen(side: int, seen: int) -> None:
    pixels = np.stack([_noise(side, 3, seed) for seed in range(30)])
    changed = _changed(pixels, counterparts(pixels, np.arange(30), size=seen, seed=0))
    start = (side - seen) // 2  # as in dpa_core.batches.centre_crop
    centre = changed[:, start : start + seen, start : start + seen]
    assert centre.any(axis=(1, 2)).all()
    assert centre.sum() == changed.sum()
