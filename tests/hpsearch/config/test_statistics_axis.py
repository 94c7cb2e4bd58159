import pytest

from hpsearch.config.space import statistics_in_words


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"statistics": "natural"}, "photographs"),
        ({"statistics": "own"}, "the normal images of the study"),
        ({"layer": "r32"}, None),
    ],
)
def test_in_words(params: dict[str, object], said: str | None) -> None:
    assert statistics_in_words(params, "photographs") == said
