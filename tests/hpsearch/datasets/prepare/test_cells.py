import numpy as np
import pytest

from hpsearch.datasets.prepare.tissue import choose_corners

CORNERS = [(x, y) for y in range(0, 960, 96) for x in range(0, 960, 96)]


def test_the_draw_is_of_the_seed_and_the_slide_alone() -> None:
    drawn = choose_corners(CORNERS, 20, seed=3, slide="normal_001")
    assert drawn == choose_corners(list(CORNERS), 20, seed=3, slide="normal_001")
    assert drawn != choose_corners(CORNERS, 20, seed=4, slide="normal_001")
    assert drawn != choose_corners(CORNERS, 20, seed=3, slide="normal_010")


@pytest.mark.parametrize("n", [0, 1, 50, 100, 200])
def test_no_tile_twice_and_in_reading_order(n: int) -> None:
    drawn = choose_corners(CORNERS, n, seed=0, slide="a")
    assert len(drawn) == min(n, len(CORNERS))
    assert drawn == sorted(set(drawn) & set(CORNERS), key=lambda corner: corner[::-1])


def test_every_tile_has_the_same_chance() -> None:
    counts = dict.fromkeys(CORNERS, 0)
    for seed in range(400):
        for corner in choose_corners(CORNERS, 25, seed=seed, slide="a"):
            counts[corner] += 1
    # Binomial(400, 1/4): mean 100, standard deviation 8.7.
    assert np.abs(np.array(list(counts.values())) - 100).max() < 4.5 * 8.7
