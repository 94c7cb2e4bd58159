"""What the documentation tells people to type exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from hpsearch.cli.main import app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
_CODE = re.compile(r"^    .*(?:\\\n.*)*|`[^`\n]+`", re.MULTILINE)  # indented, or in backticks
_COMMAND = re.compile(r"\bhpsearch ((?:[a-z][a-z0-9-]* ?)+)((?:[^|`#&\n]|\\\n)*)")


def _commands() -> dict[str, Any]:
    """Every command of the program by its words, those of `prepare` too."""
    program: Any = typer.main.get_command(app)
    found = dict(program.commands)
    prepare = found.pop("prepare")
    return found | {f"prepare {name}": command for name, command in prepare.commands.items()}


def _shown(page: Path) -> list[tuple[str, str]]:
    """Words and options of every command in the code of a page."""
    code = "\n".join(_CODE.findall(page.read_text(encoding="utf-8")))
    return [(words.strip(), rest) for words, rest in _COMMAND.findall(code)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    known = _commands()
    shown = _shown(page)
    assert shown
    for words, rest in shown:
        (name,) = [name for name in known if f"{words} ".startswith(f"{name} ")] or [None]
        assert name, f"{page.name}: no command in 'hpsearch {words}'"
        options = {"--help"} | {option for one in known[name].params for option in one.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert option in options, f"{page.name}: hpsearch {name} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert targets
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
