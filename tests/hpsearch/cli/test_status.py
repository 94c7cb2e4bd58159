import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


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
    shown = hpsearch("status", "other")
    assert shown.code == 0
    assert "trial 2 failed: non_finite: " in shown.out
    assert "tiny" not in shown.out


def test_no_study_is_one_line(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("status")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert not runs.exists()
