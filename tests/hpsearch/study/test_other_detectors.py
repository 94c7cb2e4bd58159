"""Detectors of other libraries in a study, and what their page says of them."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.config.spec import build_spec, parse_study
from hpsearch.detectors.anomalib_models import REFUSED as NOT_OF_ANOMALIB
from hpsearch.detectors.base import load_detector
from hpsearch.detectors.pyod_models import REFUSED as NOT_OF_PYOD
from hpsearch.errors import SpecError
from hpsearch.model.model import load_model
from hpsearch.search.events import SilentListener
from hpsearch.storage.database import load_study
from hpsearch.storage.trials import facts_of
from hpsearch.study.inputs import space_of
from hpsearch.study.run import StudyRun, run_study

PAGE = (Path(__file__).parents[3] / "docs/other-detectors.md").read_text(encoding="utf-8")
needs_anomalib = pytest.mark.skipif(
    importlib.util.find_spec("anomalib") is None,
    reason="needs anomalib: pip install 'hpsearch[anomalib]'",
)


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Callable[..., StudyRun]:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec: run_study(spec, listener=SilentListener(), **where)


def test_a_model_that_fails_is_a_failed_trial_with_its_reason(
    run: Callable[..., StudyRun], tiny_spec: Any
) -> None:
    ran = run(
        tiny_spec(
            detector="pyod:MAD,pyod:ECOD,pyod:LOF",  # MAD is for vectors of one number
            space={
                "pyod:MAD": {"layer": ["r12"]},
                "pyod:ECOD": {"layer": ["r12"]},
                "pyod:LOF": {"layer": ["r12"], "n_neighbors": [5, 10]},
                "anomalib:Padim": {"n_features": [7]},  # of no detector of this study
            },
        )
    )
    trials = load_study(ran.folder.path).get_trials()
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    failed = facts_of(trials[0])
    assert failed.failure == "error"
    assert str(failed.failure_message).startswith(
        "ValueError: MAD algorithm is just for univariate"
    )
    model = load_model(ran.folder.model(ran.result.trial))
    assert model.facts.detector == ran.result.params["detector"]


@needs_anomalib
def test_models_of_both_libraries_are_searched_beside_ours(
    run: Callable[..., StudyRun], tiny_spec: Any
) -> None:
    detectors = ["dpa", "patch", "anomalib:Padim", "pyod:ECOD", "pyod:LOF"]
    ran = run(
        tiny_spec(
            detector=",".join(detectors),
            space={
                "dpa": {"latent_dim": [2], "latent_res": [1], "layers": ["r12"]},
                "patch": {"kind": ["nearest"], "layer": ["r12"], "pool": ["max"]},
                "anomalib:Padim": {"layer": ["r12"], "n_features": [8]},
                "pyod:ECOD": {"layer": ["r12"]},
                "pyod:LOF": {"layer": ["r12"]},
                "preprocessing": {"resolution": [32]},
            },
        )
    )
    trials = load_study(ran.folder.path).get_trials()
    assert [trial.params["detector"] for trial in trials] == detectors
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


@needs_anomalib
def test_the_study_of_the_page_can_be_searched() -> None:
    (example,) = re.findall(r"(?:^    .*\n)*    dataset: (?:.*\n    )*.*\n", PAGE, re.MULTILINE)
    study = parse_study("\n".join(line.strip("\n")[4:] for line in example.splitlines()), "page")
    space = space_of(build_spec(study, {"study_name": "anyones"}))
    assert list(space.branches) == ["dpa", "patch", "anomalib:Padim", "pyod:ECOD", "pyod:LOF"]
    assert space.branches["pyod:LOF"]["n_neighbors"] == (10, 20, 40)


@needs_anomalib
def test_what_the_page_calls_refused_is_refused() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("|")]
    (of_anomalib,) = [row for row in rows if "refused:" in row]
    assert set(re.findall(r"`(\w+)`", of_anomalib)) == NOT_OF_ANOMALIB.keys()
    of_pyod = re.findall(r"`(pyod:\w+)`", "\n".join(rows))
    assert {f"pyod:{model}" for model in NOT_OF_PYOD} <= set(of_pyod)
    for name in (*of_pyod, *(f"anomalib:{model}" for model in NOT_OF_ANOMALIB)):
        with pytest.raises(SpecError):
            load_detector(name)
