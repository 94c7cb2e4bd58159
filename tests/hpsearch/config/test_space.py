import itertools
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.config.space import (
    PREPROCESSING_AXES,
    Params,
    SearchSpace,
    build_space,
    config_digest,
    layers_of,
    network_of,
    preprocessing_of,
)
from hpsearch.config.spec import build_spec
from hpsearch.errors import SpecError

AXES = {"latent_dim": (4, 16), "layers": ("r32",)}
USUAL = {name: choices[0] for name, choices in PREPROCESSING_AXES.items()}


def _space(space: dict[str, Any]) -> SearchSpace:
    return build_space(build_spec({"study_name": "s", "space": space}, {}), {"dpa": AXES})


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


BRANCHES = {
    "features": {"kind": ("knn", "mahalanobis")},
    "patch": {"kind": ("nearest", "gaussian"), "reweight": (False, True)},
}


def _several(space: dict[str, Any], canonical: Any = None) -> SearchSpace:
    study = {"study_name": "s", "detector": "features,patch", "space": space}
    others = () if canonical is None else (canonical,)
    return build_space(build_spec(study, {}), BRANCHES, *others)


def test_the_grid_of_several_detectors_is_their_union_in_the_order_given() -> None:
    grid = _several({}).grid
    assert [point["detector"] for point in grid] == ["features"] * 2 + ["patch"] * 4
    assert "patch.kind" not in grid[0] and grid[0]["features.kind"] == "knn"
    assert grid[0]["features.resolution"] == 32


def test_an_axis_is_conditional_on_its_detector() -> None:
    space = _several({})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        params = space.suggest(trial)
        name, own = space.configuration(params)
        assert trial.params == params
        assert all(axis == "detector" or axis.startswith(f"{name}.") for axis in params)
        assert own.keys() == space.branches[name].keys()
        assert space.named(name, own) == params


def test_the_preprocessing_of_a_detector_goes_before_that_of_all() -> None:
    space = _several({"preprocessing": {"resolution": [64]}, "patch": {"resolution": [128, 224]}})
    assert space.branches["features"]["resolution"] == (64,)
    assert space.branches["patch"]["resolution"] == (128, 224)


def test_of_configurations_that_cannot_differ_one_is_tried() -> None:
    def canonical(detector: str, params: Params) -> Params:
        return {**params, "reweight": False} if params["kind"] == "gaussian" else params

    space = _several({}, canonical)
    patches = [
        space.configuration(point)[1] for point in space.grid if point["detector"] == "patch"
    ]
    assert [(one["kind"], one["reweight"]) for one in patches] == [
        ("nearest", False),
        ("nearest", True),
        ("gaussian", False),
    ]
    one, other = ({**space.grid[-1], "patch.reweight": choice} for choice in (False, True))
    assert space.digest(one) == space.digest(other)


def test_one_detector_alone_has_the_same_configurations_as_among_others() -> None:
    single = SearchSpace({"features": _several({}).branches["features"]})
    several = [_several({}).configuration(p)[1] for p in _several({}).grid[:2]]
    assert [single.configuration(point)[1] for point in single.grid] == several == single.grid


@pytest.mark.parametrize(
    ("layer", "network", "layers"),
    [("s3", None, ("s3",)), ("s3+s4", None, ("s3", "s4")), ("vgg-mini:r22", "vgg-mini", ("r22",))],
)
def test_a_layer_may_name_its_network(
    layer: str, network: str | None, layers: tuple[str, ...]
) -> None:
    assert (network_of({"layer": layer}), layers_of({"layer": layer})) == (network, layers)
    assert network_of({"layers": "8:r12 16:r22"}) is None


def test_optuna_gives_back_what_was_queued() -> None:
    space = _space({"preprocessing": {"greyscale": [False, True], "random_crop": [0.5, 1.0]}})
    study = optuna.create_study()
    for point in space.grid:
        study.enqueue_trial(dict(point))
    assert [dict(space.suggest(study.ask())) for _ in space.grid] == space.grid
