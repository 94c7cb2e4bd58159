import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.config.space import (
    PREPROCESSING_AXES,
    SearchSpace,
    build_space,
    config_digest,
    preprocessing_of,
)
from hpsearch.config.spec import build_spec
from hpsearch.errors import SpecError

AXES = {"latent_dim": (4, 16), "layers": ("r32",)}
USUAL = {name: choices[0] for name, choices in PREPROCESSING_AXES.items()}


def _space(space: dict[str, Any]) -> SearchSpace:
    return build_space(build_spec({"study_name": "s", "space": space}, {}), AXES)


def test_the_grid_is_the_product_of_all_axes() -> None:
    space = _space(
        {"dpa": {"latent_dim": [1, 2, 3]}, "preprocessing": {"greyscale": [False, True]}}
    )
    points = {(point["latent_dim"], point["greyscale"]) for point in space.grid}
    assert points == set(itertools.product((1, 2, 3), (False, True)))
    assert len(space.grid) == 6
    assert set(space.searched) == {"latent_dim", "greyscale"}
    assert all(point["layers"] == "r32" and point["resolution"] == 32 for point in space.grid)


def test_axes_of_another_detector_do_not_count() -> None:
    assert "kind" not in _space({"features": {"kind": ["knn"]}}).axes


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"dpa": {"width": [1]}}, r"space\.dpa\.width: no such axis; dpa has latent_dim, layers"),
        ({"preprocessing": {"zoom": [1]}}, r"space\.preprocessing\.zoom: no such axis"),
        ({"dpa": {"latent_dim": []}}, r"latent_dim needs one or more"),
        ({"dpa": {"latent_dim": [4, 4]}}, r"latent_dim needs one or more different"),
        ({"preprocessing": {"random_crop": [1, 1.0]}}, r"random_crop needs .* different"),
        ({"dpa": {"latent_dim": ["wide"]}}, r"latent_dim takes whole numbers, got 'wide'"),
        ({"dpa": {"latent_dim": [4.5]}}, r"latent_dim takes whole numbers, got 4.5"),
        ({"dpa": {"latent_dim": [True]}}, r"latent_dim takes whole numbers, got True"),
        ({"dpa": {"layers": [42]}}, r"layers takes names, got 42"),
        (
            {"preprocessing": {"greyscale": ["maybe"]}},
            r"greyscale takes true or false, got 'maybe'",
        ),
        ({"preprocessing": {"central_crop": ["half"]}}, r"central_crop takes numbers, got 'half'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_in_one_line(space: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        _space(space)
    assert "\n" not in str(caught.value)


def test_a_whole_number_serves_where_a_fraction_may_stand() -> None:
    (point,) = _space({"dpa": {"latent_dim": [4]}, "preprocessing": {"central_crop": [1]}}).grid
    assert config_digest(point) == config_digest(point | {"central_crop": 1.0})


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"resolution": 4}, "resolution must be from 8 to 1024 px, got 4"),
        ({"resolution": 2048}, "resolution"),
        ({"random_crop": 0.0}, "random_crop must be from 0.1 to 1, got 0.0"),
        ({"central_crop": 1.5}, "central_crop"),
        ({"fit": "squeeze"}, "fit must be crop or stretch, got 'squeeze'"),
        ({"central_crop": float("nan")}, "central_crop"),
    ],
)
def test_preprocessing_out_of_range(params: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        preprocessing_of(USUAL | params)


def test_a_configuration_of_before_the_axis_fit_crops() -> None:
    older = {name: value for name, value in USUAL.items() if name != "fit"}
    assert preprocessing_of(older) == preprocessing_of(older | {"fit": "crop"})
    assert preprocessing_of(older) != preprocessing_of(older | {"fit": "stretch"})


def test_a_random_crop_is_cut_from_a_larger_stored_image() -> None:
    stored = preprocessing_of(USUAL | {"resolution": 64, "random_crop": 1 / 3, "equalize": True})
    assert (stored.size, stored.equalize, stored.greyscale) == (192, True, False)


values = st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.dictionaries(st.text(max_size=5), values, max_size=6), st.randoms())
def test_the_digest_does_not_hang_on_the_order(params: dict[str, Any], random: Any) -> None:
    items = list(params.items())
    random.shuffle(items)
    assert config_digest(dict(items)) == config_digest(params)


def test_the_digest_tells_configurations_apart() -> None:
    grid = _space({"preprocessing": {"greyscale": [False, True]}}).grid
    assert len({config_digest(point) for point in grid}) == len(grid) == 4


def test_optuna_gives_back_what_was_queued() -> None:
    space = _space({"preprocessing": {"greyscale": [False, True], "random_crop": [0.5, 1.0]}})
    study = optuna.create_study()
    for point in space.grid:
        study.enqueue_trial(dict(point))
    assert [dict(space.suggest(study.ask())) for _ in space.grid] == space.grid
