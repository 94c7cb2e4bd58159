import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.evaluation.stored_scores import read_scores
from hpsearch.storage.database import load_study, sole_writer_of, winner
from hpsearch.storage.run_dir import RunDir

Command = Callable[..., Any]

ASKED = ("--types", "1,2", "--examples", "1,2,6", "--repeats", 5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test keeps its finished study for the others."""
    return tmp_path_factory.mktemp("finished") / "runs"


@pytest.fixture
def study(
    hpsearch: Command, finished: Path, tiny_yaml: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command on a finished tiny study of four configurations."""
    if not finished.exists():
        assert hpsearch("run", "--study", tiny_yaml).code == 0
        shutil.copytree(runs, finished)
    shutil.copytree(finished, runs, dirs_exist_ok=True)
    return lambda *more: hpsearch("label-budget", *more)


@pytest.fixture
def missing(study: Command, inline: list[str], runs: Path) -> str:
    """Takes the final model of the winner away, which the draws choose too; gives its digest."""
    folder = RunDir(runs / "tiny")
    number = winner(load_study(folder.path), "weak").number
    digest = read_scores(folder).final_tasks[number]
    assert digest is not None
    shutil.rmtree(folder.tasks / digest)
    inline.clear()
    return digest


def test_missing_models_are_trained_once_and_a_seed_gives_the_same_file(
    study: Command, missing: str, inline: list[str], runs: Path
) -> None:
    first = study(*ASKED)
    assert (first.code, first.err) == (0, "")
    assert missing in inline
    assert f"final models missing: {len(inline)}; training them takes about" in first.out
    assert first.out.splitlines()[-1].startswith("with ")
    assert "models trained on all normals, on 12 normal and 10 anomalous test images" in first.out
    report = runs / "tiny" / "report"
    numbers, page = (report / f"label_budget.{suffix}" for suffix in ("csv", "html"))
    rows = pd.read_csv(numbers)
    assert rows[["n_types", "n_examples"]].to_numpy().tolist() == [
        *([1, 1], [1, 2], [1, 6]),
        *([2, 2], [2, 6]),
    ]
    assert set(rows["models"]) == {"final"}
    assert rows["regret"].ge(0).all()
    before, _ = numbers.read_bytes(), inline.clear()
    second = study(*ASKED)
    assert "final models missing" not in second.out
    assert not inline
    assert numbers.read_bytes() == before
    assert page.stat().st_size > 1e6, "the plotting library is inside"


def test_without_training_the_models_of_the_folds_are_asked(
    study: Command, missing: str, inline: list[str], runs: Path
) -> None:
    ended = study("tiny", *ASKED, "--no-train", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert not inline
    said = json.loads(ended.out.splitlines()[-1])
    trials = load_study(runs / "tiny").get_trials()
    assert said["models"] == "folds"
    assert said["n_models"] == said["n_configurations"] == len(trials)
    assert len(said["points"]) == 5
    for point in said["points"]:
        assert sum(choice["times"] for choice in point["chosen"]) == 5
        assert said["worst"] <= point["mean"] <= said["best"]
    assert Path(said["csv"]).is_file()


def test_bad_asks_are_one_line_and_leave_nothing(study: Command, runs: Path) -> None:
    for options, message in (
        (("--types", 3), "--types: 3 asked for, the data has 2; lower it"),
        (("--types", "two"), "--types 'two': write whole numbers, e.g. 1,2,4"),
        (
            ("--examples", 13),
            "--examples: 13 asked for; --types 1,2 hold 12, spread evenly",
        ),
        (("--types", 2, "--examples", 1), "--examples: 1 is too few for 2 types"),
        (("--repeats", 0), "--repeats: 0 is too few"),
        (("nowhere",), "nowhere: holds no study"),
    ):
        ended = study(*options)
        assert ended.code == 2
        assert message in ended.err
        assert ended.err.count("\n") == 1
    assert not (runs / "tiny" / "report").exists()


def test_a_study_that_another_process_writes_is_left_alone(
    study: Command, missing: str, runs: Path
) -> None:
    with sole_writer_of(runs / "tiny"):
        ended = study(*ASKED)
    assert ended.code == 2
    assert "is writing this study" in ended.err
    assert study(*ASKED, "--no-train").code == 0
