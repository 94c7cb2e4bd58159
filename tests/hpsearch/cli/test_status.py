import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpsearch.config.spec import StudySpec
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import RunDir

Command = Callable[..., Any]
Finished = Callable[[StudySpec], RunDir]


def test_how_far_every_study_is(hpsearch: Command, tiny_yaml: Path, plugin: Path) -> None:
    assert hpsearch("run", "--study", tiny_yaml).code == 0
    fragile = ["--detector", "fragile", "--axis", "mode=calm,blank", "--study-name", "other"]
    ran = hpsearch("run", "--study", tiny_yaml, *fragile)
    assert ran.code == 0
    assert "best 1 of 1 of 2 configurations" in ran.out
    assert "1 of 2 configurations failed: trial 1 non_finite: " in ran.out
    best = json.loads(hpsearch("best", "other", "--json").out)
    assert (best["n_trials"], best["n_failed"]) == (1, 1)
    again = hpsearch("run", "--study", tiny_yaml, *fragile, "--retry-failed")
    assert "trial 1 is tried again: non_finite" in again.out
    ended = hpsearch("status", "--json")
    assert ended.code == 0
    other, tiny = json.loads(ended.out)
    assert (tiny["study"], tiny["complete"], tiny["failed"], tiny["open"]) == ("tiny", 4, 0, 0)
    assert tiny["final"] is True
    assert (other["complete"], other["failed"]) == (1, 1)
    assert other["failures"][0][0] == 2, "trial 1 has been tried again"
    assert "not finite" in other["failures"][0][1]
    assert tiny["winner"] is not None
    shown = hpsearch("status", "other")
    assert shown.code == 0
    assert "trial 2 failed: non_finite: " in shown.out
    assert "tiny" not in shown.out


def test_no_study_is_one_line(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("status")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert not runs.exists()


def test_the_winner_is_the_one_that_was_recorded(
    hpsearch: Command, finished_study: Finished, tiny_spec: Any
) -> None:
    """The parsimonious pick need not have the highest value."""
    folder = finished_study(tiny_spec())
    trials = load_study(folder.path).get_trials()
    top = max(trials, key=lambda trial: (trial.value, -trial.number)).number
    other = next(trial for trial in trials if trial.number != top)
    (folder.final / str(folder.winner())).rename(folder.final / str(other.number))
    folder.record_winner(other.number)
    (row,) = json.loads(hpsearch("status", "--json").out)
    assert (row["winner"], row["final"], row["best_trial"]) == (other.number, True, top)
    assert row["winner_value"] == other.value
    assert row["params"] == f"kind={other.params['kind']} layer={other.params['layer']}"
    shown = " ".join(hpsearch("status").out.split())
    assert f"trial {other.number}: AUC" in shown
    assert "not yet" not in shown


@pytest.mark.parametrize("name", ["study.db", "spec.yaml", "winner.txt"])
def test_a_damaged_study_does_not_hide_the_others(
    name: str, hpsearch: Command, finished_study: Finished, tiny_spec: Any
) -> None:
    whole = finished_study(tiny_spec())
    damaged = shutil.copytree(whole.path, whole.path.with_name("damaged"))
    (damaged / name).write_bytes(b"")
    ended = hpsearch("status")
    assert (ended.code, ended.err) == (0, "")
    lines = [line for line in ended.out.splitlines() if line.startswith("damaged: ")]
    assert len(lines) == 1
    assert "4 complete" in ended.out
    first, second = json.loads(hpsearch("status", "--json").out)
    assert set(first) == {"study", "run_dir", "error"}
    assert second["complete"] == 4
    named = hpsearch("status", "damaged")
    assert (named.code, named.out, named.err.count("\n")) == (2, "", 1)


def test_names_and_reasons_are_shown_as_they_are(
    hpsearch: Command, finished_study: Finished, tiny_spec: Any, tmp_path: Path
) -> None:
    folder = finished_study(tiny_spec())
    where = tmp_path / "my [/runs] [red]"
    study = load_study(shutil.copytree(folder.path, where / "tiny"))
    trial = study.ask()
    reason = "[/x] \x1b[31mred\nline of http://user:canary@host"
    trial.set_user_attr("failure_message", reason)
    trial.set_user_attr("tasks", [])
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    for command in ("status", "best"):
        ended = hpsearch(command, "--runs", where, *(["tiny"] if command == "best" else []))
        assert (ended.code, ended.err) == (0, ""), command
        assert "\x1b" not in ended.out
    assert "my [/runs] [red]" in ended.out
    shown = hpsearch("status", "--runs", where).out
    assert r"tiny: trial 4 failed: error: [/x] \x1b[31mred\nline of http://***@host" in shown
    assert "canary" not in hpsearch("status", "--runs", where, "--json").out
