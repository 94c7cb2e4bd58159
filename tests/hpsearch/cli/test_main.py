import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import HpsearchError

Command = Callable[..., Any]


def test_the_program_is_installed_and_ends_with_its_code(tmp_path: Path) -> None:
    code = "from hpsearch.cli.main import main; main()"
    arguments = ["best", "nonsense", "--runs", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("hpsearch: ")
    assert ended.stderr.count("\n") == 1
    assert not ended.stdout


def test_version(hpsearch: Command) -> None:
    assert hpsearch("--version").out == f"hpsearch {version('hpsearch')}\n"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on from here"),
        (HpsearchError("no room"), 1, "hpsearch: no room"),
    ],
)
def test_how_other_ends_end(
    error: BaseException, code: int, says: str, hpsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("hpsearch.study.run_study", fails)
    ended = hpsearch("run")
    assert ended.code == code
    assert says in ended.err
    assert ended.err.count("\n") == 1


COMMANDS = (
    *("run", "reproduce", "status", "best", "label-budget", "report"),
    *("predict", "export", "dashboard", "datasets", "check", "prepare"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, hpsearch: Command) -> None:
    ended = hpsearch(command, "--help")
    assert ended.code == 0
    assert "Usage" in ended.out
