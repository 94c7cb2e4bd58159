from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from hpsearch.cli.screen import Screen, say

Command = Callable[..., Any]
NASTY = "[/b] [red]x[/red] \x1b[2J\n\x9b :smile: http://u:canary@h"
SHOWN = r"[/b] [red]x[/red] \x1b[2J\n\x9b :smile: http://***@h"


def test_text_is_shown_as_it_is_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    table = Table(title=NASTY, caption=NASTY)
    table.add_column(NASTY, no_wrap=True)
    table.add_row(NASTY)
    screen.print(table)
    screen.print(NASTY)
    say(NASTY)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "canary" not in out
    assert out.count(SHOWN) == 6


def test_names_of_a_manifest_reach_no_terminal(hpsearch: Command, tiny: Path) -> None:
    rows = tiny.read_text().replace(",stripes,", ",\x1b[31m[/x],").replace("group", "groups", 1)
    manifest = tiny.with_name("nasty.csv")
    manifest.write_text(rows)
    options = ["--dataset", manifest, "--n-examples", 4]
    checked = hpsearch("check", *options)
    ran = hpsearch(
        *("run", *options, "--n-anomaly-types", 2, "--detector", "features"),
        *("--backbone", "vgg-mini", "--axis", "layer=colour", "--axis", "resolution=16"),
        *("--axis", "kind=knn"),
    )
    manifest.unlink()
    for ended in (checked, ran):
        assert (ended.code, ended.err) == (0, "")
        assert "\x1b" not in ended.out
        assert r"\x1b[31m[/x]" in ended.out
        words = "column groups is not read, so every image is a group of its own; name it group"
        assert f"warning: {words}" in ended.out
        assert "columns that are ignored: groups" in ended.out


def test_an_error_shows_no_control_characters_and_no_password(hpsearch: Command) -> None:
    ended = hpsearch("run", "--dataset", "http://user:canary@host/\x1b[2J")
    assert ended.code == 2
    assert "canary" not in ended.err
    assert "\x1b" not in ended.err
    assert ended.err.count("\n") == 1
