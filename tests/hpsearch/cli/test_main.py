import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import HpsearchError, NothingCompletedError

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


def test_no_command_waits_for_torch_before_it_trains() -> None:
    code = (
        "import sys, hpsearch.cli.main\n"
        "slow = {'torch', 'plotly', 'matplotlib', 'mlflow'} & sys.modules.keys()\n"
        "sys.exit(', '.join(slow) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_version(hpsearch: Command) -> None:
    assert hpsearch("--version").out == f"hpsearch {version('hpsearch')}\n"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on from here"),
        (NothingCompletedError("study x: no trial"), 3, "hpsearch: study x: no trial"),
        (HpsearchError("no room"), 1, "hpsearch: no room"),
    ],
)
def test_how_other_ends_end(
    error: BaseException, code: int, says: str, hpsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("hpsearch.study.run.run_study", fails)
    ended = hpsearch("run")
    assert ended.code == code
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_a_signal_to_terminate_ends_as_one_to_interrupt(
    hpsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_told_to_end(*_: Any, **__: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            ended.append("tidied up")

    ended: list[str] = []
    monkeypatch.setattr("hpsearch.study.run.run_study", is_told_to_end)
    heard = signal.getsignal(signal.SIGTERM)
    try:
        code, _, err = hpsearch("run")
    finally:
        signal.signal(signal.SIGTERM, heard)
    assert (code, err) == (143, "hpsearch: stopped; the same command goes on from here\n")
    assert ended == ["tidied up"]


COMMANDS = (
    *("run", "reproduce", "status", "best", "label-budget", "report"),
    *("predict", "export", "dashboard", "datasets", "check", "prepare"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, hpsearch: Command) -> None:
    ended = hpsearch(command, "--help")
    assert ended.code == 0
    assert "Usage" in ended.out
