import pytest

from hpsearch.detectors.dpa import known_weights, layer_schedule, weighted_sum
from hpsearch.errors import SpecError


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("r42", {"r42": 1.0}),
        ("r32+r42", {"r32": 1.0, "r42": 1.0}),
        ("r32 + 0.5*r42", {"r32": 1.0, "r42": 0.5}),
        ("2*r12+1e-2*r22", {"r12": 2.0, "r22": 0.01}),
    ],
)
def test_sums(text: str, weights: dict[str, float]) -> None:
    assert weighted_sum(text) == weights


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "r12+",
        "r12++r22",
        "r12+r12",
        "0*r12",
        "-1*r12",
        "r12*2",
        "1.2.3*r12",
        "R12",
        "2",
        "inf*r12",
        "1e999*r12",
        "1e-40*r12",
        "9" * 400 + "*r12",
    ],
)
def test_what_is_not_a_sum_is_one_line(text: str) -> None:
    with pytest.raises(SpecError, match="write a sum of different names") as caught:
        weighted_sum(text)
    assert "\n" not in str(caught.value)


def test_schedules() -> None:
    assert layer_schedule("r32+r42") == {0: {"r32": 1.0, "r42": 1.0}}
    assert layer_schedule("8:r12 16:r22 64:r32+0.5*r42") == {
        8: {"r12": 1.0},
        16: {"r22": 1.0},
        64: {"r32": 1.0, "r42": 0.5},
    }


@pytest.mark.parametrize(
    "text", ["8:r12 8:r22", "8:r12 r22", "8 :r12", ":r12", "0:r12", "eight:r12", "8:r12,16:r22"]
)
def test_what_is_not_a_schedule_is_one_line(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        layer_schedule(text)
    assert str(caught.value).startswith("space: ") and "\n" not in str(caught.value)


def test_names_that_are_not_in_the_sum_weigh_nothing() -> None:
    names = ("perceptual", "l1", "adversarial")
    found = known_weights("perceptual+0.1*l1", names)
    assert found == {"perceptual": 1.0, "l1": 0.1, "adversarial": 0.0}
    with pytest.raises(SpecError, match="no l2, vgg here; choose among perceptual, l1, adversar"):
        known_weights("l1+l2+vgg", names)
