import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def test_a_fit_dataset_passes(hpsearch: Command, tiny: Path) -> None:
    ended = hpsearch("check", "--dataset", tiny, "--n-examples", 4)
    assert (ended.code, ended.err) == (0, "")
    assert "70 images" in ended.out
    assert "error:" not in ended.out


def test_each_fault_is_a_line_and_the_code_is_1(
    hpsearch: Command, tiny: Path, tmp_path: Path
) -> None:
    for path in tiny.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "test-normal-0.png").write_bytes(b"")
    (tmp_path / "test-normal-1.png").write_bytes((tmp_path / "train-normal-0.png").read_bytes())
    ended = hpsearch("check", "--dataset", tmp_path / tiny.name, "--n-examples", 7)
    assert ended.code == 1
    errors = [line for line in ended.out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    for words in ("labelled budget", "test-normal-0.png: is empty", "has the pixels of"):
        assert sum(words in line for line in errors) == 1
    ended = hpsearch("check", "--dataset", tmp_path / tiny.name, "--n-examples", 7, "--json")
    findings = json.loads(ended.out.splitlines()[-1])
    assert {"labelled budget", "unreadable", "same pixels"} <= {f["check"] for f in findings}


def test_a_manifest_that_cannot_be_read_is_a_mistake(hpsearch: Command, tmp_path: Path) -> None:
    ended = hpsearch("check", "--dataset", tmp_path / "none.csv")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
