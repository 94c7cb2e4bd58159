from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.errors import SpecError
from hpsearch.study.scale import scaled

PAPER = {"study_name": "s", "training": {"max_steps": 300_000, "check_every": 1_000}}


def _phases(spec: StudySpec) -> tuple[Any, ...]:
    return spec.space["dpa"]["steps_per_phase"]


@pytest.mark.parametrize(
    ("scale", "max_steps", "check_every", "steps_per_phase"),
    [
        (1, 300_000, 1_000, 20_000),
        (0.5, 150_000, 500, 10_000),
        (0.01, 3_000, 10, 200),
        (0.00123, 369, 1, 25),
        (1e-9, 1, 1, 1),
    ],
)
def test_every_count_of_steps_is_scaled_and_written_out(
    scale: float, max_steps: int, check_every: int, steps_per_phase: int
) -> None:
    spec = scaled(build_spec(PAPER, {}), scale)
    assert (spec.training.max_steps, spec.training.check_every) == (max_steps, check_every)
    assert _phases(spec) == (steps_per_phase,)  # from the detector's own default of 20,000


def test_the_choices_of_a_study_are_scaled_and_equal_ones_merged() -> None:
    phases = {"space": {"dpa": {"steps_per_phase": [100, 400, 20_000, 20_010]}}}
    assert _phases(scaled(build_spec(PAPER, phases), 0.001)) == (1, 20)


def test_nothing_else_changes() -> None:
    study = build_spec(PAPER, {"space": {"dpa": {"latent_dim": [4, 8]}}, "search": {"seed": 3}})
    changed = {"max_steps", "check_every"}
    before, after = study.model_dump(), scaled(study, 0.25).model_dump()
    assert before.pop("space") == {"dpa": {"latent_dim": (4, 8)}}
    assert after.pop("space") == {"dpa": {"latent_dim": (4, 8), "steps_per_phase": (5_000,)}}
    for values in (before, after):
        values["training"] = {k: v for k, v in values["training"].items() if k not in changed}
    assert before == after


def test_a_detector_without_growing_gets_no_axis() -> None:
    assert scaled(build_spec(PAPER, {"detector": "features"}), 0.1).space == {}


@given(st.floats(1e-6, 1), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_shorter_cap_stays_a_cap(scale: float, cap: int, check_every: int) -> None:
    training = {"max_steps": cap, "check_every": min(cap, check_every)}
    shorter = scaled(build_spec(PAPER, {"training": training}), scale).training
    assert 1 <= shorter.check_every <= shorter.max_steps <= cap


@pytest.mark.parametrize("scale", [0, -1, 1.5, float("nan"), float("inf")])
def test_out_of_range(scale: float) -> None:
    with pytest.raises(SpecError, match=r"^--scale must be above 0 and at most 1, got [^\n]+$"):
        scaled(build_spec(PAPER, {}), scale)
