import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpsearch.errors import StudyError
from hpsearch.storage.results import FoldResult, read_result, scores_at, write_result


def _result(ids: list[str], scores: list[float], best_loss: float | None = 0.5) -> FoldResult:
    return FoldResult(
        digest="0123456789abcdef",
        scores=pd.DataFrame({"image_id": ids, "role": "test", "score": scores}).astype(
            {"image_id": str, "role": str, "score": float}
        ),
        best_step=7,
        best_loss=best_loss,
        curve=pd.DataFrame(
            {"step": [3], "train_loss": [0.1], "held_out_loss": [1 / 3], "seconds": [1.5]}
        ),
        seconds=1.25,
        peak_memory_mb=10.5,
        device="a GPU, of some make",
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    rows=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
        st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=8,
    )
)
def test_round_trip_to_the_last_bit(
    rows: dict[str, float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tasks = tmp_path_factory.mktemp("tasks")
    written = _result(list(rows), list(rows.values()))
    write_result(tasks, {"a": 1}, written)
    read = read_result(tasks, written.digest)
    assert read is not None
    assert list(read.scores["image_id"]) == list(rows)
    assert np.array_equal(read.scores["score"], list(rows.values()))
    pd.testing.assert_frame_equal(read.curve, written.curve, check_exact=True)
    for name in ("digest", "best_step", "best_loss", "seconds", "peak_memory_mb", "device"):
        assert getattr(read, name) == getattr(written, name)


@pytest.mark.parametrize("name", ["NA", "007", "1e3", "nan", "None", " x ", 'a"b', "a,b"])
def test_an_id_stays_the_text_that_it_is(name: str, tmp_path: Path) -> None:
    write_result(tmp_path, {}, _result([name], [1.0], best_loss=None))
    read = read_result(tmp_path, "0123456789abcdef")
    assert read is not None
    assert list(read.scores["image_id"]) == [name]
    assert read.best_loss is None


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_result(tmp_path, "0123456789abcdef") is None


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def save(folder: Path) -> None:
        folder.mkdir()
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_result(tmp_path, {}, _result(["a"], [1.0]), save_model=save)
    assert not list(tmp_path.iterdir())


def test_scores_are_found_by_image_and_not_by_row_and_never_a_synthetic_one() -> None:
    ids = [f"image {number}" for number in range(6)]
    frame = pd.DataFrame(
        {
            "image_id": [*reversed(ids), *ids[:3]],
            "role": ["normal"] * 3 + ["test"] * 3 + ["synthetic"] * 3,
            "score": [5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 90.0, 91.0, 92.0],
        }
    )
    result = replace(_result(["a"], [1.0]), scores=frame)
    table = pd.DataFrame({"image_id": ids})
    assert list(scores_at(result, table, np.array([4, 0, 2]))) == [4.0, 0.0, 2.0]
    assert list(result.of_role("synthetic")) == [90.0, 91.0, 92.0]


def _cut(name: str, fraction: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: math.floor(len(content) * fraction)])

    return damage


def _without_a_fact(folder: Path) -> None:
    facts = json.loads((folder / "result.json").read_text())
    del facts["best_step"]
    (folder / "result.json").write_text(json.dumps(facts))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "scores gone": lambda folder: (folder / "scores.csv").unlink(),
    "curve gone": lambda folder: (folder / "curve.csv").unlink(),
    "facts gone": lambda folder: (folder / "result.json").unlink(),
    "scores of no bytes": _cut("scores.csv", 0),
    "scores cut in a row": _cut("scores.csv", 0.5),
    "scores cut in the last digits": _cut("scores.csv", 0.99),
    "facts cut": _cut("result.json", 0.5),
    "facts of no bytes": _cut("result.json", 0),
    "a fact missing": _without_a_fact,
    "facts a list": lambda folder: (folder / "result.json").write_text("[1]") and None,
    "facts binary": lambda folder: (folder / "result.json").write_bytes(b"\xff\xfe") and None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_named_and_not_used(damage: str, tmp_path: Path) -> None:
    result = _result([str(number) for number in range(9)], [number / 7 for number in range(9)])
    write_result(tmp_path, {}, result)
    DAMAGES[damage](tmp_path / result.digest)
    with pytest.raises(StudyError, match=r"damaged.*`hpsearch recover .*` sets it aside") as caught:
        read_result(tmp_path, result.digest)
    assert str(tmp_path / result.digest) in str(caught.value)
    assert "\n" not in str(caught.value)
