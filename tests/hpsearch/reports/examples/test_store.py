from dataclasses import replace
from pathlib import Path

import pytest

from hpsearch.errors import StudyError
from hpsearch.reports.examples.store import INDEX, Example, read_examples, write_index

ONE = Example("miss", "a, é.png", "blobs", 1 / 3, "00-miss.png", None)


def test_examples_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_examples(tmp_path, "key") is None
    (tmp_path / ONE.image).touch()
    both = (ONE, replace(ONE, overlay=ONE.image))
    write_index(tmp_path, "key", both)
    assert read_examples(tmp_path, "key") == both
    assert read_examples(tmp_path, "another model") is None


@pytest.mark.parametrize("image", ["gone.png", "../00-miss.png"])
def test_a_picture_that_is_gone_or_elsewhere_is_one_line(image: str, tmp_path: Path) -> None:
    (tmp_path.parent / "00-miss.png").touch()
    write_index(tmp_path, "key", [replace(ONE, image=image)])
    with pytest.raises(StudyError, match=r"^[^\n]*index\.json: damaged .*; delete its directory$"):
        read_examples(tmp_path, "key")


@pytest.mark.parametrize("content", ["", "[]", '{"made_of": "key", "examples": [{}]}'])
def test_a_damaged_index_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(StudyError, match=r"^[^\n]*index\.json: damaged"):
        read_examples(tmp_path, "key")
