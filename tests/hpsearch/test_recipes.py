"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the packages."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"```(?:python|diff)\n# (\S+?)( \(new\))?\n(.*?)```\n", re.DOTALL)
COMMANDS = """
import sys
from hpsearch.cli.main import main

for command in sys.argv[1:]:
    sys.argv = ["hpsearch", *command.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


class Followed(NamedTuple):
    """What came of the recipes: the study's folder, and the files that each of them touched."""

    run: Path
    touched: dict[str, set[str]]


def _follow(recipe: str, copy: Path) -> set[str]:
    """Make the files that a recipe makes, and the changes to those that there are."""
    touched = set()
    for name, new, text in STEP.findall(recipe):
        touched.add(name)
        path = copy / name
        if new:
            assert not path.exists()
            path.write_text(text)
            continue
        lines = text.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if not line.startswith("+"))
        after = "".join(line[1:] for line in lines)
        whole = path.read_text()
        assert whole.count(before) == 1, f"{name} no longer has these lines:\n{before}"
        path.write_text(whole.replace(before, after))
    return touched


@pytest.fixture(scope="module")
def followed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """A study that uses all three: its detector, both choices of its axis, and its report."""
    folder = tmp_path_factory.mktemp("recipes")
    for package in ("dpa_core", "hpsearch", "studies"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=without)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    _, *recipes = re.split(
        r"^\*\*(A \w+|An \w+)\*\*", text.partition("## Three recipes")[2], flags=re.M
    )
    touched = {
        name: _follow(recipe, folder)
        for name, recipe in zip(recipes[::2], recipes[1::2], strict=True)
    }
    study = {
        "study_name": "followed",
        "dataset": {"name": str(tiny)},
        "labels": {"n_anomaly_types": 1, "n_examples": 4},
        "backbone": {"name": "vgg-mini"},
        "detector": "brightness",
        "space": {"preprocessing": {"resolution": [16], "invert": [False, True]}},
        "search": {"n_folds": 2},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    commands = [
        "run --study study.yaml --device cpu --workers 1",
        "report followed --device cpu --format html",
        "report followed --device cpu --format md",
    ]
    places = {"HPSEARCH_CACHE": str(folder / "cache"), "HPSEARCH_RUNS": str(folder / "runs")}
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS, *commands],
        cwd=folder,
        env=os.environ | places | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return Followed(folder / "runs" / "followed", touched)


def test_a_detector_is_one_file_and_one_line(followed: Followed) -> None:
    touched = {"hpsearch/detectors/brightness.py", "hpsearch/detectors/base.py"}
    assert followed.touched["A detector"] == touched
    tasks = [json.loads(path.read_text()) for path in followed.run.glob("tasks/*/task.json")]
    powers = [task["params"]["power"] for task in tasks if task["detector"] == "brightness"]
    assert set(powers) == {1, 2}


def test_an_axis_of_preprocessing_touches_two_files(followed: Followed) -> None:
    assert followed.touched["An axis"] == {
        "hpsearch/datasets/pixels.py",
        "hpsearch/model/export/pillow.py",
    }
    tasks = [json.loads(path.read_text()) for path in followed.run.glob("tasks/*/task.json")]
    inverted = [task["params"]["invert"] for task in tasks if task["detector"] == "brightness"]
    assert set(inverted) == {False, True}


def test_a_figure_is_drawn_for_a_page_and_for_markdown(followed: Followed) -> None:
    assert len(followed.touched["A figure"]) == 2
    page = (followed.run / "report" / "report.html").read_text()
    text = (followed.run / "report" / "report.md").read_text()
    for written in (page, text):
        assert "Values of the completed trials, from the best." in written
    assert list((followed.run / "report").rglob("*ranking*.png"))
