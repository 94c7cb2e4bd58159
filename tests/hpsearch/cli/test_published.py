"""`hpsearch reproduce ... --published`: what the authors chose, trained without a search."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpsearch.study
import hpsearch.tables.fixed
from hpsearch.metrics import auroc
from hpsearch.results import read_result

Command = Callable[..., Any]
TINY = [
    *("--scale", 0.0001, "--n-runs", 2, "--study-name", "t"),
    *("--axis", "resolution=16", "--axis", "layers=r12"),
]
ONE = ["--dataset", "digits", "--classes", "1"]


@pytest.fixture
def published(hpsearch: Command, inline: list[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `hpsearch reproduce TABLE --published` in this process."""
    engine = hpsearch_study_engine()
    monkeypatch.setattr("hpsearch.tables.fixed.LocalEngine", engine)
    return lambda name, *more: hpsearch("reproduce", name, "--published", *TINY, *more)


def hpsearch_study_engine() -> Any:
    """The inline one, which the study's is while `inline` is at work."""
    return hpsearch.study.LocalEngine


def test_it_trains_the_configuration_alone_and_goes_on_where_it_was(
    published: Command, inline: list[str], runs: Path
) -> None:
    plan = json.loads(published("table5", *ONE, "--plan", "--json").out)["plan"][0]
    assert not runs.exists()
    assert (plan["folds"], plan["to_search"], plan["to_finish"]) == (0, 0, 2)
    assert (plan["max_steps"], plan["data"]) == (2, "on the disk")  # of 16,666

    ended = published("table5", *ONE, "--json")
    assert (ended.code, ended.err) == (0, "")
    *_, whole = map(json.loads, ended.out.splitlines())
    assert whole["published"] is True
    (line,) = [line for line in whole["lines"] if line["status"] == "run"]
    assert len(inline) == len(line["tasks"]) == 2, "no search and no reference rows"
    for task, value in zip(line["tasks"], line["runs"], strict=True):
        path = runs / task
        settings = json.loads((path / "task.json").read_text())
        assert (settings["fold"], settings["steps"]) == (None, 2)
        assert settings["params"]["latent_dim"] == 16  # of SVHN's 1, which the digit stands for
        result = read_result(path.parent, path.name)
        assert result is not None
        test = result.scores[result.scores["role"] == "test"]
        normal = test["image_id"].isin(_normals(path.parents[1]))
        assert value == pytest.approx(100 * auroc(test["score"][normal], test["score"][~normal]))
    assert "the published configuration of svhn" in whole["departures"]
    assert "steps x 0.0001" in whole["departures"]
    assert not (runs / "latest.txt").exists(), "it is no study that `best` could show"

    first, second = (runs / task for task in line["tasks"])
    scores = (second / "scores.csv").read_bytes()
    shutil.rmtree(second)
    inline.clear()
    assert published("table5", *ONE).code == 0
    assert inline == [second.name], "the other one is read"
    assert (second / "scores.csv").read_bytes() == scores
    assert first.exists()


def _normals(folder: Path) -> set[str]:
    with (folder / "images.csv").open(newline="") as file:
        return {row["image_id"] for row in csv.DictReader(file) if row["label"] == "0"}


def test_table2_grows_on_a_stand_in(published: Command, inline: list[str], runs: Path) -> None:
    plan = json.loads(
        published("table2", "--dataset", "synthetic-histology", "--plan", "--json").out
    )["plan"]
    assert [study["name"] for study in plan] == [
        "t-synthetic-histology",
        "t-synthetic-histology-growing",
    ]
    assert [study["max_steps"] for study in plan] == [3, 5]  # 34,666; 8,666 after two phases of 2
    assert not inline and not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fig4"], "--published: is for table1, table2, table3, table5, not fig4"),
        (["table4"], "--published: is for table1, table2, table3, table5, not table4"),
        (["table5", *ONE, "--n-examples", "3"], "--n-examples: with --published no labels"),
        (["table5", *ONE, "--axis", "latent_dim=2,4"], "give one choice"),
        (["table2", "--dataset", "own.csv"], "published no configuration for"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    arguments: list[str], says: str, hpsearch: Command, runs: Path
) -> None:
    ended = hpsearch("reproduce", *arguments, "--published")
    assert ended.code == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1
    assert not runs.exists()
