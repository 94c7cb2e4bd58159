import numpy as np
import pytest

from hpsearch.model.estimator import as_grey_levels, flattened, image_shape, images_of


@pytest.mark.parametrize(
    ("n_features", "shape"),
    [(784, (28, 28, 1)), (3072, (32, 32, 3)), (1, (1, 1, 1)), (3, (1, 1, 3)), (10, (4, 4, 1))],
)
def test_the_shape_that_rows_fill(n_features: int, shape: tuple[int, int, int]) -> None:
    assert image_shape(None, n_features) == shape


def test_there_and_back() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    for given in (images, images.tolist()):
        rows, shape = flattened(given)
        assert shape == (12, 12, 3)
        back = images_of(np.asarray(rows, np.uint8), image_shape(shape, rows.shape[1]), 12)
        assert np.array_equal(back, images)
    assert flattened(rows) == (rows, None)


def test_what_a_row_lacks_is_black() -> None:
    image = images_of(np.full((1, 5), 255, np.uint8), (3, 3, 1), 3)[0, :, :, 0]
    assert image.tolist() == [[255, 255, 255], [255, 255, 0], [0, 0, 0]]


def test_grey_levels_of_a_range() -> None:
    levels = as_grey_levels(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), (-1, 1))
    assert levels.tolist() == [0, 0, 128, 255, 255]
    pixels = np.array([0, 7, 255], np.uint8)
    assert as_grey_levels(pixels, (0, 255)) is pixels


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 16)])
def test_floats_of_another_scale_are_refused(kind: type, low: float, high: float) -> None:
    values = np.linspace(low, high, 50).astype(kind)
    with pytest.raises(ValueError, match=rf"value_range=\(0, 255\) .* from {low} to {high}"):
        as_grey_levels(values, (0, 255))
    assert as_grey_levels(values, (low, high)).max() == 255


def test_values_wholly_beyond_the_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"value_range=\(0, 255\) .* from 300 to 60000"):
        as_grey_levels(np.array([300, 60_000], np.uint16), (0, 255))
    with pytest.raises(ValueError, match=r"value_range=\(0, 1\) .* from 20 to 240"):
        as_grey_levels(np.array([20, 240], np.uint8), (0, 1))


def test_what_may_well_be_dark_or_pale_is_taken() -> None:
    assert as_grey_levels(np.zeros(9), (0, 255)).max() == 0  # black on any scale
    assert as_grey_levels(np.array([0, 1], np.uint8), (0, 255)).tolist() == [0, 1]
    assert as_grey_levels(np.array([120.0, 130.0]), (0, 255)).tolist() == [120, 130]
