"""Damaged records of a study: every command ends well or in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.study_dir import StudyDir

FILES = (
    "env.json",
    "spec.yaml",
    "winner.txt",
    "trials.jsonl",
    "final/*/result.json",
    "final/*/model/model.json",
    "tasks/*/task.json",
    "tasks/*/result.json",
)
CONTENTS = (b'{"a": [1, ', b"[1]")


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_record_is_one_line(
    name: str,
    hpsearch: Any,
    tiny_spec: Any,
    tiny_yaml: Path,
    finished_study: Callable[..., StudyDir],
) -> None:
    folder = finished_study(tiny_spec())
    runs = folder.path.parent
    shutil.copytree(folder.path, runs / "kept")
    commands = (
        ("best", "tiny"),
        ("recover", "tiny"),
        ("run", "--study", tiny_yaml, "--device", "cpu", "--workers", 1),
    )
    for content in CONTENTS:
        shutil.rmtree(folder.path)
        shutil.copytree(runs / "kept", folder.path)
        for path in folder.path.glob(name):
            path.write_bytes(content)
        for command in commands:
            ended = hpsearch(*command, "--runs", runs)
            assert ended.code in (0, 2), (command, ended.err)
            if ended.code == 2:
                assert ended.err.splitlines()[-1].startswith("hpsearch: "), ended.err
