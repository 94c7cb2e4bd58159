import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits as sklearn_digits

from hpsearch.datasets.digits import TEST_FRACTION, load_digits
from hpsearch.errors import SpecError


@pytest.mark.parametrize("normal_class", [None, "0", "7"])
def test_labels_and_types_are_the_digits(normal_class: str | None) -> None:
    dataset = load_digits(normal_class)
    digits = sklearn_digits().target
    normal = digits == int(normal_class or 0)
    np.testing.assert_array_equal(dataset.table["label"], (~normal).astype(int))
    types = dataset.table["anomaly_type"].to_numpy()
    assert set(types[normal]) == {""}
    assert list(types[~normal]) == [str(digit) for digit in digits[~normal]]


def test_pixels_keep_the_range_and_the_picture() -> None:
    dataset = load_digits()
    assert dataset.arrays is not None
    assert dataset.arrays.shape == (1797, 32, 32, 1)
    # Averages over 4x4 blocks undo the enlargement but for the smoothing across blocks.
    small = dataset.arrays.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), sklearn_digits().images.ravel())[0, 1] > 0.9
    assert (dataset.arrays.min(), dataset.arrays.max()) == (0, 255)


def test_split_is_stratified_and_follows_the_seed() -> None:
    table = load_digits(seed=1).table
    shares = pd.crosstab(table["anomaly_type"], table["split"], normalize="index")["test"]
    np.testing.assert_allclose(shares, TEST_FRACTION, atol=0.01)
    assert table.equals(load_digits(seed=1).table)
    assert not table.equals(load_digits(seed=2).table)


@pytest.mark.parametrize("normal_class", ["10", "", "zero", "0\n"])
def test_other_classes_are_refused(normal_class: str) -> None:
    with pytest.raises(SpecError, match="is not a digit; give one of 0-9") as caught:
        load_digits(normal_class)
    assert str(caught.value).isprintable()
