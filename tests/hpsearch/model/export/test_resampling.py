import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpsearch.datasets.pixels import FITS, Fit, Preprocessing, preprocess
from hpsearch.model.export.pillow import resized_square

sides = st.integers(8, 150)


@given(
    height=sides,
    width=sides,
    size=st.integers(8, 120),
    fraction=st.floats(0.05, 1),
    fit=st.sampled_from(FITS),
    seed=st.integers(0, 2**32),
)
def test_is_pillows_to_the_last_bit(
    height: int, width: int, size: int, fraction: float, fit: Fit, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    found = resized_square(planes, fraction=fraction, size=size, stretch=fit == "stretch")[0]
    how = Preprocessing(size, central_crop=fraction, fit=fit)
    expected = np.asarray(preprocess(Image.fromarray(pixels), how))
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("side", [8, 100, 1000])
def test_a_flat_image_stays_flat(side: int) -> None:
    planes = torch.full((2, 1, side, side + 3), 255.0, dtype=torch.float64)
    assert (resized_square(planes, fraction=0.7, size=33) == 255).all()
