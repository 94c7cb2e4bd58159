from typing import Any

import pytest

from hpsearch.config.spec import build_spec, read_study
from hpsearch.paper.growing import grows, growth_steps, lengthened, with_growing, without_growing

GROWING = ["camelyon16", "nih-ap", "nih-pa", "nih-subset"]
USUAL = {"start_resolution": [8], "steps_per_phase": [10], "layers": [{8: "r12", 16: "r22"}]}


def _dpa(study: dict[str, Any]) -> dict[str, Any]:
    axes: dict[str, Any] = study["space"]["dpa"]
    return axes


@pytest.mark.parametrize("name", GROWING)
def test_without_growing_the_final_layers_are_searched_under_the_authors_cap(name: str) -> None:
    study = read_study(name)
    plain = without_growing(study)
    assert grows(study)
    assert not grows(plain)
    assert _dpa(plain)["layers"] == ["r32", "r42"]  # those of the published winners, method.md
    same = ("latent_dim", "latent_res")
    assert {axis: _dpa(plain)[axis] for axis in same} == {axis: _dpa(study)[axis] for axis in same}
    assert plain["space"]["preprocessing"] == study["space"]["preprocessing"]
    assert build_spec({"study_name": "s", **plain}, {}).training.max_steps == 100_000


@pytest.mark.parametrize("name", GROWING)
def test_a_shipped_study_that_grows_comes_back_with_the_cap_that_it_has(name: str) -> None:
    study = {"study_name": "s", **read_study(name)}
    assert lengthened(build_spec(with_growing(study, USUAL), {})) == build_spec(study, {})


def test_a_study_that_does_not_grow_gets_the_usual_axes() -> None:
    study = read_study("quickstart")
    assert without_growing(study) == study
    growing = with_growing(study, USUAL)
    assert _dpa(growing) == _dpa(study) | USUAL
    assert growing["training"] == study["training"]
    assert not grows(study), "the study itself is left as it was"


@pytest.mark.parametrize(("side", "steps"), [(8, 0), (16, 20), (32, 40), (64, 60)])
def test_growing_takes_two_phases_a_doubling(side: int, steps: int) -> None:
    space: dict[str, Any] = {
        "dpa": {"start_resolution": (8,), "steps_per_phase": (10,)},
        "preprocessing": {"resolution": (side,)},
    }
    assert growth_steps(space) == steps
    assert growth_steps({"preprocessing": {"resolution": (side,)}}) == 0
