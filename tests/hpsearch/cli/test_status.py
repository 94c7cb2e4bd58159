import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_how_far_every_study_is(hpsearch: Command, tiny_yaml: Path, plugin: Path) -> None:
    assert hpsearch("run", "--study", tiny_yaml).code == 0
    fragile = ["--detector", "fragile", "--axis", "mode=calm,blank", "--study-name", "other"]
    assert hpsearch("run", "--study", tiny_yaml, *fragile).code == 0
    ended = hpsearch("status", "--json")
    assert ended.code == 0
    other, tiny = json.loads(ended.out)
    assert (tiny["study"], tiny["complete"], tiny["failed"], tiny["open"]) == ("tiny", 4, 0, 0)
    assert tiny["final"] is True
    assert (other["complete"], other["failed"]) == (1, 1)
    assert other["failures"][0][0] == 1
    assert "not finite" in other["failures"][0][1]
    shown = hpsearch("status", "other")
    assert shown.code == 0
    assert "trial 1 failed" in shown.out
    assert "tiny" not in shown.out


def test_no_study_is_one_line(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("status")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert not runs.exists()
