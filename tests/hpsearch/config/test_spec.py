from pathlib import Path
from typing import Any

import pytest
import yaml

from hpsearch.config.spec import StudySpec, build_spec, first_difference
from hpsearch.errors import SpecError

NAMED = {"study_name": "mine"}


def test_defaults_below_the_study_below_the_options() -> None:
    study = NAMED | {"search": {"seed": 5, "n_folds": 4}, "labels": {"n_examples": 8}}
    spec = build_spec(study, {"search": {"seed": 6}})
    assert spec.search.seed == 6
    assert spec.search.n_folds == 4
    assert spec.labels.n_examples == 8
    assert spec.labels.n_anomaly_types == StudySpec.model_fields["labels"].default.n_anomaly_types


def test_options_leave_the_study_as_it_is() -> None:
    study: dict[str, Any] = NAMED | {"search": {"seed": 5}}
    build_spec(study, {"search": {"seed": 6}})
    assert study["search"] == {"seed": 5}


@pytest.mark.parametrize(
    ("setting", "change", "value"),
    [
        ("search.n_trial", {"search": {"n_trial": 3}}, "3"),
        ("colour", {"colour": "red"}, "'red'"),
        ("labels.n_examples", {"labels": {"n_examples": "many"}}, "'many'"),
        ("labels.n_examples", {"labels": {"n_examples": 2.5}}, "2.5"),
        ("search.n_folds", {"search": {"n_folds": 1}}, "1"),
        ("search.n_folds", {"search": {"n_folds": 11}}, "11"),
        ("search.timeout", {"search": {"timeout": float("nan")}}, "nan"),
        ("search.sampler", {"search": {"sampler": "best"}}, "'best'"),
        ("training.learning_rate", {"training": {"learning_rate": -1}}, "-1"),
        ("training.learning_rate", {"training": {"learning_rate": float("inf")}}, "inf"),
        ("backbone.name", {"backbone": {"name": "vgg16"}}, "'vgg16'"),
        ("backbone.name: must be one of lite0,", {"backbone": {"name": "timm:"}}, "'timm:'"),
        ("backbone.name", {"backbone": {"name": "timm:../a b"}}, "'timm:../a b'"),
        ("dataset", {"dataset": "digits"}, "'digits'"),
        ("dataset.multi_label", {"dataset": {"multi_label": "all"}}, "'all'"),
        ("dataset.window", {"dataset": {"window": [9, 1]}}, "[9, 1]"),
        ("search.protocol", {"search": {"protocol": "lenient", "folds": "f"}}, "'lenient'"),
        ("search.folds: protocol official needs", {"search": {"protocol": "official"}}, "None"),
        ("search.folds: only protocol official", {"search": {"folds": "there"}}, "there"),
        ("search.allow_leak: only fold files", {"search": {"allow_leak": True}}, "True"),
        ("study_name", {"study_name": "../up"}, "'../up'"),
        ("study_name", {"study_name": ""}, "''"),
        ("space", {"space": {"dpa": 4}}, "4"),
        ("space.dpa.latent_dim", {"space": {"dpa": {"latent_dim": 4}}}, "4"),
        ("space.dpa.latent_dim", {"space": {"dpa": {"latent_dim": [None]}}}, "None"),
        (
            "space.dpa.latent_dim: a choice is true, false, a finite number or a name",
            {"space": {"dpa": {"latent_dim": [4, float("nan")]}}},
            "nan",
        ),
        ("labels.anomalies", {"labels": {"anomalies": "line\nbreak"}}, r"'line\nbreak'"),
    ],
)
def test_a_mistake_is_one_line_with_setting_and_value(
    setting: str, change: dict[str, Any], value: str
) -> None:
    with pytest.raises(SpecError) as caught:
        build_spec(NAMED | change, {})
    message = str(caught.value)
    assert message.startswith(setting)
    assert value in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_missing_name_is_named() -> None:
    with pytest.raises(SpecError, match=r"^study_name: field required"):
        build_spec({}, {})


def test_keys_that_are_no_names_are_refused() -> None:
    with pytest.raises(SpecError, match=r"^[^\n]+$"):
        build_spec({1: 2} | NAMED, {})  # type: ignore[dict-item]


def test_choices_keep_their_types() -> None:
    choices = {"a": [1, 1.5, True, "r32"]}
    spec = build_spec(NAMED | {"space": {"dpa": choices}}, {})
    assert [type(value) for value in spec.space["dpa"]["a"]] == [int, float, bool, str]


def test_a_choice_by_resolution_becomes_one_text_by_rising_resolution() -> None:
    choices = yaml.safe_load("[r42, {64: r42, 8: r12, 16: r32+0.5*r42}]")
    spec = build_spec(NAMED | {"space": {"dpa": {"layers": choices}}}, {})
    assert spec.space["dpa"]["layers"] == ("r42", "8:r12 16:r32+0.5*r42 64:r42")
    written = spec.model_dump(mode="json")
    assert written["space"]["dpa"]["layers"][1] == "8:r12 16:r32+0.5*r42 64:r42"
    assert build_spec(yaml.safe_load(yaml.safe_dump(written)), {}) == spec


