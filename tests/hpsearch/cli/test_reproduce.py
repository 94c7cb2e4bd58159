import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.cli.reproduce import default_prefix, parse_rows
from hpsearch.evaluation.auroc import auroc
from hpsearch.storage.results import read_result

Command = Callable[..., Any]

TWO_STEPS = [
    *("--backbone", "vgg-mini", "--scale", 0.0001, "--n-examples", 4, "--n-runs", 2),
    *("--axis", "resolution=16", "--axis", "latent_dim=2", "--axis", "latent_res=1,4"),
    *("--axis", "layers=r12", "--study-name", "t"),
]


@pytest.fixture
def table4(hpsearch: Command, tiny: Path) -> Command:
    """Runs `hpsearch reproduce table4` on the tiny set, two steps a training."""
    return lambda *more: hpsearch("reproduce", "table4", "--dataset", tiny, *TWO_STEPS, *more)


def test_rows_are_run_printed_stored_and_not_run_again(
    table4: Command, inline: list[str], runs: Path
) -> None:
    first = table4("--rows", "1,2,3,10")
    assert (first.code, first.err) == (0, "")
    for name in ("(1) L1 + ", "(2) PL + ", "(3) PL + ", "(10) PL + "):
        assert any(line.startswith(f"│ {name}") for line in first.out.splitlines())
    studies, configurations, folds, references = 3, 2, 3, 4
    finals = {task for line in _stored(runs) for task in line["tasks"].split()}
    assert len(inline) == studies * (configurations * folds + references) + len(finals)
    inline.clear()
    second = table4("--rows", "1,2,3,10")
    assert second.code == 0
    assert not inline, "nothing is trained anew"
    assert first.out[first.out.index("table4 on") :] == second.out[second.out.index("table4 on") :]


def _stored(runs: Path) -> list[dict[str, str]]:
    with (runs / "t" / "table4.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_is_that_of_its_tasks(table4: Command, tiny: Path, runs: Path) -> None:
    ended = table4("--rows", "2,3", "--json")
    *_, table = map(json.loads, ended.out.splitlines())
    assert (table["table"], table["scale"]) == ("table4", 0.0001)
    assert [row["row"] for row in table["rows"]] == [2, 3]
    assert len({row["run_dir"] for row in table["rows"]}) == 1
    assert Path(table["csv"]) == runs / "t" / "table4.csv"
    images = pd.read_csv(tiny).set_index("image_path")
    for row, stored in zip(table["rows"], _stored(runs), strict=True):
        aurocs = []
        for task in row["tasks"]:
            result = read_result(Path(row["run_dir"]) / "tasks", task)
            assert result is not None
            test = result.scores[result.scores["role"] == "test"].set_index("image_id")["score"]
            labels = images.loc[test.index, "label_index"]
            aurocs.append(auroc(test[labels == 0].to_numpy(), test[labels == 1].to_numpy()))
        assert row["runs"] == pytest.approx(aurocs)
        assert row["test_auroc"] == pytest.approx(sum(aurocs) / 2)
        assert row["std"] == pytest.approx(abs(aurocs[0] - aurocs[1]) / 2**0.5)
        assert row["low"] <= row["test_auroc"] <= row["high"]
        assert float(stored["test_auroc"]) == row["test_auroc"]
        assert stored["tasks"] == " ".join(row["tasks"])


def test_a_row_without_a_figure_says_so_and_the_others_are_there(
    table4: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpsearch.detectors.dpa import PerceptualAutoencoder
    from hpsearch.errors import TaskError

    fit = PerceptualAutoencoder.fit

    def diverges_on_pixels(self: PerceptualAutoencoder, *args: Any, **options: Any) -> Any:
        if self.setup.params["loss"] == "l1":
            raise TaskError("non_finite", "it diverged")
        return fit(self, *args, **options)

    monkeypatch.setattr(PerceptualAutoencoder, "fit", diverges_on_pixels)
    ended = table4("--rows", "1,3", "--n-runs", 1)
    assert (ended.code, ended.err) == (1, "")
    assert "(1) failed: study t-row-1: no trial was completed" in ended.out
    bad, good = _stored(runs)
    assert (bad["test_auroc"], bad["tasks"]) == ("", "")
    assert "no trial was completed" in bad["failure"]
    assert 0 <= float(good["test_auroc"]) <= 1
    assert (good["std"], good["failure"]) == ("", "")


def test_other_settings_under_the_same_names_are_refused(table4: Command, runs: Path) -> None:
    assert table4("--rows", "1", "--axis", "latent_res=4").code == 0
    ended = table4("--rows", "3,1", "--axis", "latent_res=4", "--seed", 1)
    assert ended.code == 2
    assert "study t-row-1" in ended.err
    assert "search.seed is 0 there and 1 now" in ended.err
    assert ended.err.count("\n") == 1
    assert not (runs / "t-rows-2-3").exists(), "all is checked before the first study is begun"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["table9"], "what can be reproduced: fig4, table4, table1, table2, table3, table5"),
        (["table4", "--rows", "1;2"], "write numbers of rows"),
        (["table4", "--rows", ""], "write numbers of rows"),
        (["table4", "--rows", "11"], "rows 1 to 10, not 11"),
        (["table4", "--scale", "0"], "--scale must be above 0"),
        (["table4", "--axis", "loss=l1"], "--axis loss"),
        (["table4", "--axis", "start_resolution=64"], "start_resolution"),
        (["table4", "--axis", "latent_dim=wide"], "latent_dim takes whole numbers"),
        (["table4", "--workers", "0"], "workers"),
        (["table4", "--dataset", "nonsense"], "'nonsense' is unknown"),
        (["table4", "--study-name", "../up"], "study_name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], says: str, hpsearch: Command, tiny: Path, runs: Path
) -> None:
    usual = [] if "--dataset" in arguments else ["--dataset", tiny]
    budget = ["--backbone", "vgg-mini", "--n-examples", 4, "--axis", "resolution=16"]
    ended = hpsearch("reproduce", *arguments, *usual, *budget)
    assert ended.code == 2
    assert says in ended.err, ended.err
    assert ended.err.startswith("hpsearch: ")
    assert ended.err.count("\n") == 1
    assert not runs.exists()


def test_names_of_run_directories() -> None:
    assert default_prefix("table4", "digits", None, None) == "table4-digits"
    assert default_prefix("table4", "digits", "3", 0.01) == "table4-digits-3-x0.01"
    assert default_prefix("table4", "some/my screws.csv", None, 1.0) == "table4-my-screws-x1"


def test_rows_are_numbers() -> None:
    assert parse_rows(None) is None
    assert parse_rows("1,3, 10") == (1, 3, 10)
