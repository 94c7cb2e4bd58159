"""A finished study of two trials of the autoencoder."""

from collections.abc import Callable
from typing import Any

import pytest

from hpsearch.config.spec import StudySpec
from hpsearch.storage.run_dir import RunDir


@pytest.fixture
def two_trials(tiny_spec: Any, finished_study: Callable[[StudySpec], RunDir]) -> RunDir:
    return finished_study(tiny_spec(study_name="two", detector="dpa", search={"n_trials": 2}))
