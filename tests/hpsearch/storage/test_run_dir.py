from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.errors import StudyError
from hpsearch.storage.results import RECIPE
from hpsearch.storage.run_dir import DATABASE, RunDir, find_study, list_studies

FACTS = {"recipe": 1, "data_fingerprint": "f", "backbone_digest": "b"}
TABLE = pd.DataFrame(
    {"image_id": ["007", "NA", "c"], "path": ["", "", ""], "label": [0, 0, 1], "group": ["1"] * 3}
)


def _spec(**changes: Any) -> StudySpec:
    return build_spec({"study_name": "mine"}, changes)


@pytest.fixture
def begun(runs: Path) -> RunDir:
    folder = RunDir(runs / "mine")
    folder.begin(_spec(), TABLE, FACTS)
    return folder


def test_what_was_begun_comes_back(begun: RunDir) -> None:
    assert begun.spec() == _spec()
    assert begun.environment() == FACTS
    assert begun.tasks.is_dir()


@pytest.mark.parametrize(
    ("recipe", "mend"),
    [(RECIPE, "run the same `hpsearch run` again"), (RECIPE - 1, "another --study-name")],
)
def test_how_to_get_a_winner_hangs_on_whether_the_study_can_go_on(
    recipe: int, mend: str, runs: Path
) -> None:
    folder = RunDir(runs / "mine")
    folder.begin(_spec(), TABLE, FACTS | {"recipe": recipe})
    with pytest.raises(StudyError, match=f"^study mine: the winner is not trained yet; .*{mend}"):
        folder.winner()


def test_the_same_study_goes_on(begun: RunDir) -> None:
    begun.begin(_spec(search={"n_trials": 9}), TABLE, FACTS)
    assert begun.spec().search.n_trials == 9


@pytest.mark.parametrize(
    ("changes", "table", "facts", "says"),
    [
        ({"search": {"seed": 1}}, TABLE, FACTS, "search.seed is 0 there and 1 now"),
        ({"training": {"max_steps": 5}}, TABLE, FACTS, "training.max_steps is 100000 there"),
        ({}, TABLE, FACTS | {"recipe": 2}, "another version of hpsearch began it"),
        ({}, TABLE, FACTS | {"backbone_digest": "x"}, "the backbone weights are others"),
        ({}, TABLE, FACTS | {"statistics_digest": "x"}, "the channel statistics of the backbone"),
        ({}, TABLE, FACTS | {"folds_digest": "x"}, "the fold files list other images"),
        ({}, TABLE, FACTS | {"data_fingerprint": "x"}, "the pixels of the images differ"),
        ({}, TABLE[:2], FACTS | {"data_fingerprint": "x"}, "had 3 images and has 2 now"),
        (
            {},
            TABLE.assign(group=["1", "2", "3"]),
            FACTS | {"data_fingerprint": "x"},
            "the table differs, first at image NA",
        ),
    ],
)
def test_another_study_under_the_same_name_is_refused(
    begun: RunDir, changes: Any, table: pd.DataFrame, facts: dict[str, str], says: str
) -> None:
    before = {path.name: path.read_bytes() for path in begun.path.iterdir() if path.is_file()}
    with pytest.raises(StudyError) as caught:
        begun.begin(_spec(**changes), table, facts)
    message = str(caught.value)
    assert says in message
    assert str(begun.path) in message
    assert "--study-name" in message
    assert "\n" not in message
    assert before == {
        path.name: path.read_bytes() for path in begun.path.iterdir() if path.is_file()
    }


@pytest.mark.parametrize("name", ["spec.yaml", "env.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_damage_is_one_line(begun: RunDir, name: str, content: bytes) -> None:
    (begun.path / name).write_bytes(content)
    with pytest.raises(StudyError, match=name) as caught:
        begun.begin(_spec(), TABLE, FACTS | {"data_fingerprint": "x"})
    assert "\n" not in str(caught.value)


@pytest.fixture
def two(runs: Path) -> Path:
    for name in ("one", "two"):
        folder = RunDir(runs / name)
        folder.begin(build_spec({"study_name": name}, {}), TABLE, FACTS)
        (folder.path / DATABASE).touch()
    return runs


def test_a_study_is_found_by_directory_by_name_and_as_the_latest(two: Path) -> None:
    assert find_study(str(two / "one"), Path("elsewhere")).path == two / "one"
    assert find_study("one", two).path == two / "one"
    assert find_study(None, two).path == two / "two"
    assert [study.path.name for study in list_studies(two)] == ["one", "two"]


@pytest.mark.parametrize("run", ["three", "", "one/tasks", "../two"])
def test_an_unknown_study_is_one_line(two: Path, run: str) -> None:
    with pytest.raises(StudyError, match="holds no study") as caught:
        find_study(run, two)
    assert "\n" not in str(caught.value)


def test_no_study_at_all(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="start one with `hpsearch run`"):
        find_study(None, tmp_path)


def test_the_latest_was_deleted(two: Path) -> None:
    (two / "two" / DATABASE).unlink()
    with pytest.raises(StudyError, match=r"the studies in .* are: one$"):
        find_study(None, two)
