"""`hpsearch reproduce ... --published`: what the authors chose, trained without a search."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.evaluation.auroc import auroc
from hpsearch.storage.results import read_result

Command = Callable[..., Any]
TINY = [
    *("--backbone", "vgg-mini", "--axis", "resolution=16", "--axis", "layers=r12"),
    *("--scale", 0.0003, "--n-runs", 2, "--study-name", "t"),
]


@pytest.fixture
def published(hpsearch: Command, cifar_folders: Path, inline: list[str]) -> Command:
    """Runs `hpsearch reproduce table5 --published` on one class, in this process."""
    data = ["--dataset", "cifar10", "--root", cifar_folders, "--classes", "car"]
    return lambda *more: hpsearch("reproduce", "table5", "--published", *data, *TINY, *more)


def test_it_trains_the_configuration_alone_and_goes_on_where_it_was(
    published: Command, inline: list[str], runs: Path, cifar_folders: Path
) -> None:
    plan = json.loads(published("--plan", "--json").out)["plan"][0]
    assert not runs.exists()
    assert (plan["folds"], plan["to_search"], plan["to_finish"]) == (0, 0, 2)
    assert (plan["max_steps"], plan["data"]) == (2, f"in {cifar_folders}")  # of 7,333

    ended = published("--json")
    assert (ended.code, ended.err) == (0, "")
    *_, whole = map(json.loads, ended.out.splitlines())
    assert whole["published"] is True
    (line,) = [line for line in whole["lines"] if line["status"] == "run"]
    assert len(inline) == len(line["tasks"]) == 2, "no search and no reference rows"
    for task, value in zip(line["tasks"], line["runs"], strict=True):
        path = runs / task
        settings = json.loads((path / "task.json").read_text())
        assert (settings["fold"], settings["steps"]) == (None, 2)
        assert settings["params"]["latent_dim"] == 8  # of cars
        result = read_result(path.parent, path.name)
        assert result is not None
        test = result.scores[result.scores["role"] == "test"]
        normal = test["image_id"].str.split("/").str[1] == "car"
        assert value == pytest.approx(100 * auroc(test["score"][normal], test["score"][~normal]))
    assert (line["paper_value"], line["n_normal"], line["n_anomaly"]) == (92.2, 3, 27)
    assert "steps x 0.0003" in whole["departures"]
    assert not (runs / "latest.txt").exists(), "it is no study that `best` could show"

    first, second = (runs / task for task in line["tasks"])
    scores = (second / "scores.csv").read_bytes()
    shutil.rmtree(second)
    inline.clear()
    assert published().code == 0
    assert inline == [second.name], "the other one is read"
    assert (second / "scores.csv").read_bytes() == scores
    assert first.exists()


def test_table2_is_planned_with_growing_and_without(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("reproduce", "table2", "--published", "--plan", "--json")
    plan = json.loads(ended.out)["plan"]
    steps = {study["name"]: study["max_steps"] for study in plan}
    assert len(steps) == 8
    assert steps["published-camelyon16"] == 34_666
    assert steps["published-nih-ap-growing"] == 6 * 20_000 + 7_000
    assert all("download" in study["data"] for study in plan)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fig4"], "--published: is for table1, table2, table3, table5, not fig4"),
        (["table4"], "--published: is for table1, table2, table3, table5, not table4"),
        (["table5", "--n-examples", "3"], "--n-examples: with --published no labels"),
        (["table5", "--axis", "latent_dim=2,4"], "give one choice"),
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
