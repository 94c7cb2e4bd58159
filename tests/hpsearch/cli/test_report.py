"""`hpsearch report` of tiny studies: of features, and of an autoencoder with maps."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from hpsearch.storage.run_dir import RunDir
from hpsearch.study.result import read_winner

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the finished study is kept for all tests here."""
    return tmp_path_factory.mktemp("finished") / "tiny"


@pytest.fixture
def finished(hpsearch: Command, tiny_yaml: Path, runs: Path, shelf: Path) -> RunDir:
    """The tiny study, run to its end; a warning is with it as a leak would leave it."""
    if not shelf.exists():
        assert hpsearch("run", "--study", tiny_yaml).code == 0
        folder = RunDir(runs / "tiny")
        facts = folder.environment() | {"warnings": ["<b>it</b> leaks"]}
        folder.environment_file.write_text(json.dumps(facts))
        shutil.move(folder.path, shelf)
    shutil.copytree(shelf, runs / "tiny")
    (runs / "latest.txt").write_text("tiny\n")
    return RunDir(runs / "tiny")


def _words(html: str) -> str:
    """The page's text, without figures and scripts."""
    plain = re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", plain)))


def test_the_page_says_what_the_study_found(hpsearch: Command, finished: RunDir) -> None:
    ended = hpsearch("report")
    assert (ended.code, ended.err) == (0, "")
    path = finished.path / "report" / "report.html"
    assert ended.out.splitlines()[-1] == str(path)
    words, result = _words(path.read_text()), read_winner(finished)
    assert words.index("Read this first <b>it</b> leaks") < words.index(
        result.selection.sentence[1:]
    )
    test = result.test
    interval = test.interval_words(dash="–")
    assert f"has a test ROC AUC of {test.auroc:.3f} (95 % interval {interval})" in words
    for name, estimate in result.references:
        assert f"{name} {estimate.auroc:.3f} {estimate.interval_words(dash='–')}" in words
    for choice in result.choices:
        assert f"{choice.trial} {choice.value:.4g} {choice.test.auroc:.3f}" in words
    assert finished.environment()["data_fingerprint"] in words
    assert "This detector gives one score an image and no maps" in words
    html = path.read_text()
    sections = re.findall(r'<section id="(\w+)"', html)
    assert sections == [
        *("answer", "question", "test", "examples", "choices"),
        *("search", "learning", "labels", "provenance"),
    ]
    figures = re.findall(r'data-for="figure-([a-z-]+)"', html)
    assert figures == ["roc", "scores", "history", "parallel"]
    assert "Importance of the axes: not told" in words
    shown = {example["image"] for example in _index(finished, result.trial)["examples"]}
    assert html.count('<img src="data:image/png;base64,') == len(shown) > 8


def _index(folder: RunDir, trial: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (folder.final / str(trial) / "examples" / "index.json").read_text()
    )
    return found


def test_an_autoencoder_has_maps_and_learning_curves(
    hpsearch: Command, tiny_yaml: Path, runs: Path
) -> None:
    assert hpsearch("run", "--study", tiny_yaml, "--detector", "dpa").code == 0
    assert hpsearch("report", "--format", "md").code == 0
    written = (runs / "tiny" / "report" / "report.md").read_text()
    links = re.findall(r"(?<!\\)\]\(([^)]*)\)", written)
    assert "report_figures/learning.png" in links
    assert sum("overlay" in link for link in links) > 8
    assert all((runs / "tiny" / "report" / link).is_file() for link in links)
    said = "natural images, stored in vgg-mini.safetensors"
    assert f"| channel statistics | {said} |" in written.replace("\\", "")
    (facts,) = (runs / "tiny" / "final").glob("*/model/model.json")
    assert json.loads(facts.read_text())["backbone"]["statistics"] == said


def test_pictures_are_made_once_and_anew_for_another_model(
    hpsearch: Command, finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    hpsearch("report")
    trial = read_winner(finished).trial
    index = finished.final / str(trial) / "examples" / "index.json"
    before = index.stat().st_mtime_ns
    hpsearch("report")
    assert index.stat().st_mtime_ns == before
    index.write_text(index.read_text().replace(_index(finished, trial)["made_of"], "other"))
    hpsearch("report")
    assert _index(finished, trial)["made_of"] != "other"


@pytest.mark.parametrize("gone", ["images", "model"])
def test_what_is_gone_is_said_and_the_report_goes_on(
    gone: str, hpsearch: Command, finished: RunDir, tiny: Path, tmp_path: Path
) -> None:
    if gone == "model":
        shutil.rmtree(finished.final / str(read_winner(finished).trial) / "model")
    else:
        spec = finished.spec_file.read_text()
        finished.spec_file.write_text(spec.replace(str(tiny), str(tmp_path / "gone.csv")))
    ended = hpsearch("report")
    assert (ended.code, ended.err) == (0, "")
    assert "without pictures: " in ended.out
    words = _words((finished.path / "report" / "report.html").read_text())
    assert "There are no pictures: " in words


def test_an_unfinished_study_is_one_line(hpsearch: Command, finished: RunDir) -> None:
    finished.winner_file.unlink()
    ended = hpsearch("report")
    assert ended.code == 2
    assert re.fullmatch(r"hpsearch: study tiny: the winner is not trained yet; [^\n]+\n", ended.err)
    assert not (finished.path / "report").exists()


def test_a_report_that_cannot_be_written_is_one_line(hpsearch: Command, finished: RunDir) -> None:
    (finished.path / "report").touch()
    ended = hpsearch("report")
    assert ended.code == 2
    assert re.fullmatch(r"hpsearch: \S+report\.html: cannot be written \([^\n]+\n", ended.err)


def test_reports_need_no_torch() -> None:
    rooms = "hpsearch.reports.study_report, hpsearch.reports.render"
    code = (
        f"import sys, {rooms}, hpsearch.reports.examples.make, hpsearch.cli.report; "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
