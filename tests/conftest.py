"""Skips what this machine cannot run: tests of real images, and tests of a CUDA device."""

import os
from pathlib import Path

import pytest
import torch

# Each process of the suite has a core to itself, and so have the processes that a test starts:
# threads of several on a busy machine wait for each other.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # of joblib: small images are decoded where they are

BESIDE_THE_PROJECT = Path(__file__).parents[1] / "../shared/data"


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Where the real images are, if they are anywhere."""
    return Path(os.environ.get("HPSEARCH_SHARED") or BESIDE_THE_PROJECT).resolve()


@pytest.fixture(scope="session")
def shared_data(shared_folder: Path) -> Path:
    """Folder of the real images; skips the test where it is missing."""
    if not shared_folder.is_dir():
        pytest.skip("needs the real images: set HPSEARCH_SHARED or put them into ../shared/data")
    return shared_folder


@pytest.fixture(autouse=True)
def _skip_by_marker(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("shared_data"):
        request.getfixturevalue("shared_data")
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