@pytest.mark.parametrize(
    ("choice", "rule"),
    [
        ({}, "needs an entry"),
        ({"eight": "r12"}, "whole px as keys, not 'eight'"),
        ({8.5: "r12"}, "whole px as keys, not 8.5"),
        ({0: "r12"}, "whole px as keys, not 0"),
        ({True: "r12"}, "whole px as keys, not True"),
        ({8: 12}, "names without spaces, not 12"),
        ({8: None}, "names without spaces, not None"),
        ({8: ""}, "names without spaces, not ''"),
        ({8: "r12 r22"}, "names without spaces, not 'r12 r22'"),
        ({8: "16:r22"}, "names without spaces, not '16:r22'"),
        ({8: {16: "r22"}}, "names without spaces"),
        ({8: "line\nbreak"}, r"names without spaces, not 'line\nbreak'"),
    ],
)
def test_a_bad_choice_by_resolution_is_one_line(choice: dict[Any, Any], rule: str) -> None:
    with pytest.raises(SpecError) as caught:
        build_spec(NAMED | {"space": {"dpa": {"layers": ["r32", choice]}}}, {})
    message = str(caught.value)
    assert message.startswith("space.dpa.layers.1: a choice by resolution ")
    assert rule in message
    assert "\n" not in message


def test_round_trip_through_yaml() -> None:
    study = NAMED | {
        "dataset": {
            "name": "some.csv",
            "root": "/some/where",
            "normal_class": "0",
            "window": [0, 4095],
            "multi_label": "first",
        },
        "space": {"dpa": {"latent_dim": [4, 16]}, "preprocessing": {"greyscale": [False, True]}},
        "training": {"learning_rate": 0.1 + 0.2},
        "search": {"timeout": 1e-3, "n_trials": 7, "protocol": "official", "folds": "/folds"},
    }
    spec = build_spec(study, {})
    text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    assert build_spec(yaml.safe_load(text), {}) == spec
    assert spec.dataset.root == Path("/some/where")
    assert spec.search.folds == Path("/folds")
    assert spec.dataset.window == (0.0, 4095.0)


def test_first_difference_is_the_first_in_reading_order() -> None:
    old = build_spec(NAMED, {})
    new = build_spec(NAMED, {"search": {"seed": 3}, "dataset": {"seed": 9}})
    assert first_difference(old, new) == "dataset.seed is 0 there and 9 now"


def test_another_protocol_is_a_difference() -> None:
    official = {"search": {"protocol": "official", "folds": "/one"}}
    one, two = build_spec(NAMED, {}), build_spec(NAMED, official)
    assert str(first_difference(one, two)).startswith("search.protocol is 'clean' there")


@pytest.mark.parametrize(
    ("old", "new", "differs"),
    [
        ({"dataset": {"name": "/a/m.csv"}}, {"dataset": {"name": "/b/m.csv"}}, False),
        ({"dataset": {"name": "m.csv"}}, {"dataset": {"name": "/b"}}, False),
        ({"dataset": {"name": "digits"}}, {"dataset": {"name": "/b"}}, True),
        ({"dataset": {"name": "digits"}}, {"dataset": {"name": "nih-pa"}}, True),
        ({"dataset": {"root": "/a"}}, {"dataset": {"root": "/b"}}, False),
        ({}, {"dataset": {"root": "/b"}}, False),
        ({"backbone": {"weights": "/a"}}, {"backbone": {"weights": "/b"}}, False),
        ({"backbone": {"name": "vgg19"}}, {"backbone": {"name": "vgg-mini"}}, True),
        (
            {"search": {"protocol": "official", "folds": "/one"}},
            {"search": {"protocol": "official", "folds": "/two"}},
            False,
        ),
    ],
)
def test_another_place_is_no_difference_yet(old: Any, new: Any, differs: bool) -> None:
    """The content that lies there is compared, once it is read."""
    found = first_difference(build_spec(NAMED, old), build_spec(NAMED, new))
    assert (found is not None) == differs


def test_a_leak_that_is_allowed_is_no_difference() -> None:
    official = {"protocol": "official", "folds": "/one"}
    allowed = official | {"allow_leak": True}
    one, two = (build_spec(NAMED, {"search": search}) for search in (official, allowed))
    assert first_difference(one, two) is None


def test_a_choice_more_is_a_difference() -> None:
    old = build_spec(NAMED | {"space": {"dpa": {"latent_dim": [4]}}}, {})
    new = build_spec(NAMED | {"space": {"dpa": {"latent_dim": [4, 8]}}}, {})
    assert str(first_difference(old, new)).startswith("space.dpa.latent_dim is [4] there")
    assert first_difference(old, old) is None


@pytest.mark.parametrize(
    "more",
    [
        {"search": {"n_trials": 3}},
        {"search": {"timeout": 60}},
        {"final": {"n_runs": 5}},
        {"labels": {"n_examples": 9}},
    ],
)
def test_what_only_lengthens_a_study_is_no_difference(more: dict[str, Any]) -> None:
    assert first_difference(build_spec(NAMED, {}), build_spec(NAMED, more)) is None


@pytest.mark.parametrize(
    "name", ["lite0", "lite2", "vgg19", "vgg-mini", "timm:resnet18.a1_in1k", "torchvision:resnet18"]
)
def test_a_network_is_one_of_ours_or_of_a_library(name: str) -> None:
    spec = build_spec({"study_name": "s"}, {"backbone": {"name": name}})
    assert spec.backbone.name == name
