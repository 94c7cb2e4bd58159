from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsearch.reports.dashboard.server import Dashboard

Command = Callable[..., Any]


@pytest.fixture
def done(hpsearch: Command, tiny_yaml: Path, runs: Path) -> Path:
    assert hpsearch("run", "--study", tiny_yaml).code == 0
    return runs / "tiny"


def test_the_link_is_printed_and_ctrl_c_is_a_good_end(
    hpsearch: Command, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Dashboard) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dashboard, "serve", interrupted)
    ended = hpsearch("dashboard", "--port", 0)
    assert (ended.code, ended.err) == (0, "")
    assert "tiny: http://127.0.0.1:" in ended.out
    assert "the dashboard has ended" in ended.out
    assert list((done / "artifacts").iterdir())


def test_without_the_extra(hpsearch: Command, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpsearch.reports.dashboard.server.is_installed", lambda: False)
    ended = hpsearch("dashboard", "--port", 0)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "pip install 'hpsearch[dashboard]'" in ended.err


def test_no_such_study(hpsearch: Command, runs: Path) -> None:
    ended = hpsearch("dashboard", "nonsense")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
