"""Records of a study that hold something else: every command ends well or in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.storage.run_dir import RunDir

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


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_record_is_one_line(
    name: str,
    hpsearch: Any,
    tiny_spec: Any,
    tiny_yaml: Path,
    finished_study: Callable[..., RunDir],
) -> None:
    folder = finished_study(tiny_spec())
    for path in folder.path.glob(name):
        path.write_text("[1]")
    run = ("run", "--study", tiny_yaml, "--device", "cpu", "--workers", 1)
    for command in (("best", "tiny"), ("recover", "tiny"), run):
        ended = hpsearch(*command, "--runs", folder.path.parent)
        assert ended.code in (0, 2), (command, ended.err)
        if ended.code == 2:
            assert ended.err.splitlines()[-1].startswith("hpsearch: "), ended.err
