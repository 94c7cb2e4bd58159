"""How criteria are shown: while a search runs, at its end, and in `hpsearch status`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpsearch.cli.listeners import figure, trial_line
from hpsearch.config.spec import CRITERIA, Criterion
from hpsearch.search.events import TrialReport

Command = Callable[..., Any]


@pytest.fixture
def study_by(tiny_yaml: Path) -> Callable[[Criterion], Path]:
    """The tiny study, chosen by another criterion."""

    def write(criterion: Criterion) -> Path:
        settings = yaml.safe_load(tiny_yaml.read_text()) | {"search": {"criterion": criterion}}
        path = tiny_yaml.with_name(f"{criterion}.yaml")
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


def _report(
    criterion: Criterion, value: float, folds: tuple[float, ...], *, best: bool = True
) -> TrialReport:
    return TrialReport(
        number=3,
        params={"width": 4, "flag": True},
        varied={"width": 4},
        state="complete",
        criterion=criterion,
        value=value,
        fold_values=folds,
        criteria={},
        seconds=1.5,
        best=best,
    )


@pytest.mark.parametrize(
    ("criterion", "value", "folds", "shown"),
    [
        ("weak", 0.75, (0.7, 0.8), "AUC 0.750* (folds 0.700 0.800)"),
        ("synthetic", 0.75, (0.7, 0.8), "synthetic AUC 0.750* (folds 0.700 0.800)"),
        ("unsupervised", -0.25, (-0.2, -0.3), "unsupervised loss 0.2500* (folds 0.2000 0.3000)"),
        ("unsupervised", -256.25, (-256.25,), "unsupervised loss 256.2* (folds 256.2)"),
    ],
)
def test_a_trial_is_a_line(
    criterion: Criterion, value: float, folds: tuple[float, ...], shown: str
) -> None:
    line = trial_line(_report(criterion, value, folds))
    assert line == f"trial   3  {shown}    1.5 s  width=4"


def test_only_the_best_so_far_is_marked() -> None:
    assert "0.750  (folds 0.750)" in trial_line(_report("weak", 0.75, (0.75,), best=False))


def test_a_loss_is_shown_without_its_sign() -> None:
    assert figure("unsupervised", -0.0123456) == "0.01235"
    assert figure("weak", 0.98765) == "0.988"


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_end_of_a_run_says_what_each_would_have_chosen(
    criterion: Criterion,
    hpsearch: Command,
    study_by: Callable[[Criterion], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    ended = hpsearch("run", "--study", study_by(criterion))
    assert (ended.code, ended.err) == (0, "")
    said = " ".join(ended.out.split())
    assert "what each criterion would have chosen" in said
    assert "models of the folds" in said
    assert "not the final figure" in said
    rows = [line for line in ended.out.splitlines() if re.match(rf"│ ({'|'.join(CRITERIA)})", line)]
    assert len(rows) == len(CRITERIA)
    assert [f"{name} *" in row for name, row in zip(CRITERIA, rows, strict=True)] == [
        name == criterion for name in CRITERIA
    ]
    assert ("choice: trial" in said) == (criterion == "weak")


def test_status_says_by_what_the_best_is_the_best(
    hpsearch: Command,
    study_by: Callable[[Criterion], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert hpsearch("run", "--study", study_by("unsupervised")).code == 0
    said = " ".join(hpsearch("status").out.replace("│", " ").split())
    assert re.search(r"loss \d", said)
    assert not re.search(r"loss -", said)
