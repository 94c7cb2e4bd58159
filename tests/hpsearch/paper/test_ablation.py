import re
from typing import Any

import pytest

from dpa_core.vgg import VGG19
from hpsearch.config.space import build_space
from hpsearch.config.spec import read_study, shipped_studies
from hpsearch.detectors.base import load_detector
from hpsearch.detectors.dpa import known_weights
from hpsearch.errors import SpecError
from hpsearch.paper.ablation import ABLATION, RowStudy, data_settings, table4_rows, table4_studies
from hpsearch.study.scale import scaled

PAPER = (  # Table 4
    "L1 + unsupervised",
    "PL + unsupervised",
    "PL + weakly-supervised",
    "PL + 1 adv + weakly-supervised",
    "PL + 0.1 adv + weakly-supervised",
    "PL + 1 L1 + weakly-supervised",
    "PL + 0.1 L1 + weakly-supervised",
    "PL + 1 L1 + 1 adv + weakly-supervised",
    "PL + 0.1 L1 + 0.1 adv + weakly-supervised",
    "PL + weakly-supervised + progressive growing",
)
LOSSES = {"PL": "perceptual", "L1": "l1", "adv": "adversarial"}


def _studies(options: dict[str, Any] | None = None, **more: Any) -> list[RowStudy]:
    data = read_study("synthetic-histology")
    return table4_studies(data, options or {}, prefix="t", **more)


def _axes(options: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """By row, its choices of the detector's axes under options of an axis."""
    studies = _studies({"space": {"dpa": options}})
    return {row.number: dict(study.spec.space["dpa"]) for study in studies for row in study.rows}


def test_the_rows_are_those_of_the_paper() -> None:
    assert [(row.number, row.name) for row in table4_rows()] == list(enumerate(PAPER, 1))


@pytest.mark.parametrize("study", _studies(), ids=lambda study: study.spec.study_name)
def test_a_row_trains_what_its_name_says(study: RowStudy) -> None:
    (loss,) = study.spec.space["dpa"]["loss"]
    for row in study.rows:
        said = re.findall(r"(?:([\d.]+) )?\b(PL|L1|adv)\b", row.name)
        weights = {LOSSES[name]: float(weight or 1) for weight, name in said}
        used = known_weights(str(loss), tuple(LOSSES.values()))
        assert {name: weight for name, weight in used.items() if weight} == weights
        assert row.criterion == ("unsupervised" if "unsupervised" in row.name else "weak")
        assert ("start_resolution" in study.spec.space["dpa"]) == ("growing" in row.name)


def test_only_rows_2_and_3_share_their_trainings() -> None:
    assert [[row.number for row in study.rows] for study in _studies()] == [
        [1],
        [2, 3],
        *([number] for number in range(4, 11)),
    ]
    shared = _studies()[1]
    assert shared.criteria == ("unsupervised", "weak")
    assert shared.spec.study_name == "t-rows-2-3"
    assert len({study.spec.study_name for study in _studies()}) == 9


@pytest.mark.parametrize("number", range(1, 11))
def test_a_study_is_the_same_whichever_rows_are_wanted(number: int) -> None:
    whole = {row.number: study.spec for study in _studies() for row in study.rows}
    (study,) = _studies(numbers=[number])
    assert [row.number for row in study.rows] == [number]
    assert study.spec == whole[number]


@pytest.mark.parametrize("scale", [1.0, 0.01, 0.001])
@pytest.mark.parametrize("name", [name for name in shipped_studies() if name != ABLATION])
def test_every_row_can_be_built_on_every_data_set(name: str, scale: float) -> None:
    detector = load_detector("dpa")
    for study in table4_studies(read_study(name), {}, prefix="t"):
        spec = scaled(study.spec, scale)
        for params in build_space(spec, {spec.detector: detector.axes}).grid:
            detector.check(params, VGG19, spec.training)


@pytest.mark.parametrize(("start", "side"), [(8, 32), (8, 64), (16, 64), (16, 256)])
def test_a_growing_row_has_as_many_steps_at_full_size(start: int, side: int) -> None:
    options = {
        "space": {"dpa": {"start_resolution": [start]}, "preprocessing": {"resolution": [side]}}
    }
    plain, *_, growing = (study.spec for study in _studies(options))
    steps, at = 0, start
    while at < side:  # a stabilisation here, and the transition to twice the side
        steps, at = steps + 20_000 + 20_000, 2 * at
    assert growing.training.max_steps - steps == plain.training.max_steps


def test_an_axis_goes_where_a_row_has_it_and_does_not_fix_it() -> None:
    usual, asked = _axes({}), _axes({"layers": ["r22"], "latent_dim": [2, 3]})
    assert all(axes["latent_dim"] == (2, 3) for axes in asked.values())
    assert {number for number in asked if asked[number]["layers"] == ("r22",)} == {*range(2, 11)}
    assert asked[1]["layers"] == usual[1]["layers"]


@pytest.mark.parametrize("axis", ["start_resolution", "steps_per_phase"])
def test_how_to_grow_is_for_the_growing_row_alone(axis: str) -> None:
    asked = _axes({axis: [16]})
    assert [number for number in asked if axis in asked[number]] == [10]
    assert asked[10][axis] == (16,)


def test_options_lie_over_all_rows() -> None:
    options = {
        "labels": {"n_examples": 7},
        "training": {"batch_size": 3},
        "space": {"preprocessing": {"resolution": [64]}},
    }
    for study in _studies(options):
        assert study.spec.labels.n_examples == 7
        assert study.spec.training.batch_size == 3
        assert study.spec.space["preprocessing"]["resolution"] == (64,)


@pytest.mark.parametrize(
    ("options", "more", "says"),
    [
        ({"space": {"dpa": {"loss": ["l1"]}}}, {}, "^--axis loss: .* --rows$"),
        ({}, {"numbers": [3, 11]}, "^--rows: table4 has rows 1 to 10, not 11$"),
        ({"training": {"batch_size": 0}}, {}, r"^training\.batch_size: "),
    ],
)
def test_a_mistake_is_one_line(options: dict[str, Any], more: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        _studies(options, **more)


def test_what_hangs_on_the_data_comes_from_their_own_study() -> None:
    (study,) = table4_studies(read_study("camelyon16"), {}, prefix="t", numbers=[3])
    spec, own = study.spec, read_study("camelyon16")
    assert spec.labels.model_dump() == own["labels"]
    assert spec.backbone.name == own["backbone"]["name"]
    assert spec.training.flips
    assert spec.space["preprocessing"] == {"resolution": (64,), "random_crop": (0.3333,)}
    assert data_settings({}) == {"space": {"preprocessing": {}}, "training": {"flips": False}}
