import pytest

from hpsearch.datasets.histology.generate import generate


@pytest.fixture(scope="session")
def histology():
    """The whole embedded data set: its image table and its tiles."""
    return generate(seed=0, workers=2)
