import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpsearch.datasets.prepare.annotations import Annotations, region_of

pytest.importorskip("shapely")

SQUARE = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], dtype=float)
EVERYWHERE = 1000 * (SQUARE - 5)
U_SHAPE = np.array([(0, 0), (9, 0), (9, 9), (6, 9), (6, 3), (3, 3), (3, 9), (0, 9)], dtype=float)


def covers_square(outline: np.ndarray, x: float, y: float, side: float) -> bool:
    return Annotations((outline,), ()).covers(x, y, side)


def touches_square(outline: np.ndarray, x: float, y: float, side: float) -> bool:
    return not Annotations((EVERYWHERE,), (outline,)).covers(x, y, side)


@pytest.mark.parametrize(
    ("outline", "area"),
    [
        (SQUARE, 100),
        (U_SHAPE, 81 - 18),
        (SQUARE[[0, 2, 1, 3]], 50),  # crosses itself: two triangles
        (SQUARE[:2], 0),
        (SQUARE[[0, 2, 0, 2]], 0),
        (SQUARE[:0], 0),
        (np.array([(0, 0), (10, 0), (10, 10), (10, 20), (10, 10), (0, 10)], float), 100),  # a spike
    ],
)
def test_areas(outline: np.ndarray, area: float) -> None:
    assert region_of(outline).area == area


def test_a_spike_encloses_nothing_that_a_square_could_touch() -> None:
    spike = np.array([(0, 0), (10, 0), (10, 10), (10, 20), (10, 10), (0, 10)], float)
    assert not touches_square(spike, 8, 12, 4)
    assert covers_square(spike, 0, 0, 10)


@pytest.mark.parametrize(
    ("x", "y", "side", "covered", "touched"),
    [
        (2, 2, 3, True, True),
        (0, 0, 10, True, True),  # the very square
        (0, 0, 4, True, True),  # along two edges
        (8, 8, 4, False, True),  # over a corner
        (-5, 3, 4, False, False),
        (10, 0, 5, False, False),  # beside it, with an edge in common
        (-2, -2, 14, False, True),  # around it
        (9.5, 9.5, 5, False, True),
    ],
)
def test_a_square_and_a_square(
    x: float, y: float, side: float, covered: bool, touched: bool
) -> None:
    assert covers_square(SQUARE, x, y, side) == covered
    assert touches_square(SQUARE, x, y, side) == touched


def test_a_bay_is_outside() -> None:
    assert covers_square(U_SHAPE, 0, 3, 3)
    assert not touches_square(U_SHAPE, 3, 4, 3)
    assert not covers_square(U_SHAPE, 2, 2, 5)  # its corners are not all outside
    assert covers_square(U_SHAPE, 0, 0, 3)


def test_an_outline_that_crosses_itself_is_hollow_where_it_overlaps() -> None:
    twice = np.array([(0, 0), (8, 0), (8, 8), (2, 8), (2, 2), (10, 2), (10, 10), (0, 10)], float)
    assert not touches_square(twice, 3, 3, 4)
    assert covers_square(twice, 0, 3, 2)


def test_points_that_repeat_change_nothing() -> None:
    stuttering = np.repeat(U_SHAPE, 3, axis=0)
    for x in range(-1, 10):
        for y in range(-1, 10):
            for test in (covers_square, touches_square):
                assert test(stuttering, x, y, 2) == test(U_SHAPE, x, y, 2)


def inside(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Even-odd by the sum of angles: half turns around each point, an independent definition."""
    odd = np.zeros(len(points), dtype=bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        for i, (px, py) in enumerate(points):
            if (ay > py) != (by > py):
                turn = (bx - ax) * (py - ay) - (px - ax) * (by - ay)
                odd[i] ^= (turn > 0) == (by > ay)
    return odd


@example(corners=[(0, 2), (1, 3), (3, 5)], x=0, y=0, side=3)  # encloses nothing
@settings(max_examples=150, deadline=None)
@given(
    corners=st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=8, unique=True
    ),
    x=st.integers(-2, 20),
    y=st.integers(-2, 20),
    side=st.integers(1, 8),
)
def test_agrees_with_points_of_the_square(
    corners: list[tuple[int, int]], x: int, y: int, side: int
) -> None:
    polygon = np.array(corners, dtype=float)
    # Irrational offsets of no rational ratio keep points off every line through whole numbers.
    columns, rows = (side * (np.arange(12) + 0.5 / np.sqrt(root)) / 12 for root in (2, 3))
    points = np.array([(x + a, y + b) for a in columns for b in rows])
    found = inside(polygon, points)
    if covers_square(polygon, x, y, side):
        assert found.all()
    if not touches_square(polygon, x, y, side):
        assert not found.any()
    if found.any():
        assert touches_square(polygon, x, y, side)
    if not found.all():
        assert not covers_square(polygon, x, y, side)
