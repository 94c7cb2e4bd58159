"""A finished study of two trials of the autoencoder, run once."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from hpsearch.listener import SilentListener
from hpsearch.study import run_study
from hpsearch.study_dir import StudyDir


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs the study leaves a copy for the others."""
    return tmp_path_factory.mktemp("kept") / "two"


@pytest.fixture
def folder(kept: Path, tiny_spec: Any, runs: Path, cache: Path, inline: list[str]) -> StudyDir:
    if not kept.exists():
        spec = tiny_spec(study_name="two", detector="dpa", search={"n_trials": 2})
        options = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
        ran = run_study(spec, listener=SilentListener(), **options)
        shutil.copytree(ran.folder.path, kept)
    return StudyDir(shutil.copytree(kept, runs / "two", dirs_exist_ok=True))
