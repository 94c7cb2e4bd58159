"""scikit-learn's handwritten digits: 1797 grey images of 8x8, embedded in that package."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits as sklearn_digits
from sklearn.model_selection import train_test_split

from hpsearch.datasets.table import Dataset, class_table
from hpsearch.errors import SpecError
from hpsearch.io.text import printable

DIGITS_NAME = "digits"
DIGIT_CLASSES = tuple("0123456789")
SIDE = 32  # pixels; the smallest side that four halvings and an autoencoder can work with
TEST_FRACTION = 0.4

_MAX_INTENSITY = 16  # of scikit-learn's values


def load_digits(normal_class: str | None = None, *, seed: int = 0) -> Dataset:
    """One digit ("0" unless told) is normal, each other digit a type of anomaly.

    The 8x8 images are enlarged to 32x32, bilinear. The split is random, by digit (stratified).

    Raises:
        SpecError: `normal_class` is not a digit.
    """
    normal_class = "0" if normal_class is None else normal_class
    if normal_class not in DIGIT_CLASSES:
        raise SpecError(f"--normal-class {printable(normal_class)} is not a digit; give one of 0-9")
    data = sklearn_digits()
    digits = data.target.astype(str)
    grey = np.rint(data.images * (255 / _MAX_INTENSITY)).astype(np.uint8)
    large = [
        Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in grey
    ]
    arrays = np.stack([np.asarray(image) for image in large])[..., np.newaxis]
    _, test = train_test_split(
        np.arange(len(digits)), test_size=TEST_FRACTION, stratify=digits, random_state=seed
    )
    split = np.full(len(digits), "train")
    split[test] = "test"
    ids = [f"digit-{position:04d}" for position in range(len(digits))]
    table = class_table(ids, digits, split, normal=normal_class)
    return Dataset(DIGITS_NAME, table, arrays=arrays)
