"""What a run prints as the next steps is pasted, as a user would."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from hpsearch.datasets.manifest import load_manifest
from hpsearch.detectors.backbones.backbone import BUNDLED_VGG_MINI
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import RunDir

Command = Callable[..., Any]


def _commands(text: str) -> list[list[str]]:
    lines = [line.strip() for line in text.partition("next:\n")[2].splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert all(command[0] == "hpsearch" for command in commands)
    return [command[1:] for command in commands]


def _paste(hpsearch: Command, command: list[str]) -> Any:
    # Training the final models has tests of its own.
    ended = hpsearch(*command, *(["--no-train"] if command[0] == "label-budget" else []))
    assert (ended.code, ended.err) == (0, ""), command
    return ended


@pytest.mark.parametrize("elsewhere", [False, True], ids=["default", "elsewhere"])
def test_every_printed_command_works(
    elsewhere: bool,
    hpsearch: Command,
    tiny_yaml: Path,
    runs: Path,
    tmp_path: Path,
    inline: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = runs
    if elsewhere:
        where = tmp_path / "my [runs] #1"
        monkeypatch.chdir(tmp_path)
    first = hpsearch("run", "--study", tiny_yaml, "--n-trials", 2, "--runs", where)
    report, budget, trials, labels = _commands(first.out)
    assert (report[0], budget[0], trials[0], labels[0]) == ("report", "label-budget", "run", "run")
    assert (trials[-2:], labels[-2:]) == (["--n-trials", "4"], ["--n-examples", "6"])
    inline.clear()
    _paste(hpsearch, labels)
    best = ["best", where / "tiny", "--json"]
    spec = where / "tiny" / "spec.yaml"
    assert yaml.safe_load(spec.read_text())["labels"]["n_examples"] == 6
    _paste(hpsearch, budget)
    assert json.loads(hpsearch(*best).out)["n_trials"] == 2
    _paste(hpsearch, trials)
    configurations = {tuple(trial.params.items()) for trial in load_study(where / "tiny").trials}
    assert len(configurations) == 4
    if elsewhere:  # once is enough: the page takes seconds
        _paste(hpsearch, report)
    again = _commands(hpsearch("best", where / "tiny").out)
    assert [command[0] for command in again] == ["report", "label-budget", "run"]
    assert again[-1][-4:] == ["--n-anomaly-types", "2", "--n-examples", "12"]


def test_a_study_goes_on_by_its_name_alone(
    hpsearch: Command, tiny_yaml: Path, runs: Path, inline: list[str]
) -> None:
    options = ["--study-name", "mine", "--axis", "kind=knn", "--seed", 3]
    assert hpsearch("run", "--study", tiny_yaml, *options).code == 0
    began = (runs / "mine" / "spec.yaml").read_text()
    inline.clear()
    ended = hpsearch("run", "--study-name", "mine")
    assert (ended.code, ended.err, inline) == (0, "", [])
    assert (runs / "mine" / "spec.yaml").read_text() == began
    refused = hpsearch("run", "--study-name", "mine", "--seed", 4)
    assert (refused.code, refused.out) == (2, "")
    assert "search.seed is 3 there and 4 now" in refused.err


def test_another_study_is_refused_before_its_images_are_made(
    hpsearch: Command, tiny_yaml: Path, runs: Path, cache: Path
) -> None:
    assert hpsearch("run", "--study", tiny_yaml, "--n-trials", 1).code == 0
    before = sorted(cache.rglob("*"))
    ended = hpsearch("run", "--study", "quickstart", "--study-name", "tiny")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "dataset.name is" in ended.err
    assert sorted(cache.rglob("*")) == before


@pytest.fixture
def moved(hpsearch: Command, tiny: Path, tiny_yaml: Path, tmp_path: Path) -> Path:
    """Where the images of a study that has been run are now: another folder, read by no one yet."""
    old = tmp_path / "old"
    shutil.copytree(tiny.parent, old)
    options = ["--dataset", old / "tiny.csv", "--n-trials", 1]
    assert hpsearch("run", "--study", tiny_yaml, *options).code == 0
    return old.rename(tmp_path / "new")


def test_moved_images_go_on(
    hpsearch: Command, moved: Path, runs: Path, inline: list[str], tmp_path: Path
) -> None:
    inline.clear()
    gone = hpsearch("run", "--study-name", "tiny")
    assert (gone.code, gone.err.count("\n")) == (2, 1)
    command = ["run", "--study-name", "tiny", "--dataset"]
    ended = hpsearch(*command, moved / "tiny.csv")
    assert (ended.code, ended.err, inline) == (0, "", [])
    assert str(moved / "tiny.csv") in (runs / "tiny" / "spec.yaml").read_text()
    # A manifest in another folder, whose paths are written otherwise.
    header, *rows = (moved / "tiny.csv").read_text().splitlines()
    listed = tmp_path / "lists" / "all.csv"
    listed.parent.mkdir()
    listed.write_text("\n".join([header, *(f"{moved}/{row}" for row in rows)]))
    ended = hpsearch(*command, listed, "--root", moved)
    assert (ended.code, ended.err, inline) == (0, "", [])
    assert hpsearch("run", "--study-name", "tiny").code == 0
    assert not inline
    known = RunDir(runs / "tiny").known_images(load_manifest(listed, moved))
    assert list(known.table["image_id"]) == list(RunDir(runs / "tiny").images()["image_id"])
    assert known.file(0) == moved / rows[0].split(",")[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("pixels", "the pixels of the images differ"),
        ("type", "the table differs, first at image"),
        ("group", "the table differs, first at image"),
        ("row", "had 70 images and has 69 now"),
    ],
)
def test_changed_images_are_refused_before_they_are_decoded(
    change: str, says: str, hpsearch: Command, moved: Path, cache: Path
) -> None:
    manifest = moved / "tiny.csv"
    rows = manifest.read_text().splitlines()
    if change == "pixels":
        Image.new("RGB", (16, 16)).save(moved / "train-normal-3.png")
    elif change == "row":
        del rows[1]
    else:
        number = -1 if change == "type" else 1
        cells = rows[number].split(",")
        cells[3 if change == "type" else 4] = "other"
        rows[number] = ",".join(cells)
    manifest.write_text("\n".join(rows) + "\n")
    before = sorted(cache.rglob("*.npy"))
    ended = hpsearch("run", "--study-name", "tiny", "--dataset", manifest)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert says in ended.err
    assert sorted(cache.rglob("*.npy")) == before


def test_weights_at_another_place_go_on(
    hpsearch: Command, tiny_yaml: Path, tmp_path: Path, inline: list[str]
) -> None:
    weights = shutil.copy(BUNDLED_VGG_MINI, tmp_path / "w.safetensors")
    command = ["run", "--study", tiny_yaml, "--n-trials", 1, "--axis", "layer=colour"]
    assert hpsearch(*command).code == 0
    inline.clear()
    ended = hpsearch(*command, "--backbone-weights", weights)
    assert (ended.code, ended.err, inline) == (0, "", [])


def test_an_earlier_recipe_still_reads_and_does_not_run(
    hpsearch: Command, tiny_yaml: Path, runs: Path
) -> None:
    assert hpsearch("run", "--study", tiny_yaml, "--n-trials", 1).code == 0
    facts = runs / "tiny" / "env.json"
    began = json.loads(facts.read_text())
    del began["recipe"]
    facts.write_text(json.dumps(began))
    for command in (["--study", tiny_yaml], ["--study-name", "tiny"]):
        ended = hpsearch("run", *command)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert "another version of hpsearch began it" in ended.err
    for command in (["status"], ["best"], ["label-budget", "--no-train"]):
        assert hpsearch(*command).code == 0, command
    advice = hpsearch("best").out.partition("next:")[2]
    assert "hpsearch run" not in advice
    assert "label-budget tiny --no-train" in advice
