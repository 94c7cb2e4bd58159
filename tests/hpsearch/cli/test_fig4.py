import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.cli.reproduce import Reproduction, fig4_spec
from hpsearch.config.spec import read_study

Command = Callable[..., Any]

TWO_STEPS = [
    *("--backbone", "vgg-mini", "--scale", 0.0001, "--n-examples", 4, "--study-name", "t"),
    *("--axis", "resolution=16", "--axis", "latent_dim=2", "--axis", "latent_res=1,4"),
    *("--axis", "layers=r12", "--axis", "greyscale=false"),
]


@pytest.fixture
def fig4(
    hpsearch: Command, tiny: Path, inline: list[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Runs `hpsearch reproduce fig4` on the tiny set, two steps a training."""
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *more: hpsearch("reproduce", "fig4", "--dataset", tiny, *TWO_STEPS, *more)


def test_a_plan_trains_nothing(fig4: Command, inline: list[str], runs: Path) -> None:
    ended = fig4("--plan")
    assert (ended.code, ended.err) == (0, "")
    assert "one final model each of the configurations that draws choose" in ended.out
    (plan,) = json.loads(fig4("--plan", "--json").out)["plan"]
    assert plan["name"] == "t"
    assert plan["to_search"] == plan["configurations"] * plan["folds"] > 0
    assert not inline
    assert not runs.exists()


def test_the_figure_is_written_and_its_study_is_not_run_again(
    fig4: Command, inline: list[str], runs: Path
) -> None:
    first = fig4()
    assert (first.code, first.err) == (0, "")
    # The tiny set holds six of a type, too few for the paper's claim.
    assert "no 20 examples of one type can be had here" in first.out.splitlines()[-1]
    assert (runs / "t" / "report" / "fig4.html").is_file()
    rows = pd.read_csv(runs / "t" / "report" / "fig4.csv")
    assert rows[["n_types", "n_examples"]].to_numpy().tolist() == [
        *([1, 1], [1, 5]),
        *([2, 5], [2, 10]),
    ]
    inline.clear()
    assert fig4().code == 0
    assert not inline


def _asked(dataset: str, **settings: Any) -> Any:
    names = Reproduction.__dataclass_fields__
    given = {"dataset": dataset, "settings": settings, "prefix": "fig4"}
    return Reproduction(**(dict.fromkeys(names) | given))


def test_every_point_of_the_grid_is_searched() -> None:
    spec = fig4_spec(_asked("synthetic-histology", labels={"n_examples": 7}))
    assert spec.space.keys() == read_study("quickstart")["space"].keys()
    assert spec.training.max_steps == read_study("quickstart")["training"]["max_steps"]
    assert spec.labels.n_examples == 7
    for dataset in ("synthetic-histology", "digits", "cifar10", "nih-subset"):
        search = fig4_spec(_asked(dataset)).search
        assert (search.sampler, search.n_trials, search.pruner) == ("grid", None, "none")
