"""Studies whose files were damaged or deleted, made whole again."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from hpsearch.errors import StudyError
from hpsearch.storage.backups import read_ledger
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import DATABASE, LEDGER, RunDir, environment
from hpsearch.study.inputs import load_inputs
from hpsearch.study.repair import recover_study
from hpsearch.study.run import run_study
from tests.hpsearch.notes import Notes

N_TRIALS = 6


@pytest.fixture
def spec(tiny_spec: Any) -> Callable[..., Any]:
    """A study by TPE of 6 trials in a space of 24."""
    space = {"features": {"kind": ["mahalanobis", "knn"], "layer": ["colour", "r12", "r22"]}}
    space["preprocessing"] = {"equalize": [False, True], "greyscale": [False, True]}

    def make(n_trials: int = N_TRIALS, **search: Any) -> Any:
        search = {"sampler": "tpe", "n_trials": n_trials, **search}
        name = f"recover-{search['sampler']}"
        return tiny_spec(study_name=name, space=space, search=search)

    return make


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Callable[[Any], tuple[RunDir, list[str]]]:
    """Runs a study in this process; gives what it told."""

    def call(spec: Any) -> tuple[RunDir, list[str]]:
        inline.clear()
        notes = Notes()
        options = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
        return run_study(spec, listener=notes, **options).folder, notes.lines

    return call


def _trials(folder: RunDir) -> list[tuple[Any, ...]]:
    return [
        (trial.number, trial.state, trial.params, trial.value, trial.user_attrs)
        for trial in load_study(folder.path).get_trials(deepcopy=False)
    ]


def _results(folder: RunDir) -> set[tuple[Any, ...]]:
    return {(tuple(sorted(params.items())), value) for _, _, params, value, _ in _trials(folder)}


def _fold_rows(folder: RunDir) -> list[Any]:
    connection = sqlite3.connect(folder.path / DATABASE)
    rows = connection.execute("SELECT * FROM fold_results ORDER BY trial, fold").fetchall()
    connection.close()
    return rows


def _recover(folder: RunDir, cache: Path) -> list[str]:
    notes = Notes()
    recover_study(folder, cache_dir=cache, listener=notes)
    return notes.lines


def _no_backups(folder: RunDir) -> None:
    shutil.rmtree(folder.path / "backups")


def _tasks_only(folder: RunDir) -> None:
    _no_backups(folder)
    (folder.path / LEDGER).unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": lambda path: path.unlink(),
    "of no bytes": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_recovered_study_goes_on_as_if_nothing_had_happened(
    damage: str, spec: Any, run: Any, cache: Path, finished_study: Any, inline: list[str]
) -> None:
    folder = finished_study(spec())
    before, rows = _trials(folder), _fold_rows(folder)
    assert len(before) == N_TRIALS
    undisturbed = folder.path.with_name("undisturbed")
    shutil.copytree(folder.path, undisturbed)
    DAMAGES[damage](folder.path / DATABASE)
    assert any("made again" in line for line in _recover(folder, cache))
    assert _trials(folder) == before
    assert _fold_rows(folder) == rows
    run(spec(8))
    after = _trials(folder)
    shutil.rmtree(folder.path)
    shutil.copytree(undisturbed, folder.path)
    run(spec(8))
    assert [trial[:4] for trial in after] == [trial[:4] for trial in _trials(folder)]


def test_without_a_ledger_every_result_comes_back_from_its_directory(
    spec: Any, run: Any, cache: Path, finished_study: Any, inline: list[str]
) -> None:
    folder = finished_study(spec())
    results, rows = _results(folder), _fold_rows(folder)
    (folder.path / DATABASE).unlink()
    _tasks_only(folder)
    _recover(folder, cache)
    assert _results(folder) == results
    assert {row[0] for row in _fold_rows(folder)} == {row[0] for row in rows}
    run(spec())
    assert not inline, "a fold was trained again"


def test_without_a_ledger_a_grid_keeps_its_numbers(
    tiny_spec: Any, cache: Path, finished_study: Any
) -> None:
    folder = finished_study(tiny_spec())
    before = _trials(folder)
    (folder.path / DATABASE).unlink()
    _tasks_only(folder)
    _recover(folder, cache)
    assert [trial[:4] for trial in _trials(folder)] == [trial[:4] for trial in before]


def test_a_run_tells_that_the_database_was_gone(
    spec: Any, run: Any, finished_study: Any, inline: list[str]
) -> None:
    folder = finished_study(spec())
    before = _trials(folder)
    (folder.path / DATABASE).unlink()
    _, notes = run(spec())
    assert any(f"{N_TRIALS} trials in {LEDGER}" in line for line in notes)
    assert _trials(folder) == before
    assert not inline


def test_what_only_a_backup_has_comes_back(
    spec: Any, run: Any, cache: Path, finished_study: Any
) -> None:
    """Such as the attributes that the dashboard keeps, or a ledger of which lines are damaged."""
    folder = finished_study(spec())
    (backup,) = (folder.path / "backups").iterdir()
    shutil.copy(folder.path / DATABASE, backup)
    before = _trials(folder)
    ledger = folder.path / LEDGER
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join([*lines[:3], '{"number": 5', *lines[3:-1], lines[-1][:40]]))
    assert read_ledger(ledger)[1] == 2
    (folder.path / DATABASE).unlink()
    assert any("2 damaged lines" in line for line in _recover(folder, cache))
    assert [trial[:4] for trial in _trials(folder)] == [trial[:4] for trial in before]


def test_a_damaged_result_is_trained_again_by_the_next_run(
    spec: Any, run: Any, cache: Path, finished_study: Any, inline: list[str]
) -> None:
    folder = finished_study(spec())
    before = _trials(folder)
    digest = before[2][4]["tasks"][1]
    scores = (folder.tasks / digest / "scores.csv").read_bytes()
    (folder.tasks / digest / "scores.csv").write_bytes(scores[:-20])
    with pytest.raises(StudyError, match=r"hpsearch recover"):
        run(spec())
    assert any(digest in line for line in _recover(folder, cache))
    assert (folder.path / "damaged" / "tasks" / digest).is_dir()
    _, notes = run(spec())
    assert inline == [digest]
    assert any("1 results of completed trials are gone" in line for line in notes)
    assert (folder.tasks / digest / "scores.csv").read_bytes() == scores
    assert _trials(folder) == before


@pytest.mark.parametrize("name", ["env.json", "images.csv"])
@pytest.mark.parametrize("damage", ["gone", "of no bytes", "a list"])
def test_a_lost_record_is_made_again_from_the_data(
    name: str, damage: str, spec: Any, run: Any, cache: Path, finished_study: Any, inline: list[str]
) -> None:
    folder = finished_study(spec())
    path = folder.path / name
    before = path.read_text()
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("[]" if damage == "a list" else "")
    assert any(name in line for line in _recover(folder, cache))
    if name == "env.json":
        then, now = json.loads(before), json.loads(path.read_text())
        assert now == then
    else:
        assert path.read_text() == before
    run(spec())
    assert not inline


def test_a_lost_record_is_not_made_of_other_data(
    spec: Any, cache: Path, finished_study: Any, tmp_path: Path, tiny: Path
) -> None:
    folder = finished_study(spec())
    folder.environment_file.unlink()
    moved = tmp_path / "moved"
    shutil.copytree(tiny.parent, moved)
    (moved / "train-normal-0.png").write_bytes((moved / "train-normal-1.png").read_bytes())
    folder.spec_file.write_text(
        folder.spec_file.read_text().replace(str(tiny), str(moved / tiny.name))
    )
    with pytest.raises(StudyError, match="the data or the backbone are others"):
        _recover(folder, cache)
    assert not folder.environment_file.exists()


def test_a_whole_study_is_left_as_it_is(spec: Any, cache: Path, finished_study: Any) -> None:
    folder = finished_study(spec())
    before = {
        path: path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and not path.name.startswith("study.")
    }
    trials = _trials(folder)
    _recover(folder, cache)
    assert not (folder.path / "damaged").exists()
    assert _trials(folder) == trials
    assert {path: path.read_bytes() for path in before} == before


def test_a_lost_record_names_the_statistics_that_the_study_took(
    tiny_spec: Any, tiny: Path, runs: Path, cache: Path, tmp_path: Path
) -> None:
    natural = tmp_path / "natural"
    natural.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(natural / f"{number}.png")
    backbone = {"name": "vgg-mini", "statistics": str(natural)}
    spec = tiny_spec(detector="dpa", backbone=backbone)
    folder = RunDir(runs / "tiny")
    where = {"cache_dir": cache, "workers": 1, "listener": Notes()}
    prepared = load_inputs(spec, **where)
    facts = environment(prepared.dataset, prepared.backbone, "")
    folder.begin(prepared.spec, prepared.dataset.table, facts)
    folder.environment_file.unlink()
    _recover(folder, cache)
    assert folder.environment() == facts
    natural.rename(tmp_path / "moved")
    backbone = {"name": "vgg-mini", "statistics": str(tmp_path / "moved")}
    load_inputs(tiny_spec(detector="dpa", backbone=backbone), **where, folder=folder)


def test_a_lost_record_of_an_earlier_recipe_says_so(
    spec: Any, run: Any, cache: Path, finished_study: Any
) -> None:
    folder = finished_study(spec())
    for path in folder.tasks.glob("*/task.json"):
        task = json.loads(path.read_text())
        del task["recipe"]
        path.write_text(json.dumps(task))
    folder.environment_file.unlink()
    _recover(folder, cache)
    with pytest.raises(StudyError, match="another version of hpsearch"):
        run(spec())


def test_a_lost_record_is_made_of_images_that_were_moved(
    spec: Any, run: Any, cache: Path, finished_study: Any, tmp_path: Path, tiny: Path
) -> None:
    folder = finished_study(spec())
    facts = folder.environment()
    folder.environment_file.unlink()
    header, *rows = tiny.read_text().splitlines()
    listed = tmp_path / "all.csv"
    listed.write_text("\n".join([header, *(f"{tiny.parent}/{row}" for row in rows)]))
    data = yaml.safe_load(folder.spec_file.read_text())
    data["dataset"] |= {"name": str(listed), "root": str(tiny.parent)}
    folder.spec_file.write_text(yaml.safe_dump(data))
    _recover(folder, cache)
    assert folder.environment() == facts | {"dataset": folder.environment()["dataset"]}


def test_a_study_with_layers_of_another_network_is_made_whole_again(
    run: Callable[..., Any], tiny_spec: Any, cache: Path
) -> None:
    space = {"features": {"kind": ["knn"], "layer": ["r12", "lite0:s1"]}}
    folder, _ = run(tiny_spec(study_name="two-networks", space=space))
    facts = folder.environment()
    folder.environment_file.unlink()
    recover_study(folder, cache_dir=cache, listener=Notes())
    assert folder.environment() == facts | {"versions": folder.environment()["versions"]}
