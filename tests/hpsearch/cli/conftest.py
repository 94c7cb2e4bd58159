"""The command line in this process: its output and its exit code."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from hpsearch.cli.main import main


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def hpsearch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inline: list[str]
) -> Callable[..., Ended]:
    """Runs `hpsearch ARGUMENTS`; trainings happen in this process."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hpsearch", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return run
